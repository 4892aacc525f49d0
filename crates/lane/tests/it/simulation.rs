//! Thousands of lives of a pipeline over lanes. `TIDEGATE_SEEDS` asks for more of them, or for `from..to`.

use crate::seeds::{all, each, seeds};
use crate::sim::cluster::Broken;
use crate::world::{Counts, Plan, Report, live};

/// How many lives the test command runs.
const LIVES: u64 = 1200;
const LOSING_LIVES: u64 = 100;
/// Of so many lives with a stream that lost its end one may not notice.
const PASSED_OVER_ONE_IN: usize = 100;
/// Few, because each of them meets it: a retry unit must not wait for the room that it takes itself.
const FULL_LIVES: u64 = 40;
const FENCELESS_LIVES: u64 = 40;

#[test]
fn every_input_has_exactly_one_outcome() {
    let chosen: Vec<u64> = seeds(LIVES).collect();
    let test = "every_input_has_exactly_one_outcome";
    let reports = all(test, &chosen, |seed| live(seed, Plan::drawn(seed)));
    assert!(reports.iter().all(|report| !report.halted));
    if chosen.len() >= 100 {
        check_variety(&reports);
    }
}

/// Lives that never meet what they are about show nothing.
fn check_variety(reports: &[Report]) {
    let met = |what: &str, least: usize, is_so: fn(&Counts) -> bool| {
        let found = share(reports, |report| is_so(&report.counts));
        assert!(found >= least, "{what} in {found} of a hundred lives, and in {least} at least they should");
    };
    met("units move", 80, |counts| counts.moves > 0);
    met("owners find that they are not", 60, |counts| counts.lost > 0);
    met("processes are killed", 50, |counts| counts.kills > 0);
    met("processes are suspended", 50, |counts| counts.suspensions > 0);
    met("processes are cut off", 20, |counts| counts.cut_off > 0);
    met("commits are given up", 20, |counts| counts.abandoned > 0);
    met("outputs are left out", 2, |counts| counts.left_out > 0);
    met("sinks write again", 10, |counts| counts.repeated > 0);
    met("surveys are made meanwhile", 20, |counts| counts.surveys > 3);
    met("surveys find nothing", 2, |counts| counts.empty_surveys > 1);
}

/// A commit that leaves no more in a partition than it found there has room, however full it is.
#[test]
fn a_retry_slot_full_of_what_is_sent_back_again_goes_on() {
    let chosen: Vec<u64> = seeds(FULL_LIVES).collect();
    let test = "a_retry_slot_full_of_what_is_sent_back_again_goes_on";
    all(test, &chosen, |seed| live(seed, Plan::drawn(seed).with_full_retry_slots()));
}

#[test]
fn a_stream_made_again_is_named() {
    let chosen: Vec<u64> = seeds(LOSING_LIVES).collect();
    let reports = all("a_stream_made_again_is_named", &chosen, |seed| {
        live(seed, Plan::drawn(seed).with_streams_made_again())
    });
    assert!(share(&reports, |report| report.halted) > 20, "most lives meet a stream that was made again");
}

/// A stream that comes back without its end and under its own name shows that only to whoever still knows how far it was.
/// Where nobody does (its readers had not got there, its writers are gone, whoever comes is new) what follows may be
/// taken for what was there before: that is the limit of what can be promised, and it is a rare one.
#[test]
fn a_stream_that_lost_its_end_is_hardly_ever_passed_over() {
    let chosen: Vec<u64> = seeds(LOSING_LIVES).collect();
    let lives = each(&chosen, |seed| live(seed, Plan::drawn(seed).with_rewound_streams()));
    let passed_over: Vec<_> =
        lives.iter().filter_map(|(seed, life)| Some((seed, life.as_ref().err()?))).collect();
    let named = lives.iter().filter(|(_, life)| life.as_ref().is_ok_and(|report| report.halted)).count();
    assert!(passed_over.len() * PASSED_OVER_ONE_IN <= lives.len(), "{passed_over:?}");
    assert!(named * 4 > lives.len(), "{named} of {} lives name it", lives.len());
}

/// Kept because each of them showed something that had been overlooked: what a new process has not heard yet, a broker
/// that repeats sequences, writers that wait for the room that only a claim tells them of, a word of how far a reader is
/// that a late one took the place of, and a claim that returns after another of its process has moved on.
#[test]
fn lives_that_went_wrong_once_go_well() {
    let test = "lives_that_went_wrong_once_go_well";
    all(test, &[511], |seed| live(seed, Plan::drawn(seed).with_streams_made_again()));
    all(test, &[94, 386, 511], |seed| live(seed, Plan::drawn(seed).with_rewound_streams()));
    all(test, &[4976], |seed| live(seed, Plan::drawn(seed)));
    all(test, &[2459, 18237], |seed| live(seed, Plan::drawn(seed).with_full_retry_slots()));
}

/// What consumers lose on the way does not show in their numbers: frames name what lies before them in their lane, so
/// that mostly somebody says so. Only what a unit writes to a slot last of all is named by nothing.
#[test]
fn a_consumer_that_loses_messages_unnoticed_is_named() {
    let chosen: Vec<u64> = seeds(LOSING_LIVES).collect();
    let lives = each(&chosen, |seed| live(seed, Plan::drawn(seed).on_broken(Broken::Numbers)));
    let (mut named, mut unnamed) = (0, 0);
    for (_, life) in lives {
        match life {
            Ok(report) => named += u32::from(report.halted),
            Err(_) => unnamed += 1,
        }
    }
    assert!(named > unnamed, "what was lost was named in {named} lives, and not in {unnamed}");
}

/// Whoever judges these lives must see when the broker does not keep what everything rests on.
#[test]
fn a_broker_without_a_fence_does_not_go_unnoticed() {
    for broken in [Broken::Fence, Broken::Filter] {
        let seeds: Vec<u64> = (0..FENCELESS_LIVES).collect();
        let lives = each(&seeds, |seed| live(seed, Plan::drawn(seed).on_broken(broken)));
        let noticed = lives.iter().filter(|(_, lived)| lived.as_ref().map_or(true, |report| report.halted));
        let noticed = noticed.count();
        assert!(noticed > 0, "{broken:?} is broken and none of {FENCELESS_LIVES} lives shows it");
    }
}

#[test]
fn a_seed_lives_the_same_life_twice() {
    for seed in 0..10 {
        assert_eq!(live(seed, Plan::drawn(seed)), live(seed, Plan::drawn(seed)), "seed {seed}");
    }
}

/// Of a hundred lives, how many are so.
fn share(reports: &[Report], is_so: impl Fn(&Report) -> bool) -> usize {
    reports.iter().filter(|report| is_so(report)).count() * 100 / reports.len()
}
