//! Rules of a mono vertex.

use super::pipeline::{desired_phase, grace};
use super::{Report, Rules, containers, limits, object_name, scale, sink, source, udf, update, vertex};
use crate::names;
use crate::path::Path;
use crate::spec::{Bypass, MonoVertexSpec, Resource, Sink};

impl Rules for MonoVertexSpec {
    fn complain(object: &Resource<Self>, report: &mut Report<'_>) {
        let name_at = object_name(object, report);
        report.derived_label(&name_at, &names::mono_vertex_headless(object.name()));
        report.derived_label(&name_at, &names::mono_vertex_daemon_service(object.name()));
        let path = Path::root().field("spec");
        ends(&object.spec, &path, report);
        function(&object.spec, &path, report);
        settings(&object.spec, &path, report);
    }
}

fn ends(spec: &MonoVertexSpec, path: &Path, report: &mut Report<'_>) {
    let at = path.field("source");
    match &spec.source {
        None => {
            report.error("source-required", &at, "a mono vertex needs a `source`");
        }
        Some(written) => {
            source::complain(written, &at, report);
            if written.serving.is_some() {
                let message = "a mono vertex cannot have a `serving` source";
                report
                    .error("serving-in-mono-vertex", &at.field("serving"), message)
                    .hint("write a ServingPipeline");
            }
            if spec.streaming == Some(true) {
                streaming(spec, report, path);
            }
        }
    }
    let at = path.field("sink");
    match &spec.sink {
        None => {
            report.error("sink-required", &at, "a mono vertex needs a `sink`");
        }
        Some(written) => {
            sink::complain(written, &at, report);
            if written.primary.serve.is_some() {
                let message = "a `serve` sink only works inside a ServingPipeline";
                report.error("serve-outside", &at.field("serve"), message);
            }
        }
    }
    bypass(spec.bypass.as_ref(), spec.sink.as_deref(), &path.field("bypass"), report);
}

fn streaming(spec: &MonoVertexSpec, report: &mut Report<'_>, path: &Path) {
    let Some(source) = &spec.source else { return };
    let at = path.field("streaming");
    if source.kafka.is_some() {
        let message = "a built-in `kafka` source answers in order, so it cannot stream";
        report.error("streaming-kafka", &at, message).hint("leave out `streaming`, or write a `udsource`");
    }
    let in_flight =
        spec.limits.as_ref().and_then(|limits| limits.concurrency.or(limits.read_batch_size)).unwrap_or(500);
    let unanswered = source.pulsar.as_ref().map(|pulsar| u64::from(pulsar.max_unack.unwrap_or(1000)));
    if let Some(most) = unanswered.filter(|most| in_flight > *most) {
        let message =
            format!("{in_flight} messages may be in flight, and Pulsar gives out only {most} (`maxUnack`)");
        report
            .warning("streaming-pulsar", &at, message)
            .hint("set `limits.concurrency` to at most `maxUnack`");
    }
}

fn bypass(bypass: Option<&Bypass>, sink: Option<&Sink>, path: &Path, report: &mut Report<'_>) {
    let Some(bypass) = bypass else { return };
    let targets = [
        ("sink", &bypass.sink, true),
        ("fallback", &bypass.fallback, sink.is_none_or(|sink| sink.fallback.is_some())),
        ("onSuccess", &bypass.on_success, sink.is_none_or(|sink| sink.on_success.is_some())),
    ];
    for (field, rule, has_target) in targets {
        let Some(rule) = rule else { continue };
        let at = path.field(field);
        if !has_target {
            let message = format!("messages are sent to `sink.{field}`, which does not exist");
            report
                .error("bypass-target", &at, message)
                .hint(format!("add `sink.{field}`, or remove the rule"));
        }
        if rule.tags.values.is_empty() {
            report.error(
                "bypass-tags-empty",
                &at.fields(&["tags", "values"]),
                "a rule needs at least one tag",
            );
        }
    }
}

fn function(spec: &MonoVertexSpec, path: &Path, report: &mut Report<'_>) {
    let Some(written) = &spec.udf else { return };
    let at = path.field("udf");
    if written.group_by.is_some() {
        let message = "a mono vertex cannot reduce";
        report.error("mono-vertex-reduce", &at.field("groupBy"), message).hint("write a Pipeline");
    }
    udf::map(written, &at, report);
}

fn settings(spec: &MonoVertexSpec, path: &Path, report: &mut Report<'_>) {
    containers::names(&spec.init_containers, &path.field("initContainers"), report);
    containers::names(&spec.sidecars, &path.field("sidecars"), report);
    containers::mono_vertex_mounts(spec, path, report);
    if spec.replicas.is_some_and(|count| count < 0) {
        report.error("replicas-negative", &path.field("replicas"), "`replicas` must not be negative");
    }
    if let Some(written) = &spec.scale {
        scale::complain(written, &path.field("scale"), report);
    }
    if let Some(written) = &spec.limits {
        limits::mono_vertex(written, &path.field("limits"), report);
    }
    if let Some(strategy) = &spec.update_strategy {
        update::complain(strategy, &path.field("updateStrategy"), report);
    }
    if let Some(lifecycle) = &spec.lifecycle {
        let at = path.field("lifecycle");
        desired_phase(lifecycle.desired_phase, &at, report);
        grace("pauseGracePeriodSeconds", lifecycle.pause_grace_period_seconds, &at, report);
    }
    vertex::user_code(spec.user_code.as_ref(), path, report);
    if let Some(written) = &spec.redelivery {
        let has_fallback = spec.sink.as_ref().is_some_and(|sink| sink.fallback.is_some());
        vertex::redelivery_target(written.on_exhausted, has_fallback, &path.field("redelivery"), report);
    }
}
