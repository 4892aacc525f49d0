//! The conformance suites of the doors: what every implementation of a door is held to, written once.

pub mod buffer;
pub mod mail;
pub mod sink;
pub mod source;
pub mod store;
mod wait;
