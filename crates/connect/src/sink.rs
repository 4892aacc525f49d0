//! Sinks: where messages leave. One file each.
//!
//! Every sink here runs the conformance suite of the sink door.

pub mod blackhole;
pub mod file;
mod lines;
pub mod log;
pub mod stdout;
pub mod user;
