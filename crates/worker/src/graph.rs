//! The graph of a pipeline as its workers see it: slots of each vertex, edges out of each vertex, and which of them
//! close a cycle. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api::resolve::{Compression, EdgeSettings, PipelineSettings, TagTest, VertexKind, VertexSettings};
use api::spec::{LogicOperator, OnFull};
use model::door::buffer::WhenFull;
use model::frame::Codec;
use model::verdict::Condition;
use model::{Name, Topology};

use crate::setup::Edge;

/// The graph of one pipeline.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    topologies: BTreeMap<Name, Topology>,
    edges: BTreeMap<Name, Vec<Edge>>,
    writers: BTreeMap<Name, u16>,
}

impl Graph {
    /// The graph of a pipeline.
    pub fn of(pipeline: &PipelineSettings) -> Self {
        let mut graph = Self::default();
        let mut keyed = BTreeSet::new();
        for vertex in &pipeline.vertices {
            let one_slot = vertex.ordered || vertex.kind == VertexKind::Reduce;
            if one_slot {
                keyed.insert(vertex.name.as_str());
            }
            let partitions = u16::try_from(vertex.partitions).unwrap_or(u16::MAX - 1);
            graph.topologies.insert(Name::new(&vertex.name), Topology::of(partitions, one_slot));
            graph.edges.insert(Name::new(&vertex.name), Vec::new());
        }
        let back = back_edges(pipeline);
        let codec = match pipeline.compression {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Zstd => Codec::Zstd,
            Compression::Lz4 => Codec::Lz4,
        };
        for edge in &pipeline.edges {
            let to = Name::new(&edge.to);
            let Some(topology) = graph.topologies.get(&to).copied() else { continue };
            let resolved = Edge {
                topology,
                condition: condition(edge.tags.as_ref()),
                when_full: match edge.on_full {
                    OnFull::RetryUntilSuccess => WhenFull::Wait,
                    OnFull::DiscardLatest => WhenFull::Discard,
                },
                keyed: keyed.contains(edge.to.as_str()),
                back: back.contains(&(edge.from.as_str(), edge.to.as_str())),
                codec,
                to: to.clone(),
            };
            *graph.writers.entry(to).or_default() += 1;
            graph.edges.entry(Name::new(&edge.from)).or_default().push(resolved);
        }
        graph
    }

    /// The slots of a vertex.
    pub fn topology(&self, vertex: &str) -> Option<Topology> {
        self.topologies.get(vertex).copied()
    }

    /// The edges that leave a vertex, in the order of the manifest.
    pub fn edges_from(&self, vertex: &str) -> Vec<Edge> {
        self.edges.get(vertex).cloned().unwrap_or_default()
    }

    /// How many vertices write to a vertex.
    pub fn writers(&self, vertex: &str) -> u16 {
        self.writers.get(vertex).copied().unwrap_or(0)
    }
}

/// A condition on tags; no values pass everything.
pub(crate) fn condition(tags: Option<&TagTest>) -> Condition {
    let Some(TagTest { operator, values }) = tags.filter(|tags| !tags.values.is_empty()) else {
        return Condition::Always;
    };
    let values = values.iter().map(Name::new).collect();
    match operator {
        LogicOperator::And => Condition::All(values),
        LogicOperator::Or => Condition::Any(values),
        LogicOperator::Not => Condition::None(values),
    }
}

/// The edges that lead back to where a walk from the sources came from. Without them the graph has no cycle. The walk
/// goes by names, so that the order of lists in a manifest chooses nothing.
fn back_edges(pipeline: &PipelineSettings) -> BTreeSet<(&str, &str)> {
    let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for EdgeSettings { from, to, .. } in &pipeline.edges {
        after.entry(from).or_default().insert(to);
    }
    let mut walk = Walk { after, path: Vec::new(), seen: BTreeSet::new(), back: BTreeSet::new() };
    let sorted = |of: fn(&VertexSettings) -> bool| -> BTreeSet<&str> {
        pipeline.vertices.iter().filter(|vertex| of(vertex)).map(|vertex| vertex.name.as_str()).collect()
    };
    let sources = sorted(|vertex| vertex.kind == VertexKind::Source);
    for vertex in sources.into_iter().chain(sorted(|_| true)) {
        walk.visit(vertex);
    }
    walk.back
}

struct Walk<'a> {
    /// The vertices that each one writes to.
    after: BTreeMap<&'a str, BTreeSet<&'a str>>,
    path: Vec<&'a str>,
    seen: BTreeSet<&'a str>,
    back: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, vertex: &'a str) {
        if !self.seen.insert(vertex) {
            return;
        }
        self.path.push(vertex);
        for to in self.after.get(vertex).cloned().unwrap_or_default() {
            if self.path.contains(&to) {
                self.back.insert((vertex, to));
            } else {
                self.visit(to);
            }
        }
        self.path.pop();
    }
}
