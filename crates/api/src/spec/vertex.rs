//! A vertex of a pipeline as users write it, and the generated `Vertex` object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::container::{ContainerTemplate, PodTemplate};
use super::limits::VertexLimits;
use super::pipeline::{Edge, InterStepBuffer, Ordered, Watermark};
use super::scale::Scale;
use super::sink::Sink;
use super::source::Source;
use super::stock::{Container, Volume};
use super::udf::Udf;
use super::update::UpdateStrategy;
use crate::duration::Duration;

/// A vertex of a pipeline; exactly one of `source`, `sink` and `udf` is set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PipelineVertex {
    /// Its name, unique in the pipeline.
    pub name: String,
    // Boxed are those of which a vertex has one: a controller keeps every vertex of every pipeline.
    /// It reads from outside.
    pub source: Option<Box<Source>>,
    /// It writes to the outside.
    pub sink: Option<Box<Sink>>,
    /// It computes.
    pub udf: Option<Box<Udf>>,
    /// What to say about its pods.
    #[serde(flatten)]
    pub pod: PodTemplate,
    /// Settings of the main container.
    pub container_template: Option<ContainerTemplate>,
    /// Settings of the platform's init containers.
    pub init_container_template: Option<ContainerTemplate>,
    /// Settings of the side-inputs synchroniser.
    pub side_inputs_container_template: Option<ContainerTemplate>,
    /// Volumes of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// More init containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// More containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sidecars: Vec<Container>,
    /// Limits; what is not set is taken from the pipeline.
    pub limits: Option<VertexLimits>,
    /// Scaling.
    pub scale: Option<Scale>,
    /// Partitions of the buffer it reads from. Default 1.
    pub partitions: Option<i32>,
    /// Names of the side inputs it sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub side_inputs: Vec<String>,
    /// How a change reaches its workers.
    pub update_strategy: Option<UpdateStrategy>,
    /// Whether order is kept; wins over the pipeline's setting.
    pub ordered: Option<Ordered>,
    /// Tidegate extension: what becomes of messages that fail again and again.
    pub redelivery: Option<Redelivery>,
    /// Tidegate extension: what is expected of its user code.
    pub user_code: Option<UserCode>,
}

/// Tidegate extension: what is expected of the user code of a vertex.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct UserCode {
    /// After so long without an answer a message is reported, and again each time so much has passed. Default 30s.
    pub unresponsive_after: Option<Duration>,
    /// A message that made user code crash so often while it was alone there is given up. Without it there is no end.
    #[schemars(range(min = 1))]
    pub poison_attempts: Option<u32>,
}

/// Tidegate extension: what becomes of a message that user code refuses again and again.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Redelivery {
    /// Deliveries in all, the first included. Without it there is no end.
    #[schemars(range(min = 1))]
    pub max_deliveries: Option<u32>,
    /// What then happens. Default `drop`, which is counted and logged.
    pub on_exhausted: Option<OnExhausted>,
    /// How long a waiting message holds the watermark back, at most. Default 60s.
    pub hold_watermark: Option<Duration>,
}

/// What happens to a message whose deliveries are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnExhausted {
    /// It is dropped, counted and logged.
    #[default]
    Drop,
    /// It goes to the fallback sink of this (sink) vertex.
    Fallback,
}

/// When a message takes an edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ForwardConditions {
    /// By its tags.
    pub tags: TagConditions,
}

/// A test of a message's tags.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TagConditions {
    /// How the values are combined. Default `or`.
    pub operator: Option<LogicOperator>,
    /// The tags to look for.
    pub values: Vec<String>,
}

/// How tag values are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogicOperator {
    /// All are present.
    And,
    /// At least one is present.
    #[default]
    Or,
    /// None is present.
    Not,
}

/// The spec of a `Vertex` object, which is made from a pipeline and never by a user.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VertexSpec {
    /// What the pipeline says about it.
    #[serde(flatten)]
    pub vertex: PipelineVertex,
    /// The pipeline it belongs to.
    pub pipeline_name: String,
    /// The buffer service it uses.
    pub inter_step_buffer_service_name: Option<String>,
    /// How many workers. Default 1.
    pub replicas: Option<i32>,
    /// Edges that end here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_edges: Vec<CombinedEdge>,
    /// Edges that start here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_edges: Vec<CombinedEdge>,
    /// Watermark settings of the pipeline.
    pub watermark: Option<Watermark>,
    /// What it should be doing.
    pub lifecycle: Option<VertexLifecycle>,
    /// Buffer settings of the pipeline.
    pub inter_step_buffer: Option<InterStepBuffer>,
}

/// What a vertex should be doing.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct VertexLifecycle {
    /// `Running` (default) or `Paused`.
    pub desired_phase: Option<VertexPhase>,
}

/// What a `Vertex` object can be asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VertexPhase {
    /// Nothing said.
    #[serde(rename = "")]
    #[default]
    Unset,
    /// Work.
    Running,
    /// Stop.
    Paused,
    /// Given up.
    Failed,
}

/// An edge together with what its other end must know.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CombinedEdge {
    /// The edge.
    #[serde(flatten)]
    pub edge: Edge,
    /// `Source`, `MapUDF`, `ReduceUDF` or `Sink`.
    pub from_vertex_type: String,
    /// Partitions of the writing vertex.
    pub from_vertex_partition_count: Option<i32>,
    /// Limits of the writing vertex.
    pub from_vertex_limits: Option<VertexLimits>,
    /// `Source`, `MapUDF`, `ReduceUDF` or `Sink`.
    pub to_vertex_type: String,
    /// Partitions of the reading vertex.
    pub to_vertex_partition_count: Option<i32>,
    /// Limits of the reading vertex.
    pub to_vertex_limits: Option<VertexLimits>,
    /// Whether the reading vertex keeps order.
    pub to_vertex_ordered: Option<Ordered>,
}
