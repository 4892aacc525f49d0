//! Buffers between vertices.

pub mod journal;
