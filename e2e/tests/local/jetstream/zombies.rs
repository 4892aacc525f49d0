//! Workers that stand still as if they were dead, while others take over, and then go on as if nothing had happened: what
//! they still do is refused, and they take part again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::lab::{self, Lab, is_long};
use e2e::manifest::Pipeline;
use e2e::nats::Nats;
use e2e::object::Object;
use e2e::up::Up;
use e2e::wait;
use nix::sys::signal::Signal;

use super::owners::{Listener, Word, life_of, moves};
use super::{ENDLESS, until_more};

/// How long a worker stands still; long enough to count as silent.
fn while_it_stands_still() -> Duration {
    if is_long() { Duration::from_mins(2) } else { Duration::from_secs(12) }
}

/// Numbers for longer than anything here takes, through vertices with two workers each.
fn numbers(lab: &Lab, name: &str) -> Pipeline {
    let two = "scale: {min: 2, max: 2}";
    Pipeline::named(name)
        .numbers(lab, "in", (ENDLESS, 500), two)
        .map("cat", "", two)
        .lines(lab, "out", "", "scale: {min: 1, max: 1}")
        .edge("in", "cat")
        .edge("cat", "out")
}

/// The units of a vertex: the shares of a source, or the slots of one partition and the one for what is tried again.
fn units(vertex: &str) -> u64 {
    if vertex == "in" { 2 } else { 65 }
}

/// Whether so many workers divide the units of a vertex that are not lost with another one.
fn works_with(object: &Object, vertex: &str, workers: u64) -> Option<()> {
    let ready: Vec<_> = object.workers(vertex).into_iter().filter(|one| one.state == "Ready").collect();
    let least = units(vertex) / 2;
    (ready.len() as u64 == workers && ready.iter().all(|one| one.holds >= least)).then_some(())
}

/// Stops a worker of a vertex, lets it stand still while the others go on, and lets it go on. Gives how long it took
/// until it was taken for dead, and until it took part again.
fn stand_still(lab: &Lab, up: &Up<'_>, pipeline: &Pipeline, vertex: &str) -> (Duration, Duration) {
    let name = &pipeline.name;
    up.until(name, "shares the work out", |object| works_with(object, vertex, 2));
    let zombie = up.processors(vertex)[0];
    let stopped = Instant::now();
    lab::signal(zombie, Signal::SIGSTOP).unwrap();
    up.until(name, "is one worker short", |object| works_with(object, vertex, 1));
    let dead_after = stopped.elapsed();
    until_more(lab, pipeline, 200);
    wait::every(Duration::from_millis(500), || {
        if stopped.elapsed() < while_it_stands_still() {
            std::ops::ControlFlow::Continue(())
        } else {
            std::ops::ControlFlow::Break(())
        }
    });
    until_more(lab, pipeline, 200);
    lab::signal(zombie, Signal::SIGCONT).unwrap();
    let awake = Instant::now();
    up.until(name, "has its worker back", |object| works_with(object, vertex, 2));
    let back_after = awake.elapsed();
    until_more(lab, pipeline, 200);
    (dead_after, back_after)
}

/// Asserts that others took every unit of a life, and that it was given units again only under higher numbers. Gives how
/// many it had and has.
fn assert_refused(words: &[Word], life: u64) -> (usize, usize) {
    let zombie: BTreeSet<_> =
        words.iter().map(|word| &word.worker).filter(|worker| worker.1 == life).cloned().collect();
    let own: Vec<&Word> = words.iter().filter(|word| word.worker.1 == life).collect();
    let gap = own.windows(2).max_by_key(|pair| pair[1].at.duration_since(pair[0].at)).unwrap();
    let (before, after) = (&gap[0].units, &own.last().unwrap().units);
    assert!(!before.is_empty(), "it had units when it was stopped");
    let taken: BTreeSet<_> = moves(words, &zombie)
        .into_iter()
        .filter(|one| zombie.contains(&one.from))
        .map(|one| one.unit)
        .collect();
    assert!(
        before.keys().all(|unit| taken.contains(unit)),
        "{before:?} were to be taken over, and {taken:?} were"
    );
    for (unit, epoch) in after {
        let former = before.get(unit);
        assert!(former.is_none_or(|former| former < epoch), "{unit:?} is still owned under {former:?}");
    }
    (before.len(), after.len())
}

#[test]
fn a_map_worker_that_was_taken_for_dead_adds_nothing_and_takes_part_again() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("a map worker taken for dead", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let pipeline = numbers(&lab, "undead");
    pipeline.apply(&lab, &up).unwrap();
    up.until("undead", "shares the work out", |object| works_with(object, "cat", 2));
    let (before, listener) = (up.processors("cat"), Listener::start(&nats.url(), "undead", "cat"));
    let (dead, back) = stand_still(&lab, &up, &pipeline, "cat");
    println!("taken for dead after {dead:?}; takes part again {back:?} after it went on");
    assert_eq!(up.processors("cat"), before, "it takes part again as it is");
    let (had, has) = assert_refused(&listener.stop(), life_of(before[0]));
    println!("{had} units were taken from it, and {has} were given to it");
    assert_eq!(pipeline.assert_exact(&lab, &up, |_| false), [0; 0]);
    assert_eq!(pipeline.repeated(&lab), 0, "what it still did was refused");
    up.down().unwrap();
}

#[test]
fn a_source_worker_that_was_taken_for_dead_takes_part_again_and_loses_nothing() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("a source worker taken for dead", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let pipeline = numbers(&lab, "undead");
    pipeline.apply(&lab, &up).unwrap();
    let (dead, back) = stand_still(&lab, &up, &pipeline, "in");
    println!("taken for dead after {dead:?}; takes part again {back:?} after it went on");
    let early = pipeline.assert_nothing_lost(&lab, &up);
    // What it had committed and not acknowledged, its source gives once more.
    let (all, twice) = (pipeline.written(&lab).len(), pipeline.repeated(&lab));
    println!("{twice} of {all} were given twice by the source, and {} are to be", early.len());
    up.down().unwrap();
}
