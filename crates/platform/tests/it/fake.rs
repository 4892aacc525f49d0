//! Thousands of lives of the fake place. `TIDEGATE_SEEDS` asks for more of them, or for `from..to`; a life that goes wrong
//! says how to live it again.

use std::fmt::Write as _;
use std::ops::Range;

use platform::fake::{Form, Report, live};
use tidegate_platform as platform;

/// Short lives that the test command lives.
const SHORT_LIVES: u64 = 1_800;
/// Long ones.
const LONG_LIVES: u64 = 600;
/// Short lives that went wrong once.
const KEPT_SHORT: [u64; 3] = [8404, 8453, 8502];
/// Long lives that went wrong once: workers beyond the ceiling, ready workers sent away, a change of shape without end.
const KEPT_LONG: [u64; 5] = [4955, 7221, 9563, 10100, 10260];
/// Complaints that are printed; more of them seldom say more.
const COMPLAINTS_MAX: usize = 5;

#[test]
fn whatever_happens_nothing_is_lost_and_the_last_wish_wins() {
    for (form, count) in [(Form::SHORT, SHORT_LIVES), (Form::LONG, LONG_LIVES)] {
        let seeds = seeds(count);
        let (first, count) = (seeds.start, seeds.end - seeds.start);
        let reports = all(&seeds.map(|seed| (seed, form)).collect::<Vec<_>>());
        if first == 0 && count >= LONG_LIVES {
            variety(&reports);
        }
    }
}

#[test]
fn lives_that_went_wrong_once_go_right() {
    let short = KEPT_SHORT.into_iter().map(|seed| (seed, Form::SHORT));
    let long = KEPT_LONG.into_iter().map(|seed| (seed, Form::LONG));
    let lives: Vec<_> = short.chain(long).collect();
    assert_eq!(all(&lives).len(), lives.len());
}

/// Lives all of them on two threads; all must go right.
fn all(lives: &[(u64, Form)]) -> Vec<Report> {
    let (mut complaints, mut reports) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = lives
            .chunks(lives.len().div_ceil(2).max(1))
            .map(|half| {
                scope.spawn(|| half.iter().map(|(seed, form)| live(*seed, *form)).collect::<Vec<_>>())
            })
            .collect();
        for lived in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            match lived {
                Ok(report) => reports.push(report),
                Err(complaint) => complaints.push(complaint),
            }
        }
    });
    let mut text = String::new();
    for complaint in complaints.iter().take(COMPLAINTS_MAX) {
        let (seed, next) = (complaint.seed, complaint.seed + 1);
        let again = format!("TIDEGATE_SEEDS={seed}..{next} cargo test -p tidegate-platform --test it fake");
        writeln!(text, "{complaint}\n  again with: {again}").unwrap();
    }
    assert!(complaints.is_empty(), "{} lives went wrong\n{text}", complaints.len());
    reports
}

/// Lives that never meet what they are about show nothing.
fn variety(reports: &[Report]) {
    let share = |meets: fn(&Report) -> bool| {
        reports.iter().filter(|report| meets(report)).count() * 100 / reports.len()
    };
    let drained = share(|report| report.drained > 0);
    let paused = share(|report| report.paused);
    let forgotten = share(|report| report.forgotten);
    let rolled_back = share(|report| report.rolled_back);
    let flowed = share(|report| report.sunk > 0);
    assert!(drained >= 50, "{drained} % drained");
    assert!(paused >= 20, "{paused} % ended paused");
    assert!(forgotten >= 5, "{forgotten} % ended forgotten");
    assert!(rolled_back >= 5, "{rolled_back} % rolled back");
    assert!(flowed >= 40, "{flowed} % let messages through");
}

#[test]
fn a_seed_lives_the_same_life_twice() {
    for seed in 0..20 {
        assert_eq!(live(seed, Form::SHORT), live(seed, Form::SHORT), "seed {seed}");
    }
}

/// `count` seeds, or as the variable `TIDEGATE_SEEDS` says: another count, or `from..to`.
fn seeds(count: u64) -> Range<u64> {
    let Ok(asked) = std::env::var("TIDEGATE_SEEDS") else { return 0..count };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..asked.parse::<u64>().unwrap(),
    }
}
