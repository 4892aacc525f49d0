//! Rules of a pipeline as a whole; those of its vertices and its shape are in files of their own.

use super::vertex::VertexContext;
use super::{Report, Rules, graph, limits, object_name, side_inputs, update, vertex};
use crate::names;
use crate::path::Path;
use crate::resolve::{Compression, VertexKind};
use crate::schema::hints::{did_you_mean, list};
use crate::spec::{IdleSource, Lifecycle, Phase, PipelineSpec, Resource};

impl Rules for PipelineSpec {
    fn complain(object: &Resource<Self>, report: &mut Report<'_>) {
        object_name(object, report);
        let has_front = object.label(names::SERVING_PIPELINE_LABEL).is_some();
        let context = PipelineContext { name: object.name(), spec: &object.spec, has_front };
        complain(&context, &Path::root().field("spec"), report);
    }
}

/// A pipeline, alone or inside a serving pipeline.
pub(super) struct PipelineContext<'a> {
    pub(super) name: &'a str,
    pub(super) spec: &'a PipelineSpec,
    /// It belongs to a serving pipeline.
    pub(super) has_front: bool,
}

pub(super) fn complain(context: &PipelineContext<'_>, path: &Path, report: &mut Report<'_>) {
    let PipelineContext { name, spec, has_front } = *context;
    population(spec, path, report);
    serving(context, path, report);
    graph::complain(spec, path, report);
    for (index, vertex) in spec.vertices.iter().enumerate() {
        let at = path.field("vertices").index(index);
        vertex::complain(vertex, &VertexContext { path: &at, pipeline: Some(spec), has_front }, report);
        if !vertex.name.is_empty() && !name.is_empty() {
            report.derived_label(&at.field("name"), &names::vertex_headless(name, &vertex.name));
        }
        ordered_scale(vertex, spec, &at, report);
    }
    side_inputs::complain(spec, path, report);
    if let Some(limits) = &spec.limits {
        limits::complain(limits, &path.field("limits"), report);
    }
    if let Some(idle) = spec.watermark.as_ref().and_then(|watermark| watermark.idle_source.as_ref()) {
        idle_source(idle, &path.fields(&["watermark", "idleSource"]), report);
    }
    if let Some(strategy) = &spec.update_strategy {
        update::complain(strategy, &path.field("updateStrategy"), report);
    }
    if let Some(settings) = &spec.lifecycle {
        lifecycle(settings, &path.field("lifecycle"), report);
    }
    compression(spec, path, report);
}

fn population(spec: &PipelineSpec, path: &Path, report: &mut Report<'_>) {
    let vertices = path.field("vertices");
    if spec.vertices.is_empty() {
        report.error("vertices-empty", &vertices, "a pipeline needs at least one vertex");
        return;
    }
    if spec.edges.is_empty() {
        report
            .error("edges-empty", &path.field("edges"), "a pipeline needs at least one edge")
            .hint("to go from a source straight to a sink in one worker, write a MonoVertex");
    }
    let has = |kind| spec.vertices.iter().any(|vertex| vertex.kind() == Some(kind));
    if !has(VertexKind::Source) {
        report.error("no-source", &vertices, "a pipeline needs at least one vertex with a `source`");
    }
    if !has(VertexKind::Sink) {
        report.error("no-sink", &vertices, "a pipeline needs at least one vertex with a `sink`");
    }
}

fn serving(context: &PipelineContext<'_>, path: &Path, report: &mut Report<'_>) {
    let is_serving = |vertex: &crate::spec::PipelineVertex| {
        vertex.source.as_ref().is_some_and(|source| source.serving.is_some())
    };
    if !context.spec.vertices.iter().any(is_serving) {
        return;
    }
    for (index, vertex) in context.spec.vertices.iter().enumerate() {
        let at = path.field("vertices").index(index);
        if vertex.kind() == Some(VertexKind::Reduce) {
            let message = "a pipeline with a `serving` source cannot have a reduce vertex";
            report.error("serving-with-reduce", &at.fields(&["udf", "groupBy"]), message);
        }
        if is_serving(vertex) && !context.has_front {
            let message = "a `serving` source only works inside a ServingPipeline";
            report
                .error("serving-outside", &at.fields(&["source", "serving"]), message)
                .hint("put the pipeline under `spec.pipeline` of a ServingPipeline");
        }
    }
}

