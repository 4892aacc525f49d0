//! A world that exists in memory only: time, turns, and a broker with its faults. Nothing here knows the protocol.
//! A failed assertion must not hide behind what it broke, so locks are taken whatever happened under them. Invariant: under the [`Executor`](executor::Executor) a seed decides everything that happens.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod executor;
pub(crate) mod faults;
pub(crate) mod ground;
pub(crate) mod stream;
