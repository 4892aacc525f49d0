//! Which seeds run, and what a failing one prints.

use std::ops::Range;
use std::panic::UnwindSafe;

/// `count` seeds, or as the variable `TIDEGATE_SEEDS` says: another count, or `from..to`.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    let Ok(asked) = std::env::var("TIDEGATE_SEEDS") else { return 0..count };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..asked.parse::<u64>().unwrap(),
    }
}

/// Runs one seed and says how to run it again if it fails.
#[expect(clippy::print_stderr, reason = "whoever sees the test fail needs it")]
pub(crate) fn run_seed(test: &str, seed: u64, life: impl FnOnce() + UnwindSafe) {
    if let Err(panic) = std::panic::catch_unwind(life) {
        let only = format!("{seed}..{}", seed + 1);
        eprintln!(
            "seed {seed} failed; again with: TIDEGATE_SEEDS={only} cargo test -p tidegate-journal --test it {test}"
        );
        std::panic::resume_unwind(panic);
    }
}
