//! What a checked manifest comes to when every default is filled in: plain values, nothing optional that has a
//! default. The invariant: only checked objects are resolved, so every number here makes sense.

mod limits;
mod neighbours;
mod retry;
mod scale;
mod source;
mod template;
mod update;

use std::time::Duration;

pub use limits::{Limits, RateLimit, RateLimitMode};
pub use neighbours::{UnknownType, neighbours};
pub use retry::{OnFailure, Redelivery, Retry, UserCode};
pub use scale::Scale;
pub(crate) use source::is_base64;
pub use source::{Generator, HttpListener};
pub use template::merge_vertex_template;
pub use update::{Analysis, BlueGreen, CanaryStep, Share, Update, UpdateKind};
pub(crate) use update::{PROGRESS_DEADLINE_SECONDS, parse_ratio};

use crate::check::Checked;
use crate::spec::{
    Edge, LogicOperator, OnFull, OnPauseTimeout, Phase, PipelineSpec, PipelineVertex, ResumeStrategy,
};
use crate::spec::{Lifecycle as LifecycleSpec, Resume, TagConditions};
use crate::{MonoVertex, Pipeline, names};

/// What a vertex does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VertexKind {
    /// Reads from outside.
    Source,
    /// Computes message by message.
    Map,
    /// Computes over groups of messages.
    Reduce,
    /// Writes to the outside.
    Sink,
}

impl VertexKind {
    /// The word the reference has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Map => "MapUDF",
            Self::Reduce => "ReduceUDF",
            Self::Sink => "Sink",
        }
    }
}

impl PipelineVertex {
    /// What the vertex does; nothing when it says nothing or several things, which `check` refuses.
    pub fn kind(&self) -> Option<VertexKind> {
        match (&self.source, &self.sink, &self.udf) {
            (Some(_), None, None) => Some(VertexKind::Source),
            (None, Some(_), None) => Some(VertexKind::Sink),
            (None, None, Some(udf)) if udf.group_by.is_some() => Some(VertexKind::Reduce),
            (None, None, Some(_)) => Some(VertexKind::Map),
            _ => None,
        }
    }

    /// Partitions that count: at least one, and one only where more make no sense.
    pub fn partitions_effective(&self) -> u32 {
        let keyed = self.udf.as_ref().and_then(|udf| udf.group_by.as_ref()?.keyed).unwrap_or(false);
        let wanted = self.partitions.and_then(|count| u32::try_from(count).ok()).unwrap_or(1).max(1);
        match self.kind() {
            Some(VertexKind::Source) => 1,
            Some(VertexKind::Reduce) if !keyed => 1,
            _ => wanted,
        }
    }

    /// Whether order is kept, its own word before the pipeline's. Only map and sink vertices can.
    pub fn ordered_effective(&self, pipeline: &PipelineSpec) -> bool {
        let can = matches!(self.kind(), Some(VertexKind::Map | VertexKind::Sink));
        let own = self.ordered.as_ref().and_then(|ordered| ordered.enabled);
        let inherited = pipeline.ordered.as_ref().and_then(|ordered| ordered.enabled);
        // An `ordered` block without `enabled` says false, as the reference reads it.
        can && if self.ordered.is_some() { own.unwrap_or(false) } else { inherited.unwrap_or(false) }
    }
}

/// A pipeline with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineSettings {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The buffer service.
    pub inter_step_buffer_service: String,
    /// How buffers are compressed.
    pub compression: Compression,
    /// Whether it should run, and how it stops.
    pub lifecycle: Lifecycle,
    /// Event time settings.
    pub watermark: Watermark,
    /// Vertices in the order of the manifest.
    pub vertices: Vec<VertexSettings>,
    /// Edges in the order of the manifest.
    pub edges: Vec<EdgeSettings>,
}

