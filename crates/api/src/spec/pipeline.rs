//! The spec of a `Pipeline`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::container::{Container, DaemonTemplate, JobTemplate, SideInputsManagerTemplate, VertexTemplate};
use super::limits::PipelineLimits;
use super::stock::Volume;
use super::update::UpdateStrategy;
use super::vertex::{ForwardConditions, PipelineVertex};
use crate::duration::Duration;

/// Vertices, the edges between them, and what they share.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PipelineSpec {
    /// The buffer service. Default `default`.
    pub inter_step_buffer_service_name: Option<String>,
    /// The vertices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vertices: Vec<PipelineVertex>,
    /// The edges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<Edge>,
    /// Whether it should run, and how it stops.
    pub lifecycle: Option<Lifecycle>,
    /// Limits that vertices inherit.
    pub limits: Option<PipelineLimits>,
    /// Event time settings.
    pub watermark: Option<Watermark>,
    /// Settings of generated workloads.
    pub templates: Option<Templates>,
    /// Side inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub side_inputs: Vec<SideInput>,
    /// Buffer settings.
    pub inter_step_buffer: Option<InterStepBuffer>,
    /// Whether order is kept. Default false.
    pub ordered: Option<Ordered>,
    /// Tidegate extension: the update strategy of vertices that have none of their own.
    pub update_strategy: Option<UpdateStrategy>,
}

/// Whether a pipeline should run, and how it stops.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Lifecycle {
    /// Only `Paused` means pause; everything else means run. Default `Running`.
    pub desired_phase: Option<Phase>,
    /// Seconds a pause may take to drain. Default 30.
    pub pause_grace_period_seconds: Option<i64>,
    /// Seconds a deletion may take to drain. Default 30.
    pub deletion_grace_period_seconds: Option<i64>,
    /// Deprecated name of `deletionGracePeriodSeconds`, used when that is not set.
    pub delete_grace_period_seconds: Option<i64>,
    /// Tidegate extension: what happens when the grace period ends before everything is drained. Default `keep`.
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// Tidegate extension: how work starts again after a pause.
    pub resume: Option<Resume>,
}

/// What a user can ask an object to be, and what it can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing said.
    #[serde(rename = "")]
    #[default]
    Unset,
    /// Working.
    Running,
    /// Given up.
    Failed,
    /// On the way to `Paused`.
    Pausing,
    /// Stopped.
    Paused,
    /// On the way out.
    Deleting,
}

/// Tidegate extension: what happens when a pause's grace period ends before everything is drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnPauseTimeout {
    /// Workers stop, data stays.
    #[default]
    Keep,
    /// Draining goes on.
    Wait,
    /// The pipeline runs again.
    Resume,
}

/// Tidegate extension: how work starts again after a pause.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Resume {
    /// At the replica counts before the pause, or from the fewest upwards. Default `fast`.
    pub strategy: Option<ResumeStrategy>,
    /// With `slow`: replicas added per minute and vertex.
    #[schemars(range(min = 1))]
    pub per_minute: Option<u32>,
}

/// At which replica counts work starts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ResumeStrategy {
    /// As before the pause.
    #[default]
    Fast,
    /// From the fewest upwards.
    Slow,
}

/// Event time settings.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Watermark {
    /// No watermarks at all. Default false.
    pub disabled: Option<bool>,
    /// How late messages may be. Default 0s.
    pub max_delay: Option<Duration>,
    /// What happens while a source is silent.
    pub idle_source: Option<IdleSource>,
}

/// What happens to event time while a source is silent.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct IdleSource {
    /// How long a source is silent before it counts as idle. Required.
    pub threshold: Option<Duration>,
    /// How far the watermark then moves per step. Required.
    pub increment_by: Option<Duration>,
    /// The time between steps. Default 0s.
    pub step_interval: Option<Duration>,
    /// How long a source may take to its first message.
    pub init_source_delay: Option<Duration>,
}

/// Settings of generated workloads.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Templates {
    /// The daemon.
    pub daemon: Option<DaemonTemplate>,
    /// The jobs.
    pub job: Option<JobTemplate>,
    /// The side-inputs managers.
    pub side_inputs_manager: Option<SideInputsManagerTemplate>,
    /// What every vertex starts from.
    pub vertex: Option<VertexTemplate>,
}

/// A way from one vertex to another.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Edge {
    /// The writing vertex.
    pub from: String,
    /// The reading vertex.
    pub to: String,
    /// Which messages take it. Default: all.
    pub conditions: Option<ForwardConditions>,
    /// What a writer does when the buffer is full. Default `retryUntilSuccess`.
    pub on_full: Option<OnFull>,
}

/// What a writer does when the buffer is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFull {
    /// It waits.
    #[default]
    RetryUntilSuccess,
    /// It drops what it cannot write, and counts it.
    DiscardLatest,
}

/// A value that is fetched now and then and that vertices can see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SideInput {
    /// Its name.
    pub name: String,
    /// The container that fetches it.
    pub container: Container,
    /// Volumes of that container's pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// When it is fetched.
    pub trigger: SideInputTrigger,
}

/// When a side input is fetched.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SideInputTrigger {
    /// Six fields, seconds first, or a word such as `@hourly`.
    pub schedule: String,
    /// IANA name of the time zone. Default UTC.
    pub timezone: Option<String>,
}

/// Buffer settings.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct InterStepBuffer {
    /// How messages are made smaller on their way.
    pub compression: Option<Compression>,
}

/// How messages are made smaller on their way.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Compression {
    /// `none` (default), `gzip`, `zstd` or `lz4`, in any letter case.
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// Whether order is kept.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Ordered {
    /// Default false.
    pub enabled: Option<bool>,
}