fn ordered_scale(
    vertex: &crate::spec::PipelineVertex,
    spec: &PipelineSpec,
    path: &Path,
    report: &mut Report<'_>,
) {
    let Some(scale) = vertex.scale.as_ref().filter(|_| vertex.ordered_effective(spec)) else { return };
    for (field, value) in [("min", scale.min), ("max", scale.max)] {
        if value.is_some() {
            let message =
                format!("an ordered vertex has one replica per partition, so `scale.{field}` cannot be set");
            report
                .error("ordered-scale", &path.fields(&["scale", field]), message)
                .hint("set `partitions` for more replicas");
        }
    }
}

fn idle_source(idle: &IdleSource, path: &Path, report: &mut Report<'_>) {
    let mut positive = |field: &str, value: Option<crate::Duration>, rule| {
        let value = value.filter(|value| *value > crate::Duration::ZERO);
        if value.is_none() {
            report.error(rule, &path.field(field), format!("`{field}` must be there and longer than 0s"));
        }
        value
    };
    let threshold = positive("threshold", idle.threshold, "idle-threshold");
    let increment = positive("incrementBy", idle.increment_by, "idle-increment");
    let delay = if idle.init_source_delay.is_some() {
        positive("initSourceDelay", idle.init_source_delay, "idle-init-delay")
    } else {
        None
    };
    let Some(threshold) = threshold else { return };
    if let Some(increment) = increment.filter(|increment| *increment > threshold) {
        let message =
            format!("`incrementBy` ({increment}) must not be longer than `threshold` ({threshold})");
        report.error("idle-increment", &path.field("incrementBy"), message);
    }
    if let Some(delay) = delay.filter(|delay| *delay < threshold) {
        let message =
            format!("`initSourceDelay` ({delay}) must not be shorter than `threshold` ({threshold})");
        report.error("idle-init-delay", &path.field("initSourceDelay"), message);
    }
}

fn lifecycle(lifecycle: &Lifecycle, path: &Path, report: &mut Report<'_>) {
    desired_phase(lifecycle.desired_phase, path, report);
    let graces = [
        ("pauseGracePeriodSeconds", lifecycle.pause_grace_period_seconds),
        ("deletionGracePeriodSeconds", lifecycle.deletion_grace_period_seconds),
        ("deleteGracePeriodSeconds", lifecycle.delete_grace_period_seconds),
    ];
    for (field, seconds) in graces {
        grace(field, seconds, path, report);
    }
    if lifecycle.delete_grace_period_seconds.is_some() {
        report
            .warning(
                "deprecated",
                &path.field("deleteGracePeriodSeconds"),
                "`deleteGracePeriodSeconds` is deprecated",
            )
            .hint("write `deletionGracePeriodSeconds`");
    }
}

pub(super) fn grace(field: &str, seconds: Option<i64>, path: &Path, report: &mut Report<'_>) {
    if seconds.is_some_and(|seconds| seconds < 0) {
        report.error("grace-negative", &path.field(field), format!("`{field}` must not be negative"));
    }
}

pub(super) fn desired_phase(phase: Option<Phase>, path: &Path, report: &mut Report<'_>) {
    let word = match phase {
        None | Some(Phase::Unset | Phase::Running | Phase::Paused) => return,
        Some(Phase::Failed) => "Failed",
        Some(Phase::Pausing) => "Pausing",
        Some(Phase::Deleting) => "Deleting",
    };
    report
        .warning(
            "desired-phase",
            &path.field("desiredPhase"),
            format!("`{word}` cannot be asked for and counts as `Running`"),
        )
        .hint("write `Running` or `Paused`");
}

fn compression(spec: &PipelineSpec, path: &Path, report: &mut Report<'_>) {
    let Some(kind) =
        spec.inter_step_buffer.as_ref().and_then(|buffer| buffer.compression.as_ref()?.kind.as_deref())
    else {
        return;
    };
    if Compression::parse(kind).is_none() {
        let path = path.fields(&["interStepBuffer", "compression", "type"]);
        let message = format!("`{kind}` is not one of {}", list(&Compression::NAMES));
        let hint = did_you_mean(kind, Compression::NAMES.into_iter());
        report.error("compression", &path, message).hint(hint.unwrap_or_default());
    }
}
