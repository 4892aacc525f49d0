//! What flows through Tidegate and the doors it flows through.
//!
//! Here live messages and their ids, frames and their bytes, units, slots and positions, and the door traits
//! with the contract each implementation keeps. No clock, no files, no network, no runtime: everything is a
//! value or a promise. The one thing to know: a message id is structural, so the same input gives the same
//! ids however often it is processed.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod door;
pub mod frame;
mod id;
mod message;
mod time;
mod unit;
pub mod verdict;
mod wire;

pub use id::{Id, Name, Origin};
pub use message::{Attributes, Groups, Message, Parts, Redelivery};
pub use time::Time;
pub use unit::{Epoch, Incarnation, Place, Position, Progress, Slot, Topology, Unit, UnitId};
