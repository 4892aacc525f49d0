//! What people see and press: the HTTP API of a place, and what daemons and workers of a cluster answer.
//!
//! Here a request becomes a question to a [`platform::place::Place`], a [`daemon::Daemon`] or a [`processor::Pod`], and
//! the answer takes the form that callers know; nothing is decided here and nothing is remembered. Invariant: whatever a
//! caller does costs a bounded amount of memory and time. A place is never reached from another user or another machine;
//! daemons and workers can be, and can only be read.

mod answer;
mod callers;
pub mod daemon;
mod files;
mod guard;
mod listener;
mod logs;
mod openapi;
pub mod processor;
mod routes;
pub mod runtime_errors;
pub mod secure;
mod serve;

pub use answer::ErrorBody;
pub use listener::{Error, Listener};
pub use openapi::document as openapi_document;
pub use routes::{LogsQuery, PREFIX, Version, Watch};
pub use serve::{End, serve};
