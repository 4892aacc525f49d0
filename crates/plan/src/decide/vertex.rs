//! The decision for one vertex: how many workers, of which versions, and what to say about them. It is the same within a
//! pipeline, alone on a cluster, and for a mono vertex. Invariant: while its object drains, the workers that are there
//! stay as they are; only a vertex that could not drain with them gets others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::resolve::{Lifecycle, VertexKind, VertexSettings};
use api::revision::Revision;
use api::spec::status::VertexStatus;
use serde::{Deserialize, Serialize};

use super::Piece;
use super::progress::STILL;
use crate::scale::{self, Downstream};
use crate::seen::{Activity, Signals, Worker, WorkerName, WorkerState};
use crate::status::{self, Conditions};
use crate::wanted::Asked;
use crate::{Event, Time, Waiting, rollout, seen};

/// Looks are kept for at least so long, whatever the manifest says of it.
const LOOKBACK_MIN: Duration = Duration::from_mins(1);
/// The first look of a stretch may be so much older than the stretch.
const SPACING: Duration = Duration::from_secs(5);

/// What is wanted of one vertex.
#[derive(Clone, Copy, Debug)]
pub struct VertexWanted<'a> {
    /// Its settings.
    pub settings: &'a VertexSettings,
    /// How its object stops and starts again.
    pub lifecycle: &'a Lifecycle,
    /// Grows with every edit.
    pub generation: u64,
    /// The version that the manifest asks for.
    pub revision: &'a Revision,
    /// What people have asked.
    pub asked: &'a Asked,
    /// What its object is doing.
    pub mode: Mode,
    /// Every vertex that its output reaches.
    pub downstream: &'a [Downstream],
}

/// What the object of a vertex is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It runs.
    Run,
    /// It works off what is inside.
    Drain {
        /// Messages that are known to be left at this vertex.
        left: u64,
    },
    /// No worker should exist.
    Stop,
}

/// What is remembered of a vertex.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VertexMemory {
    /// How many workers, and why.
    pub scale: scale::Memory,
    /// What was observed of its load. It is not stored: a gap after a restart is harmless.
    #[serde(skip)]
    pub history: scale::History,
    /// Which versions.
    pub rollout: rollout::Memory,
    /// Where its rollout was when it last could go on.
    pub progress: Option<rollout::Progress>,
    /// The workers of the last plan.
    pub workers: BTreeSet<WorkerName>,
    /// The shares of the last plan.
    pub shares: BTreeMap<Revision, u32>,
    /// The count that was last set by hand.
    pub hand: Option<scale::Hand>,
    /// The request that this count came from.
    pub asked: Option<(Option<u32>, u64)>,
    /// Since when its rollout stands still because its object does not run.
    pub still_since: Option<Time>,
    /// Milliseconds for which it has stood still before.
    pub stood_still_ms: u64,
    /// This drain needs other workers than those that were there.
    pub thawed: bool,
    /// The standstill that was reported last.
    pub stuck_since: Option<Time>,
    /// Its conditions, for the times of their changes.
    pub conditions: Conditions,
}

/// The plan for one vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct VertexPlan {
    /// What should exist.
    pub ensure: Vec<Piece>,
    /// Workers that should go.
    pub retire: Vec<WorkerName>,
    /// What is waited for.
    pub waiting: Vec<Waiting>,
    /// What happened.
    pub events: Vec<Event>,
    /// What to hand in at the next turn.
    pub memory: VertexMemory,
    /// Its status.
    pub status: VertexStatus,
    /// Where its rollout stands.
    pub rollout: RolloutLine,
    /// When to decide again although nothing else is seen.
    pub look_again: Option<Time>,
}

/// Where a rollout stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutLine {
    /// Ready workers of the version that is wanted, and how many there should be, while it is on its way.
    pub under_way: Option<(u32, u32)>,
    /// Why the wanted version does not serve although it was tried.
    pub given_up: Option<String>,
    /// Why it stays as it is although it failed.
    pub failed: Option<String>,
}

/// The workers, the shares and what else comes of choosing them.
struct Choice {
    workers: BTreeSet<WorkerName>,
    shares: BTreeMap<Revision, u32>,
    look_again: Option<Time>,
}

