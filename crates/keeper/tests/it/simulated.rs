//! Simulated pipelines with joins, cycles, retries, take-overs and unreliable reports.

use crate::world::{Manner, World};

/// Runs until everything is done and said. Panics where a promise is broken; gives what was in it.
fn run(seed: u64, manner: Manner) -> (usize, usize) {
    let mut world = World::new(seed, manner);
    let end = manner.rounds + 40_000;
    for round in 0..end {
        world.stopping = round >= manner.rounds;
        world.round(round);
        if world.picture.drained {
            break;
        }
    }
    assert!(world.is_empty(), "seed {seed}: something is left inside");
    assert!(world.picture.drained, "seed {seed}: never drained");
    world.assert_caught_up();
    world.richness()
}

fn run_all(seeds: std::ops::Range<u64>, manner: Manner) {
    let (mut zombies, mut known) = (0, 0);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let (seen, times) = run(seed, manner);
        zombies += seen;
        known += times;
    }
    assert!(zombies as u64 > count, "owners were replaced only {zombies} times");
    assert!(known as u64 > count, "only {known} watermarks were ever known");
}

#[test]
fn nothing_is_written_behind_a_watermark_whatever_happens_to_reports() {
    run_all(0..400, Manner { atomic: false, idle: false, rounds: 150 });
}

#[test]
fn idle_sources_move_time_on_without_making_anything_late() {
    run_all(10_000..10_200, Manner { atomic: false, idle: true, rounds: 150 });
}

#[test]
fn reports_of_one_instant_give_the_latest_watermark_there_can_be() {
    run_all(20_000..20_120, Manner { atomic: true, idle: false, rounds: 100 });
    run_all(30_000..30_060, Manner { atomic: true, idle: true, rounds: 150 });
}