/// A vertex with every default filled in; for a mono vertex, all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct VertexSettings {
    /// Its short name.
    pub name: String,
    /// What it does; a mono vertex is a `Source`.
    pub kind: VertexKind,
    /// Limits.
    pub limits: Limits,
    /// Partitions of the buffer it reads from.
    pub partitions: u32,
    /// Whether order is kept.
    pub ordered: bool,
    /// Scaling; ordered and reduce vertices are fixed at one replica per partition.
    pub scale: Scale,
    /// Replicas to begin with, before anything is known about load; 0 while paused.
    pub replicas: u32,
    /// Whether batches are read while others are in flight.
    pub read_ahead: bool,
    /// What happens when user code or the sink fails.
    pub retry: Retry,
    /// What happens to messages that fail again and again.
    pub redelivery: Redelivery,
    /// What is expected of its user code.
    pub user_code: UserCode,
    /// How a change reaches its workers.
    pub update: Update,
    /// Names of the side inputs it sees.
    pub side_inputs: Vec<String>,
}

impl VertexSettings {
    /// Messages in flight in one worker, at most, as the reference counts them.
    pub fn in_flight_max(&self) -> u64 {
        let Limits { concurrency, read_batch_size, .. } = self.limits;
        if self.read_ahead {
            concurrency.saturating_add(read_batch_size)
        } else {
            concurrency.min(read_batch_size)
        }
    }
}

/// An edge with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// The writing vertex.
    pub from: String,
    /// The reading vertex.
    pub to: String,
    /// Which messages take it; nothing means all.
    pub tags: Option<TagTest>,
    /// What a writer does when the buffer is full.
    pub on_full: OnFull,
}

/// A test of a message's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTest {
    /// How values are combined.
    pub operator: LogicOperator,
    /// The tags to look for.
    pub values: Vec<String>,
}

impl From<&TagConditions> for TagTest {
    fn from(conditions: &TagConditions) -> Self {
        Self { operator: conditions.operator.unwrap_or_default(), values: conditions.values.clone() }
    }
}

/// How buffers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With gzip.
    Gzip,
    /// With Zstandard.
    Zstd,
    /// With LZ4.
    Lz4,
}

impl Compression {
    /// The words that name one, in any letter case.
    pub const NAMES: [&'static str; 4] = ["none", "gzip", "zstd", "lz4"];

    /// Reads one of [`Self::NAMES`]; the empty text is none.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "lz4" => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// Whether an object should run, and how it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// True when it should be paused.
    pub paused: bool,
    /// How long a pause may take to drain.
    pub pause_grace: Duration,
    /// How long a deletion may take to drain.
    pub deletion_grace: Duration,
    /// What happens when the pause's grace period ends before everything is drained.
    pub on_pause_timeout: OnPauseTimeout,
    /// At which replica counts work starts again.
    pub resume: ResumeStrategy,
    /// With a slow resume: replicas added per minute and vertex.
    pub resume_replicas_per_minute: u32,
}

/// Event time settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// False when there are no watermarks at all.
    pub enabled: bool,
    /// How late messages may be.
    pub max_delay: Duration,
    /// What happens while a source is silent; nothing when time then stands still.
    pub idle: Option<IdleSource>,
}

/// What happens to event time while a source is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleSource {
    /// How long a source is silent before it counts as idle.
    pub threshold: Duration,
    /// How far the watermark then moves per step.
    pub increment_by: Duration,
    /// The time between steps.
    pub step_interval: Duration,
    /// How long a source may take to its first message.
    pub init_source_delay: Option<Duration>,
}

const GRACE_SECONDS: i64 = 30;
const RESUME_REPLICAS_PER_MINUTE: u32 = 1;
const READ_AHEAD_VARIABLE: &str = "NUMAFLOW_READ_AHEAD";

