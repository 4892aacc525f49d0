//! What people see and press: the HTTP API of a place.
//!
//! Here a request becomes a question to a [`platform::place::Place`] and its answer becomes JSON; nothing is decided here
//! and nothing is remembered. Invariant: whatever a caller does costs a bounded amount of memory and time, and never
//! reaches a place from another user or another machine.

mod answer;
mod files;
mod guard;
mod listener;
mod logs;
mod openapi;
mod routes;
mod serve;

pub use answer::ErrorBody;
pub use listener::{Error, Listener};
pub use openapi::document as openapi_document;
pub use routes::{LogsQuery, PREFIX, Version, Watch};
pub use serve::{End, serve};
