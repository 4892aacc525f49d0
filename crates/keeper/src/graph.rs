//! The shape of a pipeline as far as time is concerned: who writes to whom, and in which order to compute. Invariant: a
//! component comes after every component that writes to it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Name, Slot, Topology, Unit, UnitId};

/// The vertices of a pipeline and the edges between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The vertices, each named once.
    pub vertices: Vec<Vertex>,
    /// From and to.
    pub edges: Vec<(Name, Name)>,
}

/// One vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// Its name.
    pub name: Name,
    /// Where it reads.
    pub feed: Feed,
    /// How long a message that waits in the retry slot holds time back, at most.
    pub hold_watermark: Duration,
}

/// Where a vertex reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// From outside, with these source units.
    Source(BTreeSet<u32>),
    /// From its slots and its retry slot.
    Slots(Topology),
}

/// The graph, ready to compute on.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) vertices: BTreeMap<Name, Vertex>,
    pub(crate) upstream: BTreeMap<Name, BTreeSet<Name>>,
    pub(crate) downstream: BTreeMap<Name, BTreeSet<Name>>,
    /// Vertices that can reach each other, in topological order.
    pub(crate) components: Vec<Vec<Name>>,
}

impl Shape {
    pub(crate) fn of(graph: Graph) -> Self {
        let names: BTreeSet<Name> = graph.vertices.iter().map(|vertex| vertex.name.clone()).collect();
        assert_eq!(names.len(), graph.vertices.len(), "each vertex is named once");
        let none = || names.iter().map(|name| (name.clone(), BTreeSet::new())).collect::<BTreeMap<_, _>>();
        let (mut upstream, mut downstream) = (none(), none());
        for (from, to) in &graph.edges {
            let ends = (downstream.get_mut(from), upstream.get_mut(to));
            let (Some(down), Some(up)) = ends else { panic!("edge {from}-{to} joins vertices of the graph") };
            down.insert(to.clone());
            up.insert(from.clone());
        }
        let components = components(&downstream);
        let vertices = graph.vertices.into_iter().map(|vertex| (vertex.name.clone(), vertex)).collect();
        Self { vertices, upstream, downstream, components }
    }

    /// The units that a vertex has as things are meant to be.
    pub(crate) fn expected(&self, vertex: &Name) -> Vec<UnitId> {
        let unit = |unit| UnitId { vertex: vertex.clone(), unit };
        match &self.vertices[vertex].feed {
            Feed::Source(numbers) => numbers.iter().map(|number| unit(Unit::Source(*number))).collect(),
            Feed::Slots(topology) => {
                let slots = (0..u64::from(topology.slots())).map(|number| topology.slot(number));
                slots.chain([Slot::RETRY]).map(|slot| unit(Unit::Slot(slot))).collect()
            }
        }
    }
}

/// Sorts vertices by how many they can reach: more than any that they write to and cannot be reached from.
fn components(downstream: &BTreeMap<Name, BTreeSet<Name>>) -> Vec<Vec<Name>> {
    let reach: BTreeMap<&Name, BTreeSet<&Name>> =
        downstream.keys().map(|name| (name, reachable(name, downstream))).collect();
    let mut placed: BTreeMap<(Reverse<usize>, &Name), Vec<Name>> = BTreeMap::new();
    for (name, reached) in &reach {
        let first = reached.iter().find(|other| reach[**other].contains(name)).copied();
        let first = first.expect("a vertex reaches itself");
        placed.entry((Reverse(reached.len()), first)).or_default().push((*name).clone());
    }
    placed.into_values().collect()
}

fn reachable<'a>(from: &'a Name, downstream: &'a BTreeMap<Name, BTreeSet<Name>>) -> BTreeSet<&'a Name> {
    let mut reached = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        open.extend(downstream[name].iter().filter(|next| reached.insert(*next)));
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_come_first_and_a_cycle_is_one_component() {
        let vertex = |name: &str| Vertex {
            name: Name::new(name),
            feed: Feed::Slots(Topology::of(1, true)),
            hold_watermark: Duration::ZERO,
        };
        let edge = |from: &str, to: &str| (Name::new(from), Name::new(to));
        let graph = Graph {
            vertices: ["a", "b", "c", "d", "z"].map(vertex).to_vec(),
            edges: vec![edge("z", "c"), edge("c", "b"), edge("b", "c"), edge("b", "a"), edge("d", "a")],
        };
        let components = Shape::of(graph).components;
        let place =
            |name: &str| components.iter().position(|members| members.contains(&Name::new(name))).unwrap();
        assert_eq!(components[place("b")], ["b", "c"]);
        assert_eq!(components.len(), 4);
        assert!(place("z") < place("b"));
        assert!(place("b") < place("a"));
        assert!(place("d") < place("a"));
    }
}
