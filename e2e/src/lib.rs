//! Whole pipelines against real things: what tests need to run `tidegate` as a person would, break it, and look at what
//! it left behind. Every wait is for a condition and has a limit; every process that was started is ended.

pub mod cluster;
pub mod grid;
pub mod http;
pub mod lab;
pub mod ledger;
pub mod manifest;
pub mod nats;
pub mod object;
pub mod redis;
pub mod sampler;
pub mod up;
pub mod wait;
