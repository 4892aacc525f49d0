//! Units, slots and commits kept whole on a broker that has only compare-and-set on a subject's last sequence.
//!
//! The protocol is plain asynchronous code over the [`broker::Broker`] door: no runtime, no clock, no socket, no
//! randomness. Whoever runs it gives it a broker, real or simulated, and polls it; every wait it knows is an answer of
//! that broker. Invariant: no other crate knows what a lane is.

mod bell;
pub mod broker;
mod claim;
mod commit;
mod driver;
mod failure;
mod fence;
mod gate;
mod ids;
mod lanes;
mod link;
mod mail;
mod meta;
mod names;
mod observer;
mod pen;
mod read;
mod record;
mod room;
mod settings;
mod source;
mod wire;

pub use driver::Driver;
pub use lanes::Lanes;
pub use link::LEASE;
pub use settings::{Holds, Settings, StreamSpec, layout};
