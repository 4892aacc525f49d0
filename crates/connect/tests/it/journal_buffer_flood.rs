//! Units change hands in the middle of a flood, by seeds: over a simulated disk, where a seed decides about every turn
//! and a failure is repeated exactly, and over files with real threads.
//!
//! `TIDEGATE_SEED=17 cargo test -p tidegate-connect --test it flood_simulated` repeats one seed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a failure says its seed, a success what it covered"
)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use model::conformance::buffer::Bench;
use model::conformance::buffer::faulty::{Faults, FaultyBench};
use model::conformance::buffer::flood::{Outcome, flood};

use crate::journal_buffer_bench::{FileBench, SimBench, alone, together};

/// Runs a flood for each seed, or only the one that is asked for, and says which one failed.
fn floods(name: &str, seeds: std::ops::Range<u64>, run: impl Fn(u64) -> Outcome) -> Outcome {
    let asked = std::env::var("TIDEGATE_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = asked.map_or(seeds, |seed| seed..seed + 1);
    let mut total = Outcome::default();
    for seed in seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
            eprintln!(
                "seed {seed} failed; TIDEGATE_SEED={seed} cargo test -p tidegate-connect --test it {name}"
            );
            resume_unwind(panic)
        });
        total.moves += outcome.moves;
        total.restarts += outcome.restarts;
        total.commits += outcome.commits;
    }
    println!("{name}: {total:?}");
    total
}

fn simulated(bench: &dyn Bench, seed: u64) -> Outcome {
    alone(flood(bench, seed))
}

#[test]
fn flood_simulated() {
    floods("flood_simulated", 0..40, |seed| simulated(&SimBench::new(seed), seed));
}

#[test]
fn flood_simulated_with_faults() {
    floods("flood_simulated_with_faults", 0..60, |seed| {
        simulated(&FaultyBench::new(SimBench::new(seed), Faults::SEVERE, seed), seed)
    });
}

#[test]
fn flood_simulated_with_crashes() {
    floods("flood_simulated_with_crashes", 0..60, |seed| {
        simulated(&SimBench::with_short_lives(seed, 8), seed)
    });
}

#[test]
fn flood_simulated_with_crashes_and_faults() {
    floods("flood_simulated_with_crashes_and_faults", 0..80, |seed| {
        simulated(&FaultyBench::new(SimBench::with_short_lives(seed, 8), Faults::SEVERE, seed), seed)
    });
}

#[test]
fn flood_simulated_on_a_disk_that_fills_up() {
    floods("flood_simulated_on_a_disk_that_fills_up", 0..40, |seed| {
        simulated(&SimBench::that_fills_up(seed), seed)
    });
}

#[test]
fn flood_on_files() {
    floods("flood_on_files", 0..5, |seed| together(flood(&FileBench::new(), seed)));
}

#[test]
fn flood_on_files_with_faults() {
    floods("flood_on_files_with_faults", 0..5, |seed| {
        together(flood(&FaultyBench::new(FileBench::new(), Faults::SEVERE, seed), seed))
    });
}

#[test]
fn a_seed_repeats_a_flood_exactly() {
    for seed in 1000..1003 {
        let run =
            || simulated(&FaultyBench::new(SimBench::with_short_lives(seed, 3), Faults::SEVERE, seed), seed);
        assert_eq!(run(), run(), "seed {seed}");
    }
}
