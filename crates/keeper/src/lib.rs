//! Turns what workers report into time, pending, idle or stuck, the drain report, and who owns which slot.
//!
//! The decisions are pure: [`Keeper`] makes a [`Picture`] of reports, [`Owners`] makes orders of what workers hold; both
//! are told what time it is. [`Board`] only shares a keeper between tasks. Nothing here reads a buffer or speaks to a
//! worker: the platform fills in the reports. The one invariant: a watermark that was published is never taken back,
//! and nothing that was on time is written behind it.

mod activity;
mod board;
mod drain;
mod graph;
pub mod health;
mod keeper;
pub mod load;
mod owners;
mod picture;
mod report;
mod sources;
mod watermark;

pub use board::Board;
pub use graph::{Feed, Graph, Vertex};
pub use keeper::{Ignored, IgnoredBecause, Keeper, Settings};
pub use owners::{Orders, Owners, OwnersSettings, Wanted, WorkerReport};
pub use picture::{Hold, Picture, Reason, State, VertexPicture, Why};
pub use plan::Fleet;
pub use report::{Input, Report, SlotReport, SourceReport, UnitReport, WriterReport};
