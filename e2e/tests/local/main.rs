//! Whole pipelines: exact results of the reference's shapes, crashes of ourselves and of user code, the command line.

#![expect(
    clippy::unwrap_used,
    reason = "in a test an unwrap is an assertion, also outside the test functions themselves"
)]

mod alerts;
mod control;
mod crash;
mod daemon;
mod grid;
mod jetstream;
mod misbehaviour;
mod pause;
mod rates;
mod rollout;
mod shapes;
mod updates;
mod words;