/// The plan for one vertex.
pub fn vertex(
    wanted: &VertexWanted<'_>,
    seen: &seen::Vertex,
    memory: &VertexMemory,
    now: Time,
) -> VertexPlan {
    let name = wanted.settings.name.as_str();
    let mut memory = memory.clone();
    memory.history.push(scale::Sample::of(seen, now));
    let lookback = wanted.settings.scale.lookback.max(LOOKBACK_MIN);
    memory.history.forget_before(earlier(now, lookback + SPACING));
    let (mut waiting, mut events) = (Vec::new(), Vec::new());
    let decision = replicas(wanted, seen, &mut memory, now);
    if let Some(warning) = decision.warning {
        waiting.push(Waiting::new(about(name), "Replicas", warning));
    }
    let desired = decision.replicas;
    memory.scale = decision.memory;
    let choice = match wanted.mode {
        Mode::Stop => {
            stand_still(&mut memory, now);
            rollout::note_stop(&mut memory.rollout, &seen.workers);
            Choice { workers: BTreeSet::new(), shares: BTreeMap::new(), look_again: None }
        }
        Mode::Drain { .. } if !is_thawed(wanted, seen, &mut memory, (desired, now)) => {
            stand_still(&mut memory, now);
            let choice = frozen(wanted, &memory, desired);
            note(wanted, seen, &mut memory, &choice.workers);
            choice
        }
        Mode::Run | Mode::Drain { .. } => {
            go_on(&mut memory, wanted.mode, now);
            roll(
                wanted,
                seen,
                (&mut memory, &mut Said { waiting: &mut waiting, events: &mut events }),
                desired,
                now,
            )
        }
    };
    if wanted.mode != Mode::Stop {
        (memory.workers, memory.shares) = (choice.workers.clone(), choice.shares.clone());
    }
    waiting.extend(not_ready(name, &choice.workers, seen));
    events.extend(standstill(name, seen, &mut memory, wanted.mode));
    let rollout = line(&memory, desired);
    let status = status::vertex(wanted, seen, &mut memory, (desired, &decision.reason), now);
    let gone = |worker: &&WorkerName| !choice.workers.contains(*worker);
    let retire = seen.workers.keys().filter(gone).cloned().collect();
    let look_again = choice.look_again.into_iter().chain(decision.look_again).min();
    let ensure = pieces(wanted, choice, &memory);
    VertexPlan { ensure, retire, waiting, events, memory, status, rollout, look_again }
}

/// Where to put what is said on the way.
struct Said<'a> {
    waiting: &'a mut Vec<Waiting>,
    events: &'a mut Vec<Event>,
}

pub(crate) fn about(vertex: &str) -> String {
    format!("vertex {vertex}")
}

/// Whether each unit is bound to one worker.
pub(crate) fn is_bound(settings: &VertexSettings) -> bool {
    settings.ordered || settings.kind == VertexKind::Reduce
}

fn pieces(wanted: &VertexWanted<'_>, choice: Choice, memory: &VertexMemory) -> Vec<Piece> {
    let vertex = || wanted.settings.name.clone();
    let mut revisions: BTreeSet<Revision> = choice.workers.iter().map(|name| name.revision.clone()).collect();
    revisions.extend(choice.shares.keys().cloned());
    revisions.extend(memory.workers.iter().map(|name| name.revision.clone()));
    revisions.extend(memory.rollout.revisions_to_keep());
    revisions.insert(wanted.revision.clone());
    let mut ensure = vec![Piece::Keep { vertex: vertex(), revisions }];
    ensure.extend(choice.workers.into_iter().map(|name| Piece::Worker { vertex: vertex(), name }));
    ensure.push(Piece::Shares { vertex: vertex(), shares: choice.shares });
    ensure
}

/// How many workers there should be.
fn replicas(
    wanted: &VertexWanted<'_>,
    seen: &seen::Vertex,
    memory: &mut VertexMemory,
    now: Time,
) -> scale::Decision {
    let asked = (wanted.asked.replicas, wanted.asked.replicas_number);
    if memory.asked != Some(asked) {
        memory.asked = Some(asked);
        let number = memory.hand.map_or(1, |hand| hand.number + 1);
        memory.hand = wanted.asked.replicas.map(|replicas| scale::Hand { replicas, number }).or(memory.hand);
    }
    if memory.scale.replicas.is_none() {
        // Workers that are there although nothing is remembered are adopted, not stopped.
        let there = seen.workers.values().filter(|worker| worker.state != WorkerState::Stopping).count();
        memory.scale.replicas = u32::try_from(there).ok().filter(|count| *count > 0);
    }
    let source = wanted.settings.kind == VertexKind::Source;
    let drains = matches!(wanted.mode, Mode::Drain { .. });
    let mut settings = wanted.settings.clone();
    let phase = match wanted.mode {
        Mode::Run => scale::Phase::Running,
        Mode::Stop => scale::Phase::Stopped,
        Mode::Drain { left } => {
            // What is inside must get out, whatever the bounds say about ordinary days.
            settings.scale.max = settings.scale.max.max(1);
            scale::Phase::Draining { wake: !source && (left > 0 || seen.in_hand > 0) }
        }
    };
    // What waits outside of a source is nothing to drain.
    let nothing = scale::History::default();
    let owned: u32 = seen.workers.values().map(|worker| worker.holds).sum();
    let units = if is_bound(wanted.settings) {
        Some(wanted.settings.partitions)
    } else {
        Some(owned).filter(|owned| *owned > 0 && seen.settled && !source)
    };
    let load = scale::Load {
        history: if source && drains { &nothing } else { &memory.history },
        downstream: wanted.downstream,
        units,
    };
    let input = scale::Input {
        settings: &settings,
        lifecycle: wanted.lifecycle,
        phase,
        hand: memory.hand.filter(|_| wanted.asked.replicas.is_some()),
        frozen: drains.then_some("its object drains"),
        load,
        memory: &memory.scale,
    };
    scale::replicas(&input, now)
}

