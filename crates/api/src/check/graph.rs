//! Rules about vertices and edges as a graph: names, ends, connection, cycles. The invariant: edges to vertices
//! that do not exist are reported once and then left out, so that one slip has one complaint.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Report;
use crate::path::Path;
use crate::resolve::VertexKind;
use crate::schema::hints::{CANDIDATES_MAX, did_you_mean};
use crate::spec::{Edge, PipelineSpec};

/// So many vertices of a part that stands alone are named.
const NAMES_SHOWN: usize = 5;

/// An edge between vertices that exist, by their positions.
struct Link {
    edge: usize,
    from: usize,
    to: usize,
}

pub(super) fn complain(spec: &PipelineSpec, path: &Path, report: &mut Report<'_>) {
    let positions = positions(spec, path, report);
    let links = links(spec, &positions, path, report);
    if spec.edges.is_empty() || spec.vertices.is_empty() {
        return;
    }
    ends(spec, &links, path, report);
    connection(spec, &links, path, report);
    cycles(spec, &links, path, report);
}

fn positions<'a>(spec: &'a PipelineSpec, path: &Path, report: &mut Report<'_>) -> BTreeMap<&'a str, usize> {
    let mut positions = BTreeMap::new();
    for (index, vertex) in spec.vertices.iter().enumerate() {
        if vertex.name.is_empty() {
            continue;
        }
        if let Some(first) = positions.get(vertex.name.as_str()) {
            let at = path.field("vertices").index(index).field("name");
            let message = format!("the name `{}` is taken by `vertices[{first}]`", vertex.name);
            report.error("vertex-duplicate", &at, message).hint("give each vertex a name of its own");
        } else {
            positions.insert(vertex.name.as_str(), index);
        }
    }
    positions
}

fn links(
    spec: &PipelineSpec,
    positions: &BTreeMap<&str, usize>,
    path: &Path,
    report: &mut Report<'_>,
) -> Vec<Link> {
    let mut links = Vec::new();
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    for (index, edge) in spec.edges.iter().enumerate() {
        let at = path.field("edges").index(index);
        let mut end = |field: &str, name: &str| {
            let known = positions.get(name).copied();
            if name.is_empty() {
                report.error("edge-incomplete", &at.field(field), format!("the edge has no `{field}`"));
            } else if known.is_none() {
                let hint = did_you_mean(name, positions.keys().copied().take(CANDIDATES_MAX));
                let hint = hint.unwrap_or_else(|| "add the vertex, or remove the edge".to_owned());
                report
                    .error("edge-unknown-vertex", &at.field(field), format!("there is no vertex `{name}`"))
                    .hint(hint);
            }
            known
        };
        let (from, to) = (end("from", &edge.from), end("to", &edge.to));
        tags(edge, &at, report);
        if let (Some(from), Some(to)) = (from, to) {
            if let Some(first) = seen.insert((&edge.from, &edge.to), index) {
                let message =
                    format!("the edge from `{}` to `{}` is already `edges[{first}]`", edge.from, edge.to);
                report.error("edge-duplicate", &at, message).hint("join their conditions in one edge");
            }
            links.push(Link { edge: index, from, to });
        }
    }
    links
}

fn tags(edge: &Edge, path: &Path, report: &mut Report<'_>) {
    if edge.conditions.as_ref().is_some_and(|conditions| conditions.tags.values.is_empty()) {
        let at = path.fields(&["conditions", "tags", "values"]);
        report
            .error("edge-tags-empty", &at, "a condition needs at least one tag")
            .hint("list tags, or leave out `conditions` to pass everything");
    }
}

/// Sources have no edges that come in, sinks none that go out, and nobody misses what it needs.
fn ends(spec: &PipelineSpec, links: &[Link], path: &Path, report: &mut Report<'_>) {
    let mut comes_in = vec![false; spec.vertices.len()];
    let mut goes_out = vec![false; spec.vertices.len()];
    for link in links {
        goes_out[link.from] = true;
        comes_in[link.to] = true;
        let at = path.field("edges").index(link.edge);
        let (from, to) = (&spec.vertices[link.from], &spec.vertices[link.to]);
        if to.kind() == Some(VertexKind::Source) {
            let message = format!("`{}` is a source, and no edge can lead to a source", to.name);
            report.error("edge-into-source", &at.field("to"), message);
        }
        if from.kind() == Some(VertexKind::Sink) {
            let message = format!("`{}` is a sink, and no edge can leave a sink", from.name);
            report.error("edge-out-of-sink", &at.field("from"), message);
        }
    }
    // Edges that name nobody are already reported; a vertex they may have been meant for is not reported again.
    if links.len() < spec.edges.len() {
        return;
    }
    for (index, vertex) in spec.vertices.iter().enumerate() {
        let Some(kind) = vertex.kind().filter(|_| !vertex.name.is_empty()) else { continue };
        let at = path.field("vertices").index(index);
        if !comes_in[index] && !goes_out[index] {
            report.error("vertex-no-edge", &at, format!("no edge has the vertex `{}`", vertex.name));
        } else if !comes_in[index] && kind != VertexKind::Source {
            report.error("vertex-no-input", &at, format!("no edge leads to the vertex `{}`", vertex.name));
        } else if !goes_out[index] && kind != VertexKind::Sink {
            report.error("vertex-no-output", &at, format!("no edge leaves the vertex `{}`", vertex.name));
        }
    }
}

