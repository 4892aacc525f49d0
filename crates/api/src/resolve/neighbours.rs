//! A pipeline as far as the `Vertex` object of one of its vertices tells of it: the vertex, its neighbours and the edges
//! between them. Vertices further away are not in it. Invariant: what a `Vertex` object says of a neighbour is resolved
//! by the same rules as the neighbour itself.

use super::{Compression, PipelineSettings, VertexKind, edge, lifecycle, vertex, watermark};
use crate::Vertex;
use crate::check::Checked;
use crate::spec::vertex::VertexPhase;
use crate::spec::{CombinedEdge, GroupBy, PipelineSpec, PipelineVertex, Udf, VertexSpec};

/// What a neighbour cannot be understood by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "understand the type {kind:?} of vertex {vertex}: Source, MapUDF, ReduceUDF and Sink are the types there are"
)]
pub struct UnknownType {
    /// The neighbour.
    pub vertex: String,
    /// Its type.
    pub kind: String,
}

/// Fills in the defaults of a vertex that is known by its `Vertex` object alone.
///
/// Whether an edge is part of a cycle, and how many vertices write to a neighbour, shows only as far as the vertex's own
/// edges go. Fails when the type of a neighbour is unknown.
pub fn neighbours(object: &Checked<Vertex>) -> Result<PipelineSettings, UnknownType> {
    let VertexSpec {
        vertex: own, pipeline_name, inter_step_buffer_service_name, from_edges, to_edges, ..
    } = &object.spec;
    let paused = object
        .spec
        .lifecycle
        .as_ref()
        .is_some_and(|lifecycle| lifecycle.desired_phase == Some(VertexPhase::Paused));
    // Limits of the pipeline are in the limits of each vertex already.
    let pipeline = PipelineSpec::default();
    let mut vertices = vec![vertex(&pipeline, own, paused)];
    for found in from_edges.iter().map(before).chain(to_edges.iter().map(after)) {
        let neighbour = found?;
        if vertices.iter().all(|known| known.name != neighbour.name) {
            vertices.push(vertex(&pipeline, &neighbour, paused));
        }
    }
    let mut edges: Vec<_> = from_edges.iter().chain(to_edges).map(|combined| edge(&combined.edge)).collect();
    // An edge from the vertex to itself begins and ends there.
    let mut seen = std::collections::BTreeSet::new();
    edges.retain(|edge| seen.insert((edge.from.clone(), edge.to.clone())));
    let buffer = object.spec.inter_step_buffer.as_ref();
    let compression = buffer.and_then(|buffer| buffer.compression.as_ref()?.kind.as_deref());
    Ok(PipelineSettings {
        name: pipeline_name.clone(),
        namespace: object.namespace().to_owned(),
        inter_step_buffer_service: match inter_step_buffer_service_name.as_deref() {
            None | Some("") => "default".to_owned(),
            Some(name) => name.to_owned(),
        },
        compression: compression.and_then(Compression::parse).unwrap_or_default(),
        lifecycle: lifecycle(None, None, None),
        watermark: watermark(object.spec.watermark.as_ref()),
        vertices,
        edges,
    })
}

/// The vertex that an edge comes from, as far as the edge says what it is.
fn before(combined: &CombinedEdge) -> Result<PipelineVertex, UnknownType> {
    let CombinedEdge { edge, from_vertex_type, from_vertex_partition_count, from_vertex_limits, .. } =
        combined;
    Ok(PipelineVertex {
        partitions: *from_vertex_partition_count,
        limits: from_vertex_limits.clone(),
        ..of_type(&edge.from, from_vertex_type)?
    })
}

/// The vertex that an edge leads to, as far as the edge says what it is.
fn after(combined: &CombinedEdge) -> Result<PipelineVertex, UnknownType> {
    let CombinedEdge {
        edge,
        to_vertex_type,
        to_vertex_partition_count,
        to_vertex_limits,
        to_vertex_ordered,
        ..
    } = combined;
    Ok(PipelineVertex {
        partitions: *to_vertex_partition_count,
        limits: to_vertex_limits.clone(),
        ordered: to_vertex_ordered.clone(),
        ..of_type(&edge.to, to_vertex_type)?
    })
}

/// A vertex of which nothing is known but its name and its type.
fn of_type(name: &str, kind: &str) -> Result<PipelineVertex, UnknownType> {
    let all = [VertexKind::Source, VertexKind::Map, VertexKind::Reduce, VertexKind::Sink];
    let unknown = || UnknownType { vertex: name.to_owned(), kind: kind.to_owned() };
    let found = all.into_iter().find(|known| known.as_str() == kind).ok_or_else(unknown)?;
    let mut vertex = PipelineVertex { name: name.to_owned(), ..PipelineVertex::default() };
    match found {
        VertexKind::Source => vertex.source = Some(Box::default()),
        VertexKind::Map => vertex.udf = Some(Box::default()),
        VertexKind::Sink => vertex.sink = Some(Box::default()),
        VertexKind::Reduce => {
            // The count of partitions is the one that counts.
            let group_by = GroupBy { keyed: Some(true), ..GroupBy::default() };
            vertex.udf = Some(Box::new(Udf { group_by: Some(group_by), ..Udf::default() }));
        }
    }
    Ok(vertex)
}
