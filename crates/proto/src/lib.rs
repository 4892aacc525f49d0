//! Generated gRPC and protobuf of the user-code contract and of the daemon: one module for each protobuf package.
//!
//! The `.proto` files stand in `proto/`; `cargo xtask gen` makes everything below `src/gen/` from them, and
//! `cargo xtask check` fails when the two differ. Nothing here is written by hand but this list, and nothing here
//! speaks to anyone: sessions, retries and limits live in `connect`.
//!
//! Invariant: package, service and method names and field numbers are those of the reference, because they are
//! what existing user containers answer to and what existing clients ask daemons for. Every `bytes` field is a
//! [`prost::bytes::Bytes`] and every map is ordered, so that values are shared instead of copied and encoding the same
//! message twice gives the same bytes.

#![expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::default_trait_access,
    clippy::too_many_lines,
    reason = "everything in this crate is generated"
)]

#[rustfmt::skip]
#[path = "gen/accumulator.v1.rs"]
pub mod accumulator;
#[rustfmt::skip]
#[path = "gen/daemon.rs"]
pub mod daemon;
#[rustfmt::skip]
#[path = "gen/map.v1.rs"]
pub mod map;
#[rustfmt::skip]
#[path = "gen/metadata.rs"]
pub mod metadata;
#[rustfmt::skip]
#[path = "gen/mvtxdaemon.rs"]
pub mod mono_vertex_daemon;
#[rustfmt::skip]
#[path = "gen/nack_options.rs"]
pub mod nack;
#[rustfmt::skip]
#[path = "gen/reduce.v1.rs"]
pub mod reduce;
#[rustfmt::skip]
#[path = "gen/serving.v1.rs"]
pub mod serving;
#[rustfmt::skip]
#[path = "gen/sessionreduce.v1.rs"]
pub mod session_reduce;
#[rustfmt::skip]
#[path = "gen/sideinput.v1.rs"]
pub mod side_input;
#[rustfmt::skip]
#[path = "gen/sink.v1.rs"]
pub mod sink;
#[rustfmt::skip]
#[path = "gen/source.v1.rs"]
pub mod source;
#[rustfmt::skip]
#[path = "gen/sourcetransformer.v1.rs"]
pub mod source_transform;
