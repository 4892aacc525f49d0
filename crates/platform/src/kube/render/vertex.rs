//! `Vertex` objects: what a pipeline says about one of its vertices, with everything that it inherits, so that
//! `kubectl scale`, autoscalers and people find what they know. Invariant: a `Vertex` is made from its pipeline alone; but
//! for its count of replicas nothing in it is ever read back.

use std::collections::BTreeMap;

use api::duration::Duration;
use api::resolve::{VertexKind, VertexSettings, merge_vertex_template};
use api::spec::stock::ObjectMeta;
use api::spec::vertex::VertexPhase;
use api::spec::{
    CombinedEdge, Edge, Ordered, PipelineSpec, PipelineVertex, Scale, VertexLifecycle, VertexLimits,
    VertexSpec,
};
use api::{Checked, Pipeline, Vertex};

use super::{Owner, labels, metadata};
use crate::kube::names::{INSTANCE, Key, VERTEX_LABEL};

/// The vertex as it is written, with what it leaves open taken from the pipeline's template.
pub(super) fn with_template(spec: &PipelineSpec, vertex: &PipelineVertex) -> PipelineVertex {
    match spec.templates.as_ref().and_then(|templates| templates.vertex.as_ref()) {
        Some(template) => merge_vertex_template(vertex, template),
        None => vertex.clone(),
    }
}

/// The `Vertex` object of a vertex; its count of replicas is for others to set.
///
/// # Panics
/// When the settings are not of this pipeline.
pub fn object(
    key: &Key,
    pipeline: &Checked<Pipeline>,
    all: &[VertexSettings],
    settings: &VertexSettings,
    owner: &Owner,
) -> Vertex {
    let spec = &pipeline.spec;
    let written = spec.vertices.iter().find(|vertex| vertex.name == settings.name);
    let written = written.expect("settings were made of the same manifest");
    let mut vertex = with_template(spec, written);
    vertex.limits = Some(limits(spec, written, settings));
    vertex.ordered = Some(Ordered { enabled: Some(settings.ordered) });
    if settings.ordered {
        let fixed = i32::try_from(settings.partitions).ok();
        let scale = Scale {
            disabled: Some(true),
            min: fixed,
            max: fixed,
            ..vertex.scale.clone().unwrap_or_default()
        };
        vertex.scale = Some(scale);
    }
    let edges = |is_of: &dyn Fn(&Edge) -> bool| {
        spec.edges.iter().filter(|edge| is_of(edge)).map(|edge| combined(spec, all, edge)).collect()
    };
    let phase = |paused: bool| if paused { VertexPhase::Paused } else { VertexPhase::Running };
    let paused = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.desired_phase)
        == Some(api::spec::Phase::Paused);
    let spec = VertexSpec {
        vertex,
        pipeline_name: key.name.clone(),
        inter_step_buffer_service_name: spec.inter_step_buffer_service_name.clone(),
        replicas: None,
        from_edges: edges(&|edge| edge.to == settings.name),
        to_edges: edges(&|edge| edge.from == settings.name),
        watermark: spec.watermark.clone(),
        lifecycle: Some(VertexLifecycle { desired_phase: Some(phase(paused)) }),
        inter_step_buffer: spec.inter_step_buffer.clone(),
    };
    let mut labels = labels(key, "pipeline-controller", "vertex");
    labels.insert(VERTEX_LABEL.to_owned(), settings.name.clone());
    let instance = pipeline.annotation(INSTANCE).map(|instance| (INSTANCE.to_owned(), instance.to_owned()));
    let annotations: BTreeMap<String, String> = instance.into_iter().collect();
    let metadata = ObjectMeta {
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..metadata(key, key.vertex(&settings.name), owner, labels)
    };
    Vertex { metadata, ..Vertex::new(&settings.name, spec) }
}

/// Limits with everything inherited.
fn limits(spec: &PipelineSpec, written: &PipelineVertex, settings: &VertexSettings) -> VertexLimits {
    let inherited = spec.limits.as_ref().and_then(|limits| limits.rate_limit.clone());
    let own = written.limits.as_ref().and_then(|limits| limits.rate_limit.clone());
    let resolved = &settings.limits;
    VertexLimits {
        read_batch_size: Some(resolved.read_batch_size),
        read_timeout: i64::try_from(resolved.read_timeout.as_millis()).ok().map(Duration::from_millis),
        buffer_max_length: Some(resolved.buffer_max_length),
        buffer_usage_limit: Some(resolved.buffer_usage_limit_percent),
        rate_limit: own.or(inherited),
        concurrency: Some(resolved.concurrency),
    }
}

/// An edge with what its two ends must know of each other.
fn combined(spec: &PipelineSpec, all: &[VertexSettings], edge: &Edge) -> CombinedEdge {
    let settings = |name: &str| all.iter().find(|vertex| vertex.name == name);
    let written = |name: &str| spec.vertices.iter().find(|vertex| vertex.name == name);
    let limits_of = |name: &str| Some(limits(spec, written(name)?, settings(name)?));
    let kind = |name: &str| settings(name).map_or(VertexKind::Map, |vertex| vertex.kind).as_str().to_owned();
    let count = |name: &str| settings(name).and_then(|vertex| i32::try_from(vertex.partitions).ok());
    let ordered = settings(&edge.to).map(|vertex| Ordered { enabled: Some(vertex.ordered) });
    CombinedEdge {
        edge: edge.clone(),
        from_vertex_type: kind(&edge.from),
        from_vertex_partition_count: count(&edge.from),
        from_vertex_limits: limits_of(&edge.from),
        to_vertex_type: kind(&edge.to),
        to_vertex_partition_count: count(&edge.to),
        to_vertex_limits: limits_of(&edge.to),
        to_vertex_ordered: ordered,
    }
}
