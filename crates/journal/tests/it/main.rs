//! What a journal promises, shown from outside: one file per promise.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod basics;
mod crash_everywhere;
mod damage;
mod failures;
mod full_disk;
mod oracle;
mod real_disk;
mod seeds;
mod simulation;
mod threads;
mod upkeep;
mod vectors;
