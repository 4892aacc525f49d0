//! Rules about containers: reserved names, images, mounts.

use std::collections::HashSet;

use super::Report;
use crate::names::RESERVED_CONTAINERS;
use crate::path::Path;
use crate::spec::stock::{Container as StockContainer, Volume};
use crate::spec::{Container, PipelineVertex, Sink, Source, Udf};

/// Volumes that the platform adds to pods.
const PLATFORM_VOLUMES: [&str; 4] = ["var-run-numaflow", "runtime-vol", "var-run-side-inputs", "pbq-vol"];

pub(super) fn names(containers: &[StockContainer], path: &Path, report: &mut Report<'_>) {
    for (index, container) in containers.iter().enumerate() {
        if RESERVED_CONTAINERS.contains(&container.name.as_str()) {
            let message = format!("the container name `{}` is the platform's own", container.name);
            report
                .error("container-reserved", &path.index(index).field("name"), message)
                .hint("choose another name");
        }
    }
}

/// Complains when a container has no image.
pub(super) fn image(rule: &'static str, container: &Container, path: &Path, report: &mut Report<'_>) {
    if container.image.as_deref().is_none_or(str::is_empty) {
        report.error(rule, &path.field("image"), "the container needs an `image`");
    }
}

/// Complains when nothing says what a container runs.
pub(super) fn program(rule: &'static str, container: &Container, path: &Path, report: &mut Report<'_>) {
    if container.image.as_deref().is_none_or(str::is_empty) && container.command.is_empty() {
        report.error(rule, &path.field("image"), "the container has neither an `image` nor a `command`");
    }
}

/// The user's containers in a source, a function and a sink, with their paths.
fn user_containers<'a>(
    source: Option<&'a Source>,
    udf: Option<&'a Udf>,
    sink: Option<&'a Sink>,
    path: &Path,
) -> Vec<(&'a Container, Path)> {
    let mut containers = Vec::new();
    if let Some(source) = source {
        let at = path.field("source");
        containers.extend(
            source.udsource.as_ref().map(|own| (&own.container, at.fields(&["udsource", "container"]))),
        );
        let transformer = source.transformer.as_ref().and_then(|own| own.container.as_ref());
        containers.extend(transformer.map(|container| (container, at.fields(&["transformer", "container"]))));
    }
    let function = udf.and_then(|udf| udf.container.as_ref());
    containers.extend(function.map(|container| (container, path.fields(&["udf", "container"]))));
    if let Some(sink) = sink {
        let at = path.field("sink");
        let sinks = [
            (Some(&sink.primary), at.clone()),
            (sink.fallback.as_ref(), at.field("fallback")),
            (sink.on_success.as_ref(), at.field("onSuccess")),
        ];
        for (written, at) in sinks {
            let own = written.and_then(|sink| sink.udsink.as_ref());
            containers.extend(own.map(|own| (&own.container, at.fields(&["udsink", "container"]))));
        }
    }
    containers
}

pub(super) fn mounts(vertex: &PipelineVertex, path: &Path, report: &mut Report<'_>) {
    let containers =
        user_containers(vertex.source.as_deref(), vertex.udf.as_deref(), vertex.sink.as_deref(), path);
    mounts_of(&containers, &vertex.volumes, report);
}

pub(super) fn mono_vertex_mounts(spec: &crate::spec::MonoVertexSpec, path: &Path, report: &mut Report<'_>) {
    let containers = user_containers(spec.source.as_deref(), spec.udf.as_deref(), spec.sink.as_deref(), path);
    mounts_of(&containers, &spec.volumes, report);
}

/// A mount without its volume keeps a pod from starting.
pub(super) fn mounts_of(containers: &[(&Container, Path)], volumes: &[Volume], report: &mut Report<'_>) {
    let known: HashSet<&str> =
        volumes.iter().map(|volume| volume.name.as_str()).chain(PLATFORM_VOLUMES).collect();
    for (container, path) in containers {
        for (index, mount) in container.volume_mounts.iter().enumerate() {
            if !known.contains(mount.name.as_str()) {
                let at = path.field("volumeMounts").index(index).field("name");
                let message = format!("there is no volume `{}`", mount.name);
                report.warning("volume-unknown", &at, message).hint("add it to `volumes`");
            }
        }
    }
}
