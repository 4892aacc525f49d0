//! Tests of the doors against what is really behind them.

#![expect(clippy::unwrap_used, reason = "what helps a test is part of it")]

mod http;
mod jetstream_bench;
mod jetstream_broker;
mod jetstream_buffer;
mod jetstream_connection;
mod jetstream_flood;
mod jetstream_follow;
mod jetstream_streams;
mod journal_buffer;
mod journal_buffer_bench;
mod journal_buffer_flood;
mod journal_buffer_own;
mod mail;
mod nats;
mod open;
mod sinks;
mod sources;
mod standstill;
mod stores;
mod udf_conformance;
mod udf_map;
mod udf_process;
mod udf_python;
mod udf_sdk;
mod udf_server;
mod udf_sink;
mod udf_source;
