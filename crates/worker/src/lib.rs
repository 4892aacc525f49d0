//! Runs one vertex until told to stop, losing nothing.
//!
//! Source vertex, map vertex, sink vertex and mono vertex are the same loop with different doors: a unit takes a batch
//! from its inlet, passes it through the [`stage`], and commits what it became together with its own progress. What a
//! worker owns comes from outside as [`Orders`]; it never decides that itself. The worker knows nothing of what lies
//! behind a door: `wire` alone opens them.

mod backoff;
mod batch;
mod budget;
mod desk;
mod graph;
mod handle;
mod inlet;
pub mod link;
mod metrics;
mod retry;
mod route;
mod setup;
mod signals;
mod stage;
mod tail;
mod throttle;
mod unit;
pub mod wire;
mod worker;

pub use backoff::{Strategy, Then};
pub use graph::Graph;
pub use handle::{Hand, Handle, Orders, UnitReport};
pub use metrics::{Drops, Families, Metrics, Who};
pub use setup::{
    Bypass, Call, Edge, Exhausted, Input, Lease, Limits, Out, RateLimit, Redeliveries, Setup, Sinks,
    Watermark,
};
pub use signals::{Latency, Signals, Tally};
pub use throttle::{Clock, Mode, Rate};
pub use worker::{Ended, Worker};
