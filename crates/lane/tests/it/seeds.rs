//! Which seeds run, and what those print that fail.

use std::any::Any;
use std::fmt::Write;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One of so many seeds is lived where lives take long.
const PART: u64 = 20;
/// Failures that are told, at most.
const TOLD_MAX: usize = 10;

/// `count` seeds, or as the variable `TIDEGATE_SEEDS` says: another count, or `from..to`.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    let Ok(asked) = std::env::var("TIDEGATE_SEEDS") else { return 0..count };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..asked.parse::<u64>().unwrap(),
    }
}

/// The same for lives that take long: of the number that is asked for only a part.
pub(crate) fn fewer_seeds(count: u64) -> Range<u64> {
    match std::env::var("TIDEGATE_SEEDS") {
        Ok(asked) if !asked.contains("..") => 0..asked.parse::<u64>().unwrap().div_ceil(PART),
        _ => seeds(count),
    }
}

/// Lives the seeds on two threads; all must go right. Says how to live those again that do not.
pub(crate) fn all<T: Send>(test: &str, seeds: &[u64], life: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let mut text = String::new();
    let (mut went_well, mut failed) = (Vec::new(), 0);
    for (seed, lived) in each(seeds, life) {
        match lived {
            Ok(report) => went_well.push(report),
            Err(said) => {
                failed += 1;
                if failed <= TOLD_MAX {
                    let only = format!("TIDEGATE_SEEDS={seed}..{}", seed + 1);
                    let again = format!("{only} cargo test -p tidegate-lane --test it {test}");
                    writeln!(text, "seed {seed}: {said}\n  again with: {again}").unwrap();
                }
            }
        }
    }
    assert!(failed == 0, "{failed} of {} seeds failed\n{text}", seeds.len());
    went_well
}

/// Lives the seeds on two threads, and gives what each came to or said when it failed.
pub(crate) fn each<T: Send>(seeds: &[u64], life: impl Fn(u64) -> T + Sync) -> Vec<(u64, Result<T, String>)> {
    let one = |seed: &u64| {
        let lived = catch_unwind(AssertUnwindSafe(|| life(*seed)));
        (*seed, lived.map_err(|panic| said(&*panic)))
    };
    let half = seeds.len().div_ceil(2).max(1);
    std::thread::scope(|scope| {
        let halves = seeds.chunks(half);
        let threads: Vec<_> =
            halves.map(|seeds| scope.spawn(|| seeds.iter().map(one).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
