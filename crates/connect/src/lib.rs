//! One file for each thing a vertex can plug into.
//!
//! Sources and sinks of the outside, user code, and the buffers between vertices: every one is behind a door of
//! `model` and runs that door's conformance suite. What opens which is decided in [`open`]. Nothing here knows what a
//! worker or a pipeline is.

pub mod buffer;
pub mod incident;
pub mod mail;
pub mod open;
pub mod secret;
pub mod sink;
pub mod source;
pub mod store;
pub mod tls;
pub mod udf;
