//! The status of one vertex. Invariant: what it says was seen or decided in this very turn.

use std::time::Duration;

use api::spec::status::{
    self, Activity, ActivityState, RevisionState, RolloutInput, RolloutKind, RolloutVerdict,
    RolloutVerdictKind, VertexStatus,
};
use api::spec::{Phase, stock};

use super::conditions::{self, Say};
use super::stock_time;
use crate::decide::{Mode, VertexMemory, VertexWanted};
use crate::seen::{self, WorkerState};
use crate::{Time, rollout};

/// The status of a vertex that should have `desired` workers, for a reason.
pub(crate) fn vertex(
    wanted: &VertexWanted<'_>,
    seen: &seen::Vertex,
    memory: &mut VertexMemory,
    (desired, because): (u32, &str),
    now: Time,
) -> VertexStatus {
    let there = seen.workers.iter().filter(|(_, worker)| worker.state != WorkerState::Stopping);
    let is_updated = |name: &seen::WorkerName| name.revision == *wanted.revision;
    let (mut replicas, mut ready, mut updated, mut updated_ready) = (0, 0, 0, 0);
    for (name, worker) in there {
        replicas += 1;
        ready += u32::from(worker.is_ready());
        updated += u32::from(is_updated(name));
        updated_ready += u32::from(is_updated(name) && worker.is_ready());
    }
    let activity = activity(seen);
    let healthy = conditions::workers(seen, wanted.mode == Mode::Run);
    let (reason, message) = match healthy.is_so {
        Some(false) => (Some(healthy.reason.to_owned()), Some(format!("Degraded: {}", healthy.message))),
        Some(true) | None => (None, None),
    };
    memory.conditions.set("Deployed", Say::yes(), now);
    memory.conditions.set("PodsHealthy", healthy, now);
    memory.conditions.set("Progressing", conditions::progressing(&activity), now);
    let serving = memory.rollout.stable.as_ref().unwrap_or(wanted.revision);
    VertexStatus {
        conditions: memory.conditions.to_stock(wanted.generation),
        phase: if wanted.mode == Mode::Stop { Phase::Paused } else { Phase::Running },
        reason,
        message,
        desired_replicas: desired,
        replicas,
        ready_replicas: Some(ready.min(desired)),
        selector: None,
        last_scaled_at: memory.scale.changed().map(stock_time),
        observed_generation: i64::try_from(wanted.generation).ok(),
        current_hash: Some(serving.to_string()),
        update_hash: Some(wanted.revision.to_string()),
        updated_replicas: Some(updated),
        updated_ready_replicas: Some(updated_ready),
        replicas_reason: Some(because.to_owned()),
        rollout: memory.progress.as_ref().and_then(|progress| rollout(progress, memory)),
        revisions: memory.rollout.history.iter().map(|past| revision(past, memory)).collect(),
        activity: Some(activity),
    }
}

/// When it was on the clock that stands still while the object does, as time on ours.
fn moment(time: Time, memory: &VertexMemory) -> stock::Time {
    stock_time(time.after(Duration::from_millis(memory.stood_still_ms)))
}

/// The rollout that is under way, or how the last one ended; nothing when there is nothing to say about it.
fn rollout(progress: &rollout::Progress, memory: &VertexMemory) -> Option<status::Rollout> {
    let first =
        memory.rollout.rollout.as_ref().is_some_and(|rollout| rollout.why == rollout::Why::FirstStart);
    if first || progress.phase == rollout::Phase::Complete && progress.verdict.is_none() {
        return None;
    }
    Some(status::Rollout {
        kind: match progress.kind.as_deref() {
            Some("Recreate") => RolloutKind::Recreate,
            Some("Canary") => RolloutKind::Canary,
            Some("BlueGreen") => RolloutKind::BlueGreen,
            Some(_) | None => RolloutKind::RollingUpdate,
        },
        step: progress.step.map(|(step, _)| step),
        steps: progress.step.map(|(_, steps)| steps),
        weight: progress.weight,
        from: progress.from.as_ref().map(ToString::to_string),
        to: Some(progress.to.to_string()),
        reason: Some(progress.sentence.clone()),
        started_at: memory.rollout.rollout.as_ref().map(|rollout| moment(rollout.started, memory)),
        deadline: progress.deadline.map(|deadline| moment(deadline, memory)),
        verdict: progress.verdict.as_ref().map(|given| verdict(given, memory)),
        rolled_back: progress.rolled_back.as_ref().map(|back| status::RolledBack {
            from: back.from.to_string(),
            to: back.to.to_string(),
            reason: back.failure.message.clone(),
            at: Some(moment(back.failure.at, memory)),
        }),
    })
}

fn verdict(verdict: &rollout::Verdict, memory: &VertexMemory) -> RolloutVerdict {
    let stable = verdict.stable.as_ref();
    let bound = |name: &str| verdict.bounds.get(name);
    // With too few records the numbers are there, and what they are worth is not known.
    let known = bound("records").is_some_and(|bound| bound.passed == Some(true));
    let limit = |name: &str| bound(name).map(|bound| bound.limit);
    let passed = |name: &str| bound(name).and_then(|bound| bound.passed).filter(|_| known);
    let input = |name: &str, of: fn(&rollout::Rates) -> f64| RolloutInput {
        name: name.to_owned(),
        updated: Some(of(&verdict.rates)),
        stable: stable.map(of),
        limit: limit(name),
        passed: passed(name),
    };
    let mut inputs = vec![
        input("records", |rates| rates.records as f64),
        input("errorRatio", |rates| rates.error_ratio),
        input("nackRatio", |rates| rates.nack_ratio),
        input("dropRatio", |rates| rates.drop_ratio),
        input("outputRatio", |rates| rates.output_ratio),
        input("latencyNanos", |rates| rates.latency_nanos),
    ];
    inputs.extend(verdict.queries.iter().map(|(name, value)| RolloutInput {
        name: name.clone(),
        updated: *value,
        stable: None,
        limit: limit(name),
        passed: passed(name),
    }));
    RolloutVerdict {
        kind: match verdict.kind {
            rollout::VerdictKind::Pass => RolloutVerdictKind::Pass,
            rollout::VerdictKind::Fail => RolloutVerdictKind::Fail,
            rollout::VerdictKind::InsufficientData => RolloutVerdictKind::InsufficientData,
        },
        inputs,
        reason: Some(verdict.message.clone()),
        at: Some(moment(verdict.at, memory)),
    }
}

fn revision(past: &rollout::Past, memory: &VertexMemory) -> status::Revision {
    status::Revision {
        number: past.number,
        hash: past.revision.to_string(),
        created_at: Some(moment(past.created_at, memory)),
        state: match past.state {
            rollout::State::RollingOut => RevisionState::Progressing,
            rollout::State::Active => RevisionState::Serving,
            rollout::State::Superseded => RevisionState::Superseded,
            rollout::State::RolledBack { .. } | rollout::State::Failed { .. } => RevisionState::Failed,
        },
    }
}

fn activity(seen: &seen::Vertex) -> Activity {
    let (state, reason, since) = match &seen.activity {
        seen::Activity::Unknown | seen::Activity::Idle => (ActivityState::Idle, None, None),
        seen::Activity::Progressing => (ActivityState::Progressing, None, None),
        seen::Activity::Stuck { since, reason } => {
            (ActivityState::Stuck, Some(reason.clone()), Some(stock_time(*since)))
        }
    };
    Activity { state, reason, since }
}
