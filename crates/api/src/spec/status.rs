//! What is reported about objects. Users do not write it; a status found in a manifest is read and left alone.

mod extension;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::pipeline::Phase;
use super::stock::{Condition, SecretKeySelector, Time};

pub use extension::{
    Activity, ActivityState, Drain, DrainReason, DrainVerdict, DrainWindow, DrainWindowState, Remaining,
    Revision, RevisionState, RolledBack, Rollout, RolloutInput, RolloutKind, RolloutVerdict,
    RolloutVerdictKind,
};

/// The status of a `Pipeline`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PipelineStatus {
    /// Facts with reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What it is doing.
    pub phase: Option<Phase>,
    /// In words.
    pub message: Option<String>,
    /// When it was last looked at.
    pub last_updated: Option<Time>,
    /// Vertices.
    pub vertex_count: Option<u32>,
    /// Source vertices.
    pub source_count: Option<u32>,
    /// Sink vertices.
    pub sink_count: Option<u32>,
    /// Vertices with a function.
    pub udf_count: Option<u32>,
    /// Vertices with a map function.
    #[serde(rename = "mapUDFCount")]
    pub map_udf_count: Option<u32>,
    /// Vertices with a reduce function.
    #[serde(rename = "reduceUDFCount")]
    pub reduce_udf_count: Option<u32>,
    /// The generation this status speaks of.
    pub observed_generation: Option<i64>,
    /// Whether the pause found everything drained.
    pub drained_on_pause: Option<bool>,
    /// Tidegate extension: how far the present or last drain has come.
    pub drain: Option<Drain>,
    /// Tidegate extension: whether there is work and it gets on.
    pub activity: Option<Activity>,
}

/// The status of a `Vertex`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VertexStatus {
    /// Facts with reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What it is doing.
    pub phase: Phase,
    /// Why, in a word.
    pub reason: Option<String>,
    /// In words.
    pub message: Option<String>,
    /// How many workers there should be.
    pub desired_replicas: u32,
    /// How many workers there are.
    pub replicas: u32,
    /// How many are ready.
    pub ready_replicas: Option<u32>,
    /// Which pods are its own, as a label selector.
    pub selector: Option<String>,
    /// When the count last changed.
    pub last_scaled_at: Option<Time>,
    /// The generation this status speaks of.
    pub observed_generation: Option<i64>,
    /// The revision that serves.
    pub current_hash: Option<String>,
    /// The revision that is wanted.
    pub update_hash: Option<String>,
    /// Workers of the wanted revision.
    pub updated_replicas: Option<u32>,
    /// Ready workers of the wanted revision.
    pub updated_ready_replicas: Option<u32>,
    /// Tidegate extension: why there should be so many workers, in words.
    pub replicas_reason: Option<String>,
    /// Tidegate extension: the rollout that is under way, or how the last one ended.
    pub rollout: Option<Rollout>,
    /// Tidegate extension: whether there is work and it gets on.
    pub activity: Option<Activity>,
    /// Tidegate extension: the revisions there were, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Revision>,
}

/// The status of a `MonoVertex`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MonoVertexStatus {
    /// What it shares with a vertex.
    #[serde(flatten)]
    pub vertex: VertexStatus,
    /// When it was last looked at.
    pub last_updated: Option<Time>,
    /// Tidegate extension: whether the pause found everything drained.
    pub drained_on_pause: Option<bool>,
    /// Tidegate extension: how far the present or last drain has come.
    pub drain: Option<Drain>,
}

/// The status of an `InterStepBufferService`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct InterStepBufferServiceStatus {
    /// Facts with reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What it is doing: empty, `Pending`, `Running`, `Failed` or `Deleting`.
    pub phase: Option<String>,
    /// In words.
    pub message: Option<String>,
    /// `jetstream`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The generation this status speaks of.
    pub observed_generation: Option<i64>,
    /// How clients reach it.
    pub config: Option<BufferServiceConfig>,
}

/// How clients reach a buffer service.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BufferServiceConfig {
    /// As JetStream.
    pub jetstream: Option<JetStreamConfig>,
}

/// How clients reach JetStream.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct JetStreamConfig {
    /// The address.
    pub url: Option<String>,
    /// Credentials.
    pub auth: Option<JetStreamConfigAuth>,
    /// Merged buffer settings (YAML).
    pub stream_config: Option<String>,
    /// Whether TLS is on.
    pub tls_enabled: Option<bool>,
}

/// Credentials for JetStream.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct JetStreamConfigAuth {
    /// User and password.
    pub basic: Option<JetStreamBasicAuth>,
}

/// User and password for JetStream.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct JetStreamBasicAuth {
    /// Where the user name is.
    pub user: Option<SecretKeySelector>,
    /// Where the password is.
    pub password: Option<SecretKeySelector>,
}

/// The status of a `ServingPipeline`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServingPipelineStatus {
    /// Facts with reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What it is doing: empty, `Running`, `Failed` or `Deleting`.
    pub phase: Option<String>,
    /// In words.
    pub message: Option<String>,
    /// When it was last looked at.
    pub last_updated: Option<Time>,
    /// The generation this status speaks of.
    pub observed_generation: Option<i64>,
}
