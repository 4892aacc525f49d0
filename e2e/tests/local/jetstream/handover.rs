//! Slots that change hands: how long nobody has them, how many move, and that nobody shares one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::lab::{self, Lab};
use e2e::manifest::Pipeline;
use e2e::nats::Nats;
use e2e::object::Object;
use e2e::up::Up;
use nix::sys::signal::Signal;

use super::owners::{Listener, Move, UNITS, Word, life_of, moves};
use super::{ENDLESS, until_more};

/// A slot of a worker that died is somebody else's after so long at most.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(6);

/// The numbers through a map that may have up to eight workers.
fn numbers(lab: &Lab, name: &str) -> Pipeline {
    Pipeline::named(name)
        .numbers(lab, "in", (ENDLESS, 1_000), "scale: {min: 1, max: 1}")
        .map("cat", "", "scale: {min: 1, max: 8}")
        .lines(lab, "out", "", "scale: {min: 1, max: 1}")
        .edge("in", "cat")
        .edge("cat", "out")
}

/// Waits until so many workers of the map divide its slots, each with its part.
fn divided(up: &Up<'_>, name: &str, workers: usize) -> Object {
    up.until(name, "divides its slots", |object| {
        let all = object.workers("cat");
        let holds: Vec<u64> = all.iter().map(|worker| worker.holds).collect();
        let least = (UNITS / workers) as u64;
        let fair = holds.iter().all(|held| (least..=least + 1).contains(held));
        let done = all.len() == workers && fair && holds.iter().sum::<u64>() == UNITS as u64;
        done.then(|| object.clone())
    })
}

fn scale(up: &Up<'_>, name: &str, workers: u32) {
    up.must(&["scale", name, "--vertex", "cat", &workers.to_string()]).unwrap();
}

fn longest(moves: &[Move]) -> Duration {
    moves.iter().map(|one| one.taken.duration_since(one.let_go)).max().unwrap_or_default()
}

#[test]
fn slots_of_a_map_worker_flow_again_after_it_was_killed_and_after_it_went() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("slots that change hands", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let pipeline = numbers(&lab, "hands");
    pipeline.apply(&lab, &up).unwrap();
    scale(&up, "hands", 3);
    divided(&up, "hands", 3);
    until_more(&lab, &pipeline, 100);

    let listener = Listener::start(&nats.url(), "hands", "cat");
    divided(&up, "hands", 3);
    until_more(&lab, &pipeline, 100);
    let victim = up.processors("cat")[0];
    let (life, killed) = (life_of(victim), Instant::now());
    lab::signal(victim, Signal::SIGKILL).unwrap();
    until_more(&lab, &pipeline, 500);
    divided(&up, "hands", 3);
    let words = listener.stop();
    let dead: BTreeSet<_> =
        words.iter().map(|word| &word.worker).filter(|worker| worker.1 == life).cloned().collect();
    let taken: BTreeMap<_, _> = moves(&words, &dead)
        .into_iter()
        .filter(|one| dead.contains(&one.from))
        .map(|one| (one.unit, one.taken.duration_since(killed)))
        .collect();
    let (first, last) = (taken.values().min().unwrap(), taken.values().max().unwrap());
    println!("killed: {} slots owned again {first:?} to {last:?} after the kill", taken.len());
    assert!(taken.len() >= UNITS / 3, "all of its slots have an owner again");
    assert!(*last < TAKEN_OVER_WITHIN, "{taken:?}");

    let listener = Listener::start(&nats.url(), "hands", "cat");
    until_more(&lab, &pipeline, 100);
    scale(&up, "hands", 2);
    divided(&up, "hands", 2);
    until_more(&lab, &pipeline, 100);
    let gone = moves(&listener.stop(), &BTreeSet::new());
    println!("gone in order: {} slots, without an owner for {:?} at most", gone.len(), longest(&gone));
    assert!(gone.len() >= UNITS / 3);
    assert_eq!(pipeline.assert_exact(&lab, &up, |_| false), [0; 0]);
    assert_eq!(pipeline.repeated(&lab), 0, "a map worker that dies repeats nothing at the sink");
    up.down().unwrap();
}

/// The workers that spoke, in the order of their first word.
fn in_order(words: &[Word]) -> Vec<&(String, u64)> {
    let mut all: Vec<&(String, u64)> = Vec::new();
    for word in words {
        if !all.contains(&&word.worker) {
            all.push(&word.worker);
        }
    }
    all
}

/// What each worker held in the end.
fn holdings(words: &[Word]) -> BTreeMap<&(String, u64), usize> {
    words.iter().map(|word| (&word.worker, if word.gone { 0 } else { word.units.len() })).collect()
}

#[test]
fn a_map_that_grows_and_shrinks_moves_no_slot_without_need_and_shares_none() {
    let lab = Lab::new().unwrap();
    let Some(nats) = Nats::start("a map that grows and shrinks", &lab).unwrap() else { return };
    let up = Up::start_with(&lab, &["--isb", &nats.url(), "--isolate"]).unwrap();
    let pipeline = numbers(&lab, "grows");
    pipeline.apply(&lab, &up).unwrap();
    divided(&up, "grows", 1);
    let listener = Listener::start(&nats.url(), "grows", "cat");
    until_more(&lab, &pipeline, 300);
    scale(&up, "grows", 8);
    divided(&up, "grows", 8);
    until_more(&lab, &pipeline, 300);
    let words = listener.stop();
    let grown = moves(&words, &BTreeSet::new());
    let joined = in_order(&words);
    let at = |worker: &(String, u64)| joined.iter().position(|one| **one == *worker);
    let back = grown.iter().find(|one| at(&one.from) >= at(&one.to));
    assert!(back.is_none(), "slots go to workers that came later: {back:?}");
    println!("1 to 8: {} moves, each without an owner for {:?} at most", grown.len(), longest(&grown));

    let listener = Listener::start(&nats.url(), "grows", "cat");
    until_more(&lab, &pipeline, 300);
    scale(&up, "grows", 2);
    divided(&up, "grows", 2);
    until_more(&lab, &pipeline, 300);
    let words = listener.stop();
    let shrunk = moves(&words, &BTreeSet::new());
    let kept: BTreeSet<_> = holdings(&words)
        .into_iter()
        .filter(|(_, held)| *held > 0)
        .map(|(worker, _)| worker.clone())
        .collect();
    assert_eq!(kept.len(), 2);
    let lost = shrunk.iter().find(|one| kept.contains(&one.from));
    assert!(lost.is_none(), "a worker that stays keeps what it has: {lost:?}");
    let wandered = shrunk.iter().find(|one| !kept.contains(&one.to));
    assert!(wandered.is_none(), "slots go to workers that stay: {wandered:?}");
    println!("8 to 2: {} moves, each without an owner for {:?} at most", shrunk.len(), longest(&shrunk));
    assert_eq!(pipeline.assert_exact(&lab, &up, |_| false), [0; 0]);
    assert_eq!(pipeline.repeated(&lab), 0, "hand-overs repeat nothing");
    up.down().unwrap();
}
