//! What only shows with real processes: views of the file system and supervision.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod crash;
mod engine;
mod fake;
mod namespace;
mod process;
mod site;
