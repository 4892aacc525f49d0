//! The spec of a `MonoVertex`: source, maybe a map, and sink in one worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::container::{ContainerTemplate, DaemonTemplate, PodTemplate};
use super::limits::MonoVertexLimits;
use super::pipeline::{OnPauseTimeout, Phase, Resume};
use super::scale::Scale;
use super::sink::Sink;
use super::source::Source;
use super::stock::{Container, Volume};
use super::udf::Udf;
use super::update::UpdateStrategy;
use super::vertex::{Redelivery, TagConditions, UserCode};

/// Source, maybe a map, and sink in one worker, without buffers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MonoVertexSpec {
    /// How many workers. Default 1.
    pub replicas: Option<i32>,
    /// Where messages come from. Required.
    pub source: Option<Box<Source>>,
    /// Where messages go. Required.
    pub sink: Option<Box<Sink>>,
    /// A map between them.
    pub udf: Option<Box<Udf>>,
    /// What to say about the pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
    /// Settings of the main container.
    pub container_template: Option<ContainerTemplate>,
    /// Settings of the daemon.
    pub daemon_template: Option<DaemonTemplate>,
    /// Volumes of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// More init containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// More containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sidecars: Vec<Container>,
    /// Limits.
    pub limits: Option<MonoVertexLimits>,
    /// Scaling.
    pub scale: Option<Scale>,
    /// How a change reaches the workers.
    pub update_strategy: Option<UpdateStrategy>,
    /// Whether it should run.
    pub lifecycle: Option<MonoVertexLifecycle>,
    /// Which messages go straight to a sink.
    pub bypass: Option<Bypass>,
    /// Answer the source message by message and out of order. Default false.
    pub streaming: Option<bool>,
    /// Tidegate extension: what becomes of messages that fail again and again.
    pub redelivery: Option<Redelivery>,
    /// Tidegate extension: what is expected of its user code.
    pub user_code: Option<UserCode>,
}

/// Whether a mono vertex should run.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MonoVertexLifecycle {
    /// Only `Paused` means pause; everything else means run. Default `Running`.
    pub desired_phase: Option<Phase>,
    /// Tidegate extension: seconds a pause may take to drain. Default 30.
    pub pause_grace_period_seconds: Option<i64>,
    /// Tidegate extension: what happens when the grace period ends before everything is drained. Default `keep`.
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// Tidegate extension: how work starts again after a pause.
    pub resume: Option<Resume>,
}

/// Which messages go straight to a sink. With a rule for `sink`, a message that reaches the primary sink and
/// matches no rule is dropped.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Bypass {
    /// To the primary sink.
    pub sink: Option<BypassRule>,
    /// To the fallback sink.
    pub fallback: Option<BypassRule>,
    /// To the on-success sink.
    pub on_success: Option<BypassRule>,
}

/// A test of a message's tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BypassRule {
    /// The test.
    pub tags: TagConditions,
}
