//! Rules of one vertex. What is inside its source, sink or function is in files of their own.

use super::{Report, Rules, containers, limits, object_name, scale, sink, source, udf, update};
use crate::path::Path;
use crate::resolve::VertexKind;
use crate::spec::{OnExhausted, PipelineSpec, PipelineVertex, Resource, Sink, UserCode, VertexSpec};

impl Rules for VertexSpec {
    fn complain(object: &Resource<Self>, report: &mut Report<'_>) {
        object_name(object, report);
        report
            .warning(
                "vertex-by-hand",
                &Path::root().field("kind"),
                "Vertex objects are made from a Pipeline, not by hand",
            )
            .hint("put the vertex into a Pipeline");
        let path = Path::root().field("spec");
        complain(
            &object.spec.vertex,
            &VertexContext { path: &path, pipeline: None, has_front: false },
            report,
        );
    }
}

/// What a vertex stands in.
pub(super) struct VertexContext<'a> {
    pub(super) path: &'a Path,
    pub(super) pipeline: Option<&'a PipelineSpec>,
    /// It belongs to a serving pipeline.
    pub(super) has_front: bool,
}

pub(super) fn complain(vertex: &PipelineVertex, context: &VertexContext<'_>, report: &mut Report<'_>) {
    let path = context.path;
    report.label("vertex-name", &path.field("name"), &vertex.name);
    kind(vertex, path, report);
    partitions(vertex, path, report);
    scaling(vertex, path, report);
    if let Some(written) = &vertex.source {
        source::complain(written, &path.field("source"), report);
    }
    if let Some(written) = &vertex.sink {
        let at = path.field("sink");
        sink::complain(written, &at, report);
        serve(written, context, &at, report);
    }
    if let Some(written) = &vertex.udf {
        udf::complain(written, &path.field("udf"), report);
    }
    if let Some(written) = &vertex.limits {
        limits::complain(written, &path.field("limits"), report);
    }
    if let Some(strategy) = &vertex.update_strategy {
        update::complain(strategy, &path.field("updateStrategy"), report);
    }
    redelivery(vertex, path, report);
    user_code(vertex.user_code.as_ref(), path, report);
    containers::names(&vertex.init_containers, &path.field("initContainers"), report);
    containers::names(&vertex.sidecars, &path.field("sidecars"), report);
    containers::mounts(vertex, path, report);
    if vertex.source.is_some() && !vertex.sidecars.is_empty() {
        let message = "a source vertex cannot have sidecars";
        report.error("sidecar-on-source", &path.field("sidecars"), message);
    }
}

fn kind(vertex: &PipelineVertex, path: &Path, report: &mut Report<'_>) {
    let members =
        [("source", vertex.source.is_some()), ("sink", vertex.sink.is_some()), ("udf", vertex.udf.is_some())];
    let present: Vec<&str> =
        members.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
    if present.len() == 1 {
        return;
    }
    let name = &vertex.name;
    let message = if present.is_empty() {
        format!("the vertex `{name}` has none of `source`, `sink` and `udf`")
    } else {
        format!("the vertex `{name}` has {}, and only one of them is possible", present.join(" and "))
    };
    report
        .error("vertex-kind", path, message)
        .hint("give each vertex exactly one of `source`, `sink` and `udf`");
}

fn partitions(vertex: &PipelineVertex, path: &Path, report: &mut Report<'_>) {
    let at = path.field("partitions");
    let Some(count) = vertex.partitions else { return };
    if count < 0 {
        report.error("partitions-negative", &at, format!("{count} partitions are not possible"));
        return;
    }
    let keyed = vertex.udf.as_ref().and_then(|udf| udf.group_by.as_ref()?.keyed).unwrap_or(false);
    match vertex.kind() {
        Some(VertexKind::Source) if count > 1 => {
            let message = "a source has no buffer of its own, so it cannot have several partitions";
            report
                .error("partitions-on-source", &at, message)
                .hint("set `partitions` on the vertex it writes to");
        }
        Some(VertexKind::Reduce) if count > 1 && !keyed => {
            let message = "a reduce vertex without keys cannot have several partitions";
            report
                .error("partitions-without-keys", &at, message)
                .hint("set `udf.groupBy.keyed: true`, or leave it at 1");
        }
        _ => {}
    }
}

fn scaling(vertex: &PipelineVertex, path: &Path, report: &mut Report<'_>) {
    let Some(written) = &vertex.scale else { return };
    let at = path.field("scale");
    scale::complain(written, &at, report);
    if written.cron.is_some() && vertex.kind().is_some_and(|kind| kind != VertexKind::Source) {
        let message = "only source vertices and mono vertices can scale by the clock";
        report
            .error("scale-cron-not-source", &at.field("cron"), message)
            .hint("set it on the source; the rest of the pipeline follows the load");
    }
}

/// `serve` answers somebody, so there has to be a front.
fn serve(sink: &Sink, context: &VertexContext<'_>, path: &Path, report: &mut Report<'_>) {
    if context.has_front || context.pipeline.is_none() {
        return;
    }
    let sinks = [
        (Some(&sink.primary), path.clone()),
        (sink.fallback.as_ref(), path.field("fallback")),
        (sink.on_success.as_ref(), path.field("onSuccess")),
    ];
    for (written, at) in sinks {
        if written.is_some_and(|sink| sink.serve.is_some()) {
            report
                .error(
                    "serve-outside",
                    &at.field("serve"),
                    "a `serve` sink only works inside a ServingPipeline",
                )
                .hint("put the pipeline under `spec.pipeline` of a ServingPipeline");
        }
    }
}

fn redelivery(vertex: &PipelineVertex, path: &Path, report: &mut Report<'_>) {
    let Some(written) = &vertex.redelivery else { return };
    let has_fallback = vertex.sink.as_ref().is_some_and(|sink| sink.fallback.is_some());
    redelivery_target(written.on_exhausted, has_fallback, &path.field("redelivery"), report);
}

pub(super) fn redelivery_target(
    on_exhausted: Option<OnExhausted>,
    has_fallback: bool,
    path: &Path,
    report: &mut Report<'_>,
) {
    if on_exhausted == Some(OnExhausted::Fallback) && !has_fallback {
        report
            .error(
                "redelivery-fallback",
                &path.field("onExhausted"),
                "there is no fallback sink to send messages to",
            )
            .hint("add `sink.fallback`, or write `drop`");
    }
}

/// What may be expected of user code, in the object at `path`.
pub(super) fn user_code(written: Option<&UserCode>, path: &Path, report: &mut Report<'_>) {
    let after = written.and_then(|written| written.unresponsive_after);
    if after.is_some_and(|after| after <= crate::Duration::ZERO) {
        let at = path.fields(&["userCode", "unresponsiveAfter"]);
        report
            .error("user-code-time", &at, "user code needs some time for an answer")
            .hint("write for example 30s");
    }
}