fn stand_still(memory: &mut VertexMemory, now: Time) {
    memory.still_since.get_or_insert(now);
}

fn go_on(memory: &mut VertexMemory, mode: Mode, now: Time) {
    if let Some(since) = memory.still_since.take() {
        memory.stood_still_ms += millis(now.since(since));
    }
    memory.thawed &= mode != Mode::Run;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether the workers that were there cannot drain the vertex, so that its rollout must go on for that.
fn is_thawed(
    wanted: &VertexWanted<'_>,
    seen: &seen::Vertex,
    memory: &mut VertexMemory,
    (desired, now): (u32, Time),
) -> bool {
    let Mode::Drain { left } = wanted.mode else { return false };
    let waits: u64 = seen.pending.iter().flatten().sum();
    let source = wanted.settings.kind == VertexKind::Source;
    let work = seen.in_hand > 0 || left > 0 || (waits > 0 && !source);
    let Choice { workers, shares, look_again: _ } = frozen(wanted, memory, desired);
    let serving = |name: &&WorkerName| shares.contains_key(&name.revision);
    let there = || workers.iter().filter(serving).filter_map(|name| seen.workers.get(name));
    let hopeless = |worker: &Worker| match worker.state {
        WorkerState::Failing { .. } => true,
        WorkerState::Starting => now.since(worker.since) >= STILL,
        WorkerState::Ready | WorkerState::Stopping => false,
    };
    let enough = there().any(Worker::is_ready) && !is_bound(wanted.settings);
    memory.thawed |= work && !enough && there().any(hopeless);
    memory.thawed
}

/// The workers of the last plan; where there were none, as many as are needed.
fn frozen(wanted: &VertexWanted<'_>, memory: &VertexMemory, desired: u32) -> Choice {
    let mut workers = memory.workers.clone();
    let mut shares = memory.shares.clone();
    let serving = shares.iter().max_by_key(|(_, weight)| **weight).map(|(revision, _)| revision.clone());
    let revision = serving.unwrap_or_else(|| wanted.revision.clone());
    if shares.is_empty() && desired > 0 {
        shares.insert(revision.clone(), 1);
    }
    if is_bound(wanted.settings) {
        // Each number has one worker, of whatever version, and that one must do the work of its number.
        for name in &workers {
            let share = shares.entry(name.revision.clone()).or_insert(1);
            *share = (*share).max(1);
        }
        for replica in 0..desired {
            if !workers.iter().any(|name| name.replica == replica) {
                workers.insert(WorkerName { revision: revision.clone(), replica });
            }
        }
    }
    if !workers.iter().any(|name| shares.contains_key(&name.revision)) {
        // Whoever is there is given nothing, or nobody is.
        workers.extend((0..desired).map(|replica| WorkerName { revision: revision.clone(), replica }));
    }
    Choice { workers, shares, look_again: None }
}

/// Keeps what the rollout remembers true while it stands still. Its clock stands, too.
fn note(
    wanted: &VertexWanted<'_>,
    seen: &seen::Vertex,
    memory: &mut VertexMemory,
    asked: &BTreeSet<WorkerName>,
) {
    let Some(since) = memory.still_since else { return };
    let behind = Duration::from_millis(memory.stood_still_ms);
    let workers = shifted(&seen.workers, behind);
    let min_ready = wanted.settings.update.min_ready;
    rollout::note(&mut memory.rollout, asked, &workers, min_ready, earlier(since, behind));
}

fn earlier(time: Time, behind: Duration) -> Time {
    Time::from_millis(time.millis().saturating_sub(behind.as_millis() as i64))
}

/// Workers with their times on a clock that is behind.
fn shifted(workers: &BTreeMap<WorkerName, Worker>, behind: Duration) -> BTreeMap<WorkerName, Worker> {
    let shift = |worker: &Worker| Worker { since: earlier(worker.since, behind), ..worker.clone() };
    workers.iter().map(|(name, worker)| (name.clone(), shift(worker))).collect()
}

/// Lets the rollout decide. Time during which it stood still does not exist for it.
fn roll(
    wanted: &VertexWanted<'_>,
    seen: &seen::Vertex,
    (memory, said): (&mut VertexMemory, &mut Said<'_>),
    desired: u32,
    now: Time,
) -> Choice {
    let behind = Duration::from_millis(memory.stood_still_ms);
    let workers = shifted(&seen.workers, behind);
    let signals: &BTreeMap<Revision, Signals> = &seen.signals;
    let input = rollout::Input {
        vertex: &wanted.settings.name,
        update: &wanted.settings.update,
        desired,
        wanted: wanted.revision,
        bound: is_bound(wanted.settings),
        workers: &workers,
        settled: seen.settled,
        signals,
        queries: &seen.queries,
        word: wanted.asked.word.as_ref(),
        now: earlier(now, behind),
    };
    let outcome = rollout::turn(&memory.rollout, &input);
    memory.rollout = outcome.memory;
    memory.progress = Some(outcome.progress);
    said.waiting.extend(outcome.waiting);
    said.events.extend(outcome.events);
    let look_again = outcome.look_again.map(|time| time.after(behind));
    Choice { workers: outcome.workers, shares: outcome.shares, look_again }
}

/// Why workers that should work do not.
fn not_ready(vertex: &str, workers: &BTreeSet<WorkerName>, seen: &seen::Vertex) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    let missing = workers.iter().filter(|name| !seen.workers.contains_key(*name)).count();
    let in_state = |test: fn(&WorkerState) -> bool| {
        workers
            .iter()
            .filter(|name| seen.workers.get(*name).is_some_and(|worker| test(&worker.state)))
            .count()
    };
    let starting = in_state(|state| *state == WorkerState::Starting);
    if missing + starting > 0 {
        let message =
            format!("{missing} workers are to be started and {starting} are starting, of {}", workers.len());
        waiting.push(Waiting::new(about(vertex), "WorkersNotReady", message));
    }
    for (name, worker) in seen.workers.iter().filter(|(name, _)| workers.contains(*name)) {
        if let WorkerState::Failing { reason } = &worker.state {
            let WorkerName { revision, replica } = name;
            let message = format!(
                "worker {replica} of version {revision} fails, {} restarts so far: {reason}",
                worker.restarts
            );
            waiting.push(Waiting::new(about(vertex), "WorkerFailing", message));
        }
    }
    waiting
}

/// The event of a standstill, once for each.
fn standstill(vertex: &str, seen: &seen::Vertex, memory: &mut VertexMemory, mode: Mode) -> Option<Event> {
    match &seen.activity {
        Activity::Stuck { since, reason } if mode != Mode::Stop => {
            if memory.stuck_since.replace(*since) == Some(*since) {
                return None;
            }
            Some(Event::warning(about(vertex), "Stuck", reason.clone()))
        }
        Activity::Idle | Activity::Progressing => memory
            .stuck_since
            .take()
            .map(|_| Event::normal(about(vertex), "Progressing", "work goes on again")),
        Activity::Stuck { .. } | Activity::Unknown => None,
    }
}

fn line(memory: &VertexMemory, desired: u32) -> RolloutLine {
    let first =
        memory.rollout.rollout.as_ref().is_some_and(|rollout| rollout.why == rollout::Why::FirstStart);
    // Without workers nothing is on its way, and the first start is no change.
    let progress = memory
        .progress
        .as_ref()
        .filter(|progress| desired > 0 && (!first || progress.phase == rollout::Phase::Failed));
    let Some(progress) = progress else { return RolloutLine::default() };
    let ready = progress.updated_ready_replicas.min(desired);
    match progress.phase {
        rollout::Phase::Complete => RolloutLine::default(),
        rollout::Phase::RollingOut | rollout::Phase::Paused | rollout::Phase::RollingBack => {
            RolloutLine { under_way: Some((ready, desired)), ..RolloutLine::default() }
        }
        rollout::Phase::RolledBack => {
            let failure =
                progress.rolled_back.as_ref().map(|rolled_back| rolled_back.failure.message.clone());
            RolloutLine { given_up: failure.or(Some(progress.sentence.clone())), ..RolloutLine::default() }
        }
        rollout::Phase::Failed => {
            RolloutLine { failed: Some(progress.sentence.clone()), ..RolloutLine::default() }
        }
    }
}
