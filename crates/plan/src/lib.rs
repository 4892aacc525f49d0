//! Given what is wanted and what is seen: all that should exist, who owns what, and what is waited for.
//!
//! Here live the decisions of the control plane, as functions of their arguments and nothing else: [`assign`] says who
//! should own which unit, a [`Book`] says which orders bring that about. Looking and acting are elsewhere. The one
//! invariant: the same arguments give the same answer, in any process and at any time.

mod assign;
mod book;
pub mod decide;
pub mod lifecycle;
pub mod rollout;
mod said;
pub mod scale;
pub mod seen;
pub mod status;
mod time;
pub mod wanted;
pub mod why;

pub use assign::{Fleet, assign};
pub use book::{Book, Holding, Orders, Seen};
pub use decide::{Memory, Piece, Plan, decide};
pub use said::{Event, Severity, Waiting};
pub use time::Time;
