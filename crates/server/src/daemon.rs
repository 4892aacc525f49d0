//! What the daemon of a pipeline or of a mono vertex answers, over gRPC and as JSON on one TLS port.
//!
//! Here a question of a caller becomes a question to a [`Daemon`] and its answer takes the form that clients of the
//! reference know; nothing is computed here that is not a matter of form. Invariant: both protocols give the same
//! message, because the JSON is made of the one that gRPC sends.

mod answers;
mod grpc;
mod json;
mod metrics;
pub mod notes;
pub mod owner;
mod rest;

use std::sync::Arc;

use async_trait::async_trait;
use keeper::health::Health;
use keeper::load::Load;
use platform::place::Refusal;
use tokio_util::sync::CancellationToken;

use crate::runtime_errors::Entry;
use crate::secure::Port;

/// The port that clients look for daemons at.
pub const PORT: u16 = 4327;

/// What can be asked about one pipeline or one mono vertex.
#[async_trait]
pub trait Daemon: Send + Sync {
    /// What this daemon is for. It may change with an edit of the pipeline.
    fn subject(&self) -> Subject;
    /// The buffers, in the order of the vertices that they are in front of, by partition. None for a mono vertex.
    async fn buffers(&self) -> Result<Vec<Buffer>, Refusal>;
    /// The load of each partition of a vertex, in order; a source and a mono vertex have one. An unknown vertex is
    /// refused.
    async fn loads(&self, vertex: &str) -> Result<Vec<Load>, Refusal>;
    /// The watermarks of each edge. None for a mono vertex.
    async fn watermarks(&self) -> Result<Vec<EdgeWatermarks>, Refusal>;
    /// How well the data flows.
    async fn health(&self) -> Result<Health, Refusal>;
    /// The latest errors of each replica of a vertex, without those that have none. An unknown vertex is refused.
    async fn errors(&self, vertex: &str) -> Result<Vec<ReplicaErrors>, Refusal>;
    /// Whether it knows enough to answer; a sentence why not.
    async fn ready(&self) -> Result<(), String>;
}

/// What a daemon is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A pipeline.
    Pipeline {
        /// Its name.
        name: String,
        /// Its vertices, in the order of the manifest.
        vertices: Vec<Vertex>,
    },
    /// A mono vertex.
    MonoVertex {
        /// Its name.
        name: String,
    },
}

/// A vertex of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// Its name.
    pub name: String,
    /// It reads from outside.
    pub is_source: bool,
    /// It writes outside.
    pub is_sink: bool,
    /// The names of its partitions as metrics have them: of its buffers, or its own where it has none.
    pub partitions: Vec<String>,
}

/// One partition of what lies in front of a vertex. What is not known is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buffer {
    /// Its name.
    pub name: String,
    /// Messages that nobody has read.
    pub pending: Option<u64>,
    /// Messages that were read and are not done.
    pub in_hand: Option<u64>,
    /// Messages that are stored, those that are done and not yet removed included.
    pub stored: Option<u64>,
    /// Messages that fit.
    pub length: Option<u64>,
    /// The share of the length at which it counts as full.
    pub usage_limit: Option<f64>,
}

impl Buffer {
    /// The share of the length that is taken by messages that are not done.
    pub fn usage(&self) -> Option<f64> {
        let left = self.pending?.saturating_add(self.in_hand?);
        let taken = self.stored.map_or(left, |stored| stored.min(left));
        let length = self.length.filter(|length| *length > 0)?;
        Some(taken as f64 / length as f64)
    }

    fn is_full(&self) -> Option<bool> {
        Some(self.usage()? >= self.usage_limit?)
    }
}

/// The watermarks of one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeWatermarks {
    /// Where it begins.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// For each partition of the vertex it ends at, in milliseconds since the Unix epoch; none while it is not known.
    pub watermarks: Vec<Option<i64>>,
    /// Whether the pipeline has watermarks.
    pub is_enabled: bool,
}

/// The latest errors of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaErrors {
    /// The name of its pod.
    pub replica: String,
    /// The errors, by container, the oldest first.
    pub errors: Vec<Entry>,
}

/// Answers callers and the owner of the daemon until `shutdown` is cancelled; then lets them finish.
pub async fn serve_owned(
    daemon: Arc<dyn Daemon>,
    owner: owner::Owner,
    port: Port,
    shutdown: CancellationToken,
) {
    let router = rest::router(Arc::clone(&daemon))
        .merge(grpc::router(daemon))
        .merge(owner::router(owner, shutdown.clone()));
    port.serve(router, shutdown).await;
}

/// Answers callers until `shutdown` is cancelled; then lets them finish.
pub async fn serve(daemon: Arc<dyn Daemon>, port: Port, shutdown: CancellationToken) {
    let router = rest::router(Arc::clone(&daemon)).merge(grpc::router(daemon));
    port.serve(router, shutdown).await;
}
