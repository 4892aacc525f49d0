//! What is seen of an object: pods say whether workers run, the daemon says what they do. Pure but for the times at which
//! states were first seen. Invariant: what the daemon was not asked, or has not answered for, is left out and never
//! guessed.

use std::collections::BTreeMap;

use api::resolve::PipelineSettings;
use plan::Time;
use plan::seen::{Seen, Vertex, Worker, WorkerName, WorkerState};

use super::facts::{Facts, WorkerPod};
use crate::exchange::{Look, VertexLook};

/// What was seen before, for the times of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    workers: BTreeMap<(String, WorkerName), (WorkerState, Time)>,
    is_first: bool,
}

/// What the daemon has answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    /// Its look; none when there is none that is fresh.
    pub(super) look: Option<&'a Look>,
    /// The number of the order to stop or to go on that it had heard of, as the plan counts them.
    pub(super) order: Option<u64>,
}

impl Before {
    /// Of a controller that has seen nothing yet.
    pub(super) fn nothing() -> Self {
        Self { workers: BTreeMap::new(), is_first: true }
    }

    /// What is seen.
    pub(super) fn look(
        &mut self,
        settings: &PipelineSettings,
        facts: &Facts,
        heard: Heard<'_>,
        now: Time,
    ) -> Seen {
        let mut vertices: BTreeMap<String, Vertex> = BTreeMap::new();
        let mut workers = BTreeMap::new();
        let known = settings.vertices.iter().map(|vertex| &vertex.name);
        for name in known.chain(facts.workers.keys()) {
            if vertices.contains_key(name) {
                continue;
            }
            let look = heard.look.and_then(|look| look.vertices.get(name));
            let mut vertex = look.map(of_look).unwrap_or_default();
            for (worker, pod) in facts.workers.get(name).into_iter().flatten() {
                let place = (name.clone(), worker.clone());
                let state = state(pod, worker, heard.look.is_some(), look);
                let since = match self.workers.get(&place) {
                    Some((before, since)) if *before == state => *since,
                    None if self.is_first => pod.since,
                    Some(_) | None => now,
                };
                let told = look.and_then(|look| look.workers.get(&worker.to_string()));
                let restarts = pod.restarts.max(told.map_or(0, |told| told.restarts));
                let holds = told.map_or(0, |told| told.holds);
                workers.insert(place, (state.clone(), since));
                vertex.workers.insert(worker.clone(), Worker { state, since, holds, restarts });
            }
            vertices.insert(name.clone(), vertex);
        }
        (self.workers, self.is_first) = (workers, false);
        let drain = heard.look.and_then(|look| look.drain.clone()).map(|mut drain| {
            // A verdict under another order says nothing about this one.
            drain.number = Some(heard.order.unwrap_or(u64::MAX));
            if let Some(cuts) = heard.look.and_then(|look| look.cuts.clone()) {
                drain.cuts = cuts;
            }
            drain
        });
        Seen { vertices, drain }
    }
}

fn of_look(look: &VertexLook) -> Vertex {
    Vertex {
        workers: BTreeMap::new(),
        settled: look.settled,
        pending: look.pending.clone(),
        in_hand: look.in_hand,
        activity: look.activity.clone(),
        signals: look.signals.clone(),
        queries: BTreeMap::new(),
        processed: look.processed,
    }
}

fn state(pod: &WorkerPod, name: &WorkerName, is_heard: bool, look: Option<&VertexLook>) -> WorkerState {
    if pod.is_ending {
        return WorkerState::Stopping;
    }
    if let Some(reason) = &pod.failing {
        return WorkerState::Failing { reason: reason.clone() };
    }
    let ready = if pod.is_ready { WorkerState::Ready } else { WorkerState::Starting };
    if !is_heard {
        return ready;
    }
    match look.and_then(|look| look.workers.get(&name.to_string())).map(|worker| &worker.state) {
        Some(WorkerState::Ready) => ready,
        Some(WorkerState::Failing { reason }) => WorkerState::Failing { reason: reason.clone() },
        Some(WorkerState::Starting | WorkerState::Stopping) | None => WorkerState::Starting,
    }
}
