//! What may be wrong with an object, for people: the most likely cause first, each with what to do about it. It says what
//! was seen and decided and looks at nothing else. Invariant: an object with nothing wrong has no findings.

use std::time::Duration;

use api::resolve::VertexKind;
use api::spec::status::DrainReason;
use serde::{Deserialize, Serialize};

use crate::decide::Plan;
use crate::lifecycle::{Purpose, Stage};
use crate::said::thousands;
use crate::seen::{Activity, Seen, WorkerState};
use crate::status::Summary;
use crate::wanted::Wanted;
use crate::{Time, seen};

/// How long a worker may start before somebody should wonder.
const START_MAX: Duration = Duration::from_secs(30);

/// A possible cause of what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What is the matter, a sentence with the numbers in it.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

/// How near a finding is to the cause; the first is nearest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Failing,
    Blocked,
    Stuck,
    Starting,
    NoWorker,
    RolledBack,
    Lifecycle,
}

/// What may be wrong, the most likely first. The plan is the one that was made from these wishes and this look.
pub fn explain(wanted: &Wanted<'_>, seen: &Seen, plan: &Plan, now: Time) -> Vec<Finding> {
    let mut found = Vec::new();
    for settings in &wanted.settings.vertices {
        let Some(vertex) = seen.vertices.get(&settings.name) else { continue };
        let desired = plan.vertices.get(&settings.name).map_or(0, |status| status.desired_replicas);
        of_workers(&settings.name, vertex, now, &mut found);
        let mut known = found.iter().any(|(_, name, _)| *name == settings.name);
        if !known {
            known = stuck(&settings.name, vertex, &mut found);
        }
        let reads = plan.memory.lifecycle.is_reading();
        let waits: u64 = vertex.pending.iter().flatten().sum();
        if !known && reads && desired == 0 && waits > 0 && settings.kind != VertexKind::Source {
            let what = format!(
                "vertex {}: {} messages wait and no worker is wanted",
                settings.name,
                thousands(waits)
            );
            let advice = "raise scale.max, or the count that was set by hand".to_owned();
            found.push((Rank::NoWorker, settings.name.clone(), Finding { what, advice }));
        }
    }
    blocked(plan, &mut found);
    of_object(wanted, plan, &mut found);
    found.sort_by_key(|(rank, _, _)| *rank);
    found.into_iter().map(|(_, _, finding)| finding).collect()
}

type Found = Vec<(Rank, String, Finding)>;

fn of_workers(name: &str, vertex: &seen::Vertex, now: Time, found: &mut Found) {
    for (worker, state) in &vertex.workers {
        let (replica, since) = (worker.replica, now.since(state.since));
        match &state.state {
            WorkerState::Failing { reason } => {
                let what = format!(
                    "vertex {name}: worker {replica} of version {} fails, {} restarts so far: {reason}",
                    worker.revision, state.restarts
                );
                let advice = "see what it printed last (`tidegate logs`), and apply a version that works or undo the last one";
                found.push((Rank::Failing, name.to_owned(), Finding { what, advice: advice.to_owned() }));
            }
            WorkerState::Starting if since >= START_MAX => {
                let what =
                    format!("vertex {name}: worker {replica} has been starting for {} s", since.as_secs());
                let advice =
                    "its user code has not said that it is ready: see what it printed (`tidegate logs`)";
                found.push((Rank::Starting, name.to_owned(), Finding { what, advice: advice.to_owned() }));
            }
            WorkerState::Starting | WorkerState::Ready | WorkerState::Stopping => {}
        }
    }
}

fn stuck(name: &str, vertex: &seen::Vertex, found: &mut Found) -> bool {
    let Activity::Stuck { reason, .. } = &vertex.activity else { return false };
    let what = format!("vertex {name}: {reason}");
    let advice = match vertex.in_hand {
        0 => "look at the vertices behind it and at its worker's log",
        _ => {
            "its user code or its sink does not answer: see its log, and restart it with `tidegate rollout restart`"
        }
    };
    found.push((Rank::Stuck, name.to_owned(), Finding { what, advice: advice.to_owned() }));
    true
}

/// What a drain waits for.
fn blocked(plan: &Plan, found: &mut Found) {
    for blocked in &plan.blocked {
        let Some(obstacle) = &blocked.obstacle else { continue };
        let named = found.iter().any(|(_, name, _)| *name == blocked.vertex);
        if named && obstacle.reason == DrainReason::WorkerCrashing {
            continue;
        }
        let what = format!("vertex {}: {}: {}", blocked.vertex, blocked.what(), obstacle.message);
        let advice = match obstacle.reason {
            DrainReason::NoWorker => {
                "resume, or set lifecycle.onPauseTimeout to wait, so that workers go on with it"
            }
            DrainReason::WorkerCrashing => {
                "apply a version that works: it takes over while the pause goes on"
            }
            DrainReason::UserCodeHanging => {
                "see the log of its user code; a worker that is restarted gets the messages again"
            }
            DrainReason::SinkRefusing => "look at what the sink writes to; nothing is dropped meanwhile",
            DrainReason::BufferFull => "look at the vertices behind it",
            DrainReason::NothingRead => "see the log of its workers",
            DrainReason::WindowOpen => "wait for the window to close; it is kept if the workers stop before",
            DrainReason::SourceNotStopped => {
                "see the log of the source; its units are taken away from it if it stays silent"
            }
        };
        found.push((Rank::Blocked, blocked.vertex.clone(), Finding { what, advice: advice.to_owned() }));
    }
}

fn of_object(wanted: &Wanted<'_>, plan: &Plan, found: &mut Found) {
    let mut add = |rank, what: String, advice: &str| {
        found.push((rank, String::new(), Finding { what, advice: advice.to_owned() }));
    };
    if let Summary::RolledBack { reason } = &plan.phase {
        let advice = "apply a version that works, or `tidegate rollout retry` to try the same one again";
        add(Rank::RolledBack, format!("the last version was given up: {reason}"), advice);
    }
    let life = &plan.memory.lifecycle;
    if life.gave_up.is_some() {
        let seconds = wanted.settings.lifecycle.pause_grace.as_secs();
        let what = format!("it should be paused and runs: it was not drained after {seconds} s");
        add(
            Rank::Lifecycle,
            what,
            "pause it again with a longer lifecycle.pauseGracePeriodSeconds, or with onPauseTimeout wait",
        );
    }
    if life.purpose == Purpose::Pause && life.stage == Stage::Stopped && life.verdict.is_none() {
        let left = plan.memory.progress.left().map_or_else(|| "an unknown number of".to_owned(), thousands);
        let what = format!("it is paused with {left} messages inside");
        add(
            Rank::Lifecycle,
            what,
            "nothing is lost: resume it, or set lifecycle.onPauseTimeout to wait to drain it",
        );
    }
}
