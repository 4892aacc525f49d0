//! Buffers between vertices.

pub mod broker;
pub mod jetstream;
pub mod journal;
