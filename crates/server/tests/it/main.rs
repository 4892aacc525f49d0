//! The API as a caller sees it: real HTTP over a unix socket and over TCP.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod caller;
mod description;
mod ends;
mod fake;
mod listeners;
mod log_streams;
mod requests;