/// Fills in a pipeline's defaults.
pub fn pipeline(pipeline: &Checked<Pipeline>) -> PipelineSettings {
    let spec = &pipeline.spec;
    let annotation = pipeline.annotation(names::RESUME_STRATEGY_ANNOTATION);
    let metadata_grace = pipeline.metadata.deletion_grace_period_seconds;
    let lifecycle = lifecycle(spec.lifecycle.as_ref(), annotation, metadata_grace);
    let compression =
        spec.inter_step_buffer.as_ref().and_then(|buffer| buffer.compression.as_ref()?.kind.as_deref());
    PipelineSettings {
        name: pipeline.name().to_owned(),
        namespace: pipeline.namespace().to_owned(),
        inter_step_buffer_service: match spec.inter_step_buffer_service_name.as_deref() {
            None | Some("") => "default".to_owned(),
            Some(name) => name.to_owned(),
        },
        compression: compression.and_then(Compression::parse).unwrap_or_default(),
        watermark: watermark(spec.watermark.as_ref()),
        vertices: spec.vertices.iter().map(|vertex| self::vertex(spec, vertex, lifecycle.paused)).collect(),
        edges: spec.edges.iter().map(edge).collect(),
        lifecycle,
    }
}

/// The vertex as it is written, with what it leaves open taken from the pipeline's template.
pub(crate) fn with_template(pipeline: &PipelineSpec, written: &PipelineVertex) -> PipelineVertex {
    match pipeline.templates.as_ref().and_then(|templates| templates.vertex.as_ref()) {
        Some(template) => merge_vertex_template(written, template),
        None => written.clone(),
    }
}

/// Fills in a vertex's defaults.
pub(crate) fn vertex(pipeline: &PipelineSpec, written: &PipelineVertex, paused: bool) -> VertexSettings {
    let vertex = &with_template(pipeline, written);
    let kind = vertex.kind().expect("a checked vertex does exactly one thing");
    let partitions = vertex.partitions_effective();
    let ordered = vertex.ordered_effective(pipeline);
    let mut limits = Limits::of_vertex(pipeline.limits.as_ref(), vertex.limits.as_ref());
    let mut scale = Scale::from_spec(vertex.scale.as_ref());
    if ordered {
        limits.concurrency = 1;
    }
    if ordered || kind == VertexKind::Reduce {
        scale.fix_at(partitions);
    }
    let strategy = match (&vertex.source, &vertex.sink, &vertex.udf) {
        (Some(source), _, _) => {
            source.transformer.as_ref().and_then(|user_code| user_code.retry_strategy.as_ref())
        }
        (_, Some(sink), _) => sink.retry_strategy.as_ref(),
        (_, _, Some(udf)) => udf.retry_strategy.as_ref(),
        (None, None, None) => None,
    };
    VertexSettings {
        name: vertex.name.clone(),
        kind,
        limits,
        partitions,
        ordered,
        replicas: if paused { 0 } else { scale.replicas_at_start(1) },
        scale,
        read_ahead: read_ahead(vertex).unwrap_or(kind != VertexKind::Source),
        retry: Retry::from_spec(strategy),
        redelivery: Redelivery::from_spec(vertex.redelivery.as_ref()),
        user_code: UserCode::from_spec(vertex.user_code.as_ref()),
        update: Update::from_spec(vertex.update_strategy.as_ref().or(pipeline.update_strategy.as_ref())),
        side_inputs: vertex.side_inputs.clone(),
    }
}

