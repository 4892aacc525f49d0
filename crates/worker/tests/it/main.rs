//! A worker between scripted doors and the real embedded buffer. What all files share is in `kit`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

extern crate tidegate_worker as worker;

mod flow;
mod graph;
mod kit;
mod lease;
mod leaving;
mod metrics;
mod ownership;
mod rates;
mod reports;
mod retries;
mod stopping;
