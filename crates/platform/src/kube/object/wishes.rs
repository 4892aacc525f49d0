//! From a plan to what the daemon is told. Pure. Invariant: a worker whose pod is there is in the wishes, because a name
//! that is missing counts as gone for good.

use std::collections::BTreeMap;

use api::resolve::PipelineSettings;
use plan::lifecycle::{Purpose, Stage};
use plan::{Piece, Plan};
use serde_json::Value;

use super::facts::Facts;
use crate::exchange::{VertexWishes, Wishes, WorkerWish};

/// What is wished, but for the number.
pub(super) fn of(settings: &PipelineSettings, plan: &Plan, facts: &Facts, manifest: &Value) -> Wishes {
    let mut vertices: BTreeMap<String, VertexWishes> =
        settings.vertices.iter().map(|vertex| (vertex.name.clone(), VertexWishes::default())).collect();
    for piece in &plan.ensure {
        match piece {
            Piece::Reading { vertex, on } => vertices.entry(vertex.clone()).or_default().reading = *on,
            Piece::Worker { vertex, name } => {
                let workers = &mut vertices.entry(vertex.clone()).or_default().workers;
                workers.insert(name.to_string(), WorkerWish::Work);
            }
            Piece::Shares { vertex, shares } => {
                vertices.entry(vertex.clone()).or_default().shares.clone_from(shares);
            }
            Piece::Keep { vertex, revisions } => {
                vertices.entry(vertex.clone()).or_default().keep.clone_from(revisions);
            }
            Piece::Reshape | Piece::Forget => {}
        }
    }
    let go = if is_cut(plan) { WorkerWish::Cut } else { WorkerWish::Retire };
    for (vertex, name) in &plan.retire {
        vertices.entry(vertex.clone()).or_default().workers.insert(name.to_string(), go);
    }
    for (vertex, pods) in &facts.workers {
        let wishes = &mut vertices.entry(vertex.clone()).or_default().workers;
        for (name, pod) in pods {
            let wish = wishes.entry(name.to_string()).or_insert(WorkerWish::Work);
            if pod.is_ending && *wish == WorkerWish::Work {
                *wish = WorkerWish::Retire;
            }
        }
    }
    let gone = facts.workers.values().all(BTreeMap::is_empty);
    let cuts = plan.memory.lifecycle.purpose == Purpose::DeleteNow && gone;
    Wishes { number: 0, manifest: Some(manifest.clone()), vertices, cuts }
}

/// Whether workers go although not everything is done.
pub(super) fn is_cut(plan: &Plan) -> bool {
    let lifecycle = &plan.memory.lifecycle;
    match lifecycle.purpose {
        Purpose::Pause => lifecycle.stage == Stage::Stopped && lifecycle.verdict.is_none(),
        Purpose::DeleteNow => true,
        Purpose::Run | Purpose::Reshape | Purpose::Delete => false,
    }
}