/// Fills in a mono vertex's defaults, and those of its lifecycle.
pub fn mono_vertex(mono_vertex: &Checked<MonoVertex>) -> (VertexSettings, Lifecycle) {
    let spec = &mono_vertex.spec;
    let written = spec.lifecycle.as_ref().map(|lifecycle| LifecycleSpec {
        desired_phase: lifecycle.desired_phase,
        pause_grace_period_seconds: lifecycle.pause_grace_period_seconds,
        on_pause_timeout: lifecycle.on_pause_timeout,
        resume: lifecycle.resume.clone(),
        ..LifecycleSpec::default()
    });
    let annotation = mono_vertex.annotation(names::RESUME_STRATEGY_ANNOTATION);
    let lifecycle =
        lifecycle(written.as_ref(), annotation, mono_vertex.metadata.deletion_grace_period_seconds);
    let scale = Scale::from_spec(spec.scale.as_ref());
    let wanted = spec.replicas.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    let read_ahead = spec.container_template.as_ref().and_then(|template| switch(&template.env));
    let settings = VertexSettings {
        name: mono_vertex.name().to_owned(),
        kind: VertexKind::Source,
        limits: Limits::of_mono_vertex(spec.limits.as_ref()),
        partitions: 1,
        ordered: false,
        replicas: if lifecycle.paused { 0 } else { scale.replicas_at_start(wanted) },
        scale,
        read_ahead: read_ahead.unwrap_or(false),
        retry: Retry::from_spec(spec.sink.as_ref().and_then(|sink| sink.retry_strategy.as_ref())),
        redelivery: Redelivery::from_spec(spec.redelivery.as_ref()),
        user_code: UserCode::from_spec(spec.user_code.as_ref()),
        update: Update::from_spec(spec.update_strategy.as_ref()),
        side_inputs: Vec::new(),
    };
    (settings, lifecycle)
}

fn edge(edge: &Edge) -> EdgeSettings {
    EdgeSettings {
        from: edge.from.clone(),
        to: edge.to.clone(),
        tags: edge.conditions.as_ref().map(|conditions| TagTest::from(&conditions.tags)),
        on_full: edge.on_full.unwrap_or_default(),
    }
}

fn read_ahead(vertex: &PipelineVertex) -> Option<bool> {
    vertex.container_template.as_ref().and_then(|template| switch(&template.env))
}

/// The value of the read-ahead variable; the last one counts.
fn switch(env: &[crate::spec::stock::EnvVar]) -> Option<bool> {
    let variable = env.iter().rev().find(|variable| variable.name == READ_AHEAD_VARIABLE)?;
    variable.value.as_deref()?.to_ascii_lowercase().parse().ok()
}

fn lifecycle(
    spec: Option<&LifecycleSpec>,
    annotation: Option<&str>,
    metadata_grace: Option<i64>,
) -> Lifecycle {
    let none = LifecycleSpec::default();
    let spec = spec.unwrap_or(&none);
    let Resume { strategy, per_minute } = spec.resume.clone().unwrap_or_default();
    let deletion = spec.deletion_grace_period_seconds.or(spec.delete_grace_period_seconds).or(metadata_grace);
    let annotated = match annotation {
        Some("slow") => Some(ResumeStrategy::Slow),
        Some("fast") => Some(ResumeStrategy::Fast),
        _ => None,
    };
    Lifecycle {
        paused: spec.desired_phase == Some(Phase::Paused),
        pause_grace: seconds(spec.pause_grace_period_seconds.unwrap_or(GRACE_SECONDS)),
        deletion_grace: seconds(deletion.unwrap_or(GRACE_SECONDS)),
        on_pause_timeout: spec.on_pause_timeout.unwrap_or_default(),
        resume: strategy.or(annotated).unwrap_or_default(),
        resume_replicas_per_minute: per_minute.unwrap_or(RESUME_REPLICAS_PER_MINUTE),
    }
}

fn watermark(spec: Option<&crate::spec::Watermark>) -> Watermark {
    let none = crate::spec::Watermark::default();
    let spec = spec.unwrap_or(&none);
    Watermark {
        enabled: !spec.disabled.unwrap_or(false),
        max_delay: spec.max_delay.unwrap_or_default().to_std(),
        idle: spec.idle_source.as_ref().map(|idle| IdleSource {
            threshold: idle.threshold.unwrap_or_default().to_std(),
            increment_by: idle.increment_by.unwrap_or_default().to_std(),
            step_interval: idle.step_interval.unwrap_or_default().to_std(),
            init_source_delay: idle.init_source_delay.map(crate::Duration::to_std),
        }),
    }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}