/// Everything hangs together, whichever way edges point.
fn connection(spec: &PipelineSpec, links: &[Link], path: &Path, report: &mut Report<'_>) {
    let mut neighbours = vec![Vec::new(); spec.vertices.len()];
    for link in links {
        neighbours[link.from].push(link.to);
        neighbours[link.to].push(link.from);
    }
    // Vertices without any edge, and edges that name nobody, are reported as such.
    if links.len() < spec.edges.len() || neighbours[0].is_empty() {
        return;
    }
    let reached = reach(0, &neighbours);
    let apart: Vec<usize> =
        (0..spec.vertices.len()).filter(|index| !reached[*index] && !neighbours[*index].is_empty()).collect();
    if let Some(first) = apart.first() {
        let name = |index: usize| format!("`{}`", spec.vertices[index].name);
        let mut names: Vec<_> = apart.iter().take(NAMES_SHOWN).map(|index| name(*index)).collect();
        if apart.len() > NAMES_SHOWN {
            names.push(format!("{} more", apart.len() - NAMES_SHOWN));
        }
        let message = format!("{} and {} are not connected", names.join(", "), name(0));
        report
            .error("graph-disconnected", &path.field("vertices").index(*first), message)
            .hint("add an edge between the parts, or make two pipelines");
    }
}

/// A cycle is possible as long as no reduce vertex is on it or after it.
fn cycles(spec: &PipelineSpec, links: &[Link], path: &Path, report: &mut Report<'_>) {
    let fed_by_cycle = on_or_after_cycles(spec.vertices.len(), links);
    for (index, vertex) in spec.vertices.iter().enumerate() {
        if vertex.kind() != Some(VertexKind::Reduce) || !fed_by_cycle[index] {
            continue;
        }
        let cycle = vertex_on_cycle(index, links, &fed_by_cycle);
        let message = format!(
            "the reduce vertex `{}` is on or after a cycle (through `{}`), where event time cannot move on",
            vertex.name, spec.vertices[cycle].name
        );
        let at = path.field("vertices").index(index).fields(&["udf", "groupBy"]);
        report
            .error("cycle-before-reduce", &at, message)
            .hint("reduce before the cycle, or in another pipeline");
    }
}

/// Takes away, again and again, vertices that nothing leads to; what stays is on a cycle or after one.
fn on_or_after_cycles(vertices: usize, links: &[Link]) -> Vec<bool> {
    let mut next = vec![Vec::new(); vertices];
    let mut inputs = vec![0_usize; vertices];
    for link in links {
        next[link.from].push(link.to);
        inputs[link.to] += 1;
    }
    let mut stays = vec![true; vertices];
    let mut open: Vec<usize> = (0..vertices).filter(|index| inputs[*index] == 0).collect();
    while let Some(index) = open.pop() {
        stays[index] = false;
        for to in &next[index] {
            inputs[*to] -= 1;
            if inputs[*to] == 0 {
                open.push(*to);
            }
        }
    }
    stays
}

/// Walks back from a vertex that is on or after a cycle until it is on that cycle.
fn vertex_on_cycle(start: usize, links: &[Link], fed_by_cycle: &[bool]) -> usize {
    let mut walked = HashSet::new();
    let mut index = start;
    while walked.insert(index) {
        let before = links.iter().find(|link| link.to == index && fed_by_cycle[link.from]);
        index = before.expect("something on a cycle leads to whatever is on or after one").from;
    }
    index
}

/// Which of all can be reached from `start`, itself included.
fn reach(start: usize, neighbours: &[Vec<usize>]) -> Vec<bool> {
    let mut reached = vec![false; neighbours.len()];
    let mut open = vec![start];
    reached[start] = true;
    while let Some(index) = open.pop() {
        for neighbour in &neighbours[index] {
            if !reached[*neighbour] {
                reached[*neighbour] = true;
                open.push(*neighbour);
            }
        }
    }
    reached
}
