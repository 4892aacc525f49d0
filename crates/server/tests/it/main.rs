//! What is served as a caller sees it: real HTTP over a unix socket and over TCP, and over TLS on the ports of a cluster.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod caller;
mod cluster;
mod daemons;
mod description;
mod ends;
mod fake;
mod listeners;
mod log_streams;
mod processors;
mod requests;
