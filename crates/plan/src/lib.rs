//! Given what is wanted and what is seen: all that should exist, who owns what, and what is waited for.
//!
//! Here live the decisions of the control plane, as functions of their arguments and nothing else: [`assign`] says who
//! should own which unit, a [`Book`] says which orders bring that about. Looking and acting are elsewhere. The one
//! invariant: the same arguments give the same answer, in any process and at any time.

mod assign;
mod book;

pub use assign::{Revision, assign};
pub use book::{Book, Holding, Orders, Seen};
