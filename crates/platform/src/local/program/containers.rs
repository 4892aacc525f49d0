//! The user containers of a manifest, in the order of their vertices.
//!
//! Invariant: names are those that the containers have in a cluster, so a flag means the same in both places.

use std::fmt;

use api::spec::stock::Volume;
use api::spec::{AbstractSink, Container, MonoVertexSpec, PipelineSpec, PipelineVertex, Sink, Source, Udf};

/// A container with user code.
#[derive(Clone, Debug, PartialEq)]
pub struct UserContainer {
    /// The vertex; for a mono vertex its own name.
    pub vertex: String,
    /// `udsource`, `transformer`, `udf`, `udsink`, `fb-udsink` or `ons-udsink`.
    pub name: String,
    /// What the manifest says about it.
    pub spec: Container,
    /// The volumes of the vertex.
    pub volumes: Vec<Volume>,
}

impl fmt::Display for UserContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.name)
    }
}

/// The user containers of a pipeline.
pub fn of_pipeline(spec: &PipelineSpec) -> Vec<UserContainer> {
    spec.vertices.iter().flat_map(of_vertex).collect()
}

/// The user containers of one vertex of a pipeline.
pub fn of_vertex(vertex: &PipelineVertex) -> Vec<UserContainer> {
    let parts = (vertex.source.as_deref(), vertex.udf.as_deref(), vertex.sink.as_deref());
    collect(&vertex.name, parts, &vertex.volumes)
}

/// The user containers of a mono vertex of that name.
pub fn of_mono_vertex(name: &str, spec: &MonoVertexSpec) -> Vec<UserContainer> {
    collect(name, (spec.source.as_deref(), spec.udf.as_deref(), spec.sink.as_deref()), &spec.volumes)
}

fn collect(
    vertex: &str,
    (source, udf, sink): (Option<&Source>, Option<&Udf>, Option<&Sink>),
    volumes: &[Volume],
) -> Vec<UserContainer> {
    let in_sink = |sink: Option<&AbstractSink>| sink?.udsink.as_ref().map(|user| user.container.clone());
    let found = [
        ("udsource", source.and_then(|source| Some(source.udsource.as_ref()?.container.clone()))),
        ("transformer", source.and_then(|source| source.transformer.as_ref()?.container.clone())),
        ("udf", udf.and_then(|udf| udf.container.clone())),
        ("udsink", in_sink(sink.map(|sink| &sink.primary))),
        ("fb-udsink", in_sink(sink.and_then(|sink| sink.fallback.as_ref()))),
        ("ons-udsink", in_sink(sink.and_then(|sink| sink.on_success.as_ref()))),
    ];
    let present = found.into_iter().filter_map(|(name, spec)| Some((name, spec?)));
    present
        .map(|(name, spec)| UserContainer {
            vertex: vertex.to_owned(),
            name: name.to_owned(),
            spec,
            volumes: volumes.to_vec(),
        })
        .collect()
}
