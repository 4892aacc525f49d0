//! An object as a tree: object, vertices, versions, workers, containers. Pure. Invariant: a line is about one thing, and
//! what it says of it is in words, never in colour alone.

use platform::view::{Container, Object, Revision, Vertex, Worker};

use super::wait::remarks;
use crate::text::{age, grouped, rate};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// What a look needs.
    Short,
    /// Reasons, processes and logs as well.
    Wide,
}

/// The lines of one object.
pub(super) fn lines(object: &Object, detail: Detail) -> Vec<String> {
    let Object { kind, name, phase, as_of, created_at, .. } = object;
    let mut lines = vec![format!("{kind} {name}  {phase}  age {}", age(*as_of, *created_at))];
    lines.extend(remarks(object).into_iter().map(|remark| format!("│ {remark}")));
    if detail == Detail::Wide {
        lines.extend(object.urls.iter().map(|(vertex, url)| format!("│ {vertex} listens at {url}")));
        lines.extend(object.substitutes.iter().map(|substitute| format!("│ note: {substitute}")));
    }
    let children = object.vertices.iter().map(|vertex| vertex_node(object, vertex, detail)).collect();
    draw(children, "", &mut lines);
    lines
}

/// A line and what is below it.
struct Node {
    line: String,
    children: Vec<Node>,
}

fn draw(nodes: Vec<Node>, indent: &str, lines: &mut Vec<String>) {
    let last = nodes.len().saturating_sub(1);
    for (index, node) in nodes.into_iter().enumerate() {
        let (branch, below) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        lines.push(format!("{indent}{branch}{}", node.line));
        draw(node.children, &format!("{indent}{below}"), lines);
    }
}

fn vertex_node(object: &Object, vertex: &Vertex, detail: Detail) -> Node {
    let mut line = format!(
        "{} {}  ready {}/{}  in {}/s  out {}/s",
        vertex.kind,
        vertex.name,
        vertex.ready,
        vertex.desired,
        rate(vertex.read_rate),
        rate(vertex.write_rate)
    );
    if let Some(pending) = &vertex.pending {
        line = format!("{line}  pending {}", grouped(pending.iter().sum()));
    }
    if !vertex.activity.is_empty() {
        line = format!("{line}  {}", vertex.activity);
    }
    if vertex.errors > 0 {
        line = format!("{line}  errors {}", grouped(vertex.errors));
    }
    if detail == Detail::Wide {
        for why in vertex.desired_because.iter().chain(&vertex.watermark_held_by) {
            line = format!("{line}  ({why})");
        }
    }
    let children = vertex.revisions.iter().map(|revision| revision_node(object, revision, detail)).collect();
    Node { line, children }
}

fn revision_node(object: &Object, revision: &Revision, detail: Detail) -> Node {
    let number = revision.number.map_or_else(String::new, |number| format!(" #{number}"));
    let line = format!("revision {}{number}  {}  {}%", revision.revision, revision.role, revision.weight);
    let children = revision.workers.iter().map(|worker| worker_node(object, worker, detail)).collect();
    Node { line, children }
}

fn worker_node(object: &Object, worker: &Worker, detail: Detail) -> Node {
    let mut line = format!(
        "worker {}  {}  holds {}{}",
        worker.replica,
        worker.state,
        worker.holds,
        restarts(worker.restarts)
    );
    if detail == Detail::Wide {
        line = format!("{line}  for {}", age(object.as_of, worker.since));
    }
    if let Some(reason) = &worker.reason {
        line = format!("{line}  ({reason})");
    }
    let children = worker.containers.iter().map(|container| container_node(container, detail)).collect();
    Node { line, children }
}

fn container_node(container: &Container, detail: Detail) -> Node {
    let mut line =
        format!("container {}  {}{}", container.name, container.state, restarts(container.restarts));
    if let Some(reason) = &container.reason {
        line = format!("{line}  ({reason})");
    }
    if detail == Detail::Wide {
        line.extend(container.process.map(|process| format!("  process {process}")));
        line.extend(container.log.as_ref().map(|log| format!("  log {log}")));
    }
    Node { line, children: Vec::new() }
}

fn restarts(count: u32) -> String {
    if count == 0 { String::new() } else { format!("  restarts {count}") }
}
