//! How a drain gets on: what is left, how fast it goes, and what is in the way where it does not. Invariant: what is kept is
//! bounded, and a place that has work and does not move has a reason within [`STILL`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use api::resolve::{VertexKind, VertexSettings};
use api::spec::OnFull;
use api::spec::status::DrainReason;
use serde::{Deserialize, Serialize};

use super::Memory;
use super::vertex::about;
use crate::lifecycle::Stage;
use crate::said::thousands;
use crate::seen::{Activity, Left, Seen, WorkerState};
use crate::wanted::Wanted;
use crate::{Time, Waiting, seen};

/// The stretch that a pace is taken from.
const WINDOW: Duration = Duration::from_secs(10);
/// The least time between two samples.
const SPACING: Duration = Duration::from_millis(400);
/// Samples kept.
const SAMPLES_MAX: usize = 26;
/// How long a place with work may stand still before that needs a reason.
pub(crate) const STILL: Duration = Duration::from_secs(5);

/// How a drain gets on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Progress {
    /// Messages inside, as far as anybody can tell.
    left: Option<u64>,
    /// What was left at moments of the recent past, the oldest first.
    samples: VecDeque<(Time, u64)>,
    /// For each vertex what it had done and had to do when that last changed, and when that was.
    moved: BTreeMap<String, (u64, u64, Time)>,
}

/// Messages that a drain waits for, and why they do not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The vertex that has to work on them.
    pub vertex: String,
    /// Their partition; none for what a worker holds.
    pub partition: Option<u32>,
    /// How many.
    pub messages: u64,
    /// What is in the way; none while they get on.
    pub obstacle: Option<Obstacle>,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// In a word.
    pub reason: DrainReason,
    /// In a sentence, without the count.
    pub message: String,
}

impl Progress {
    /// Takes in a look.
    pub(crate) fn next(&self, wanted: &Wanted<'_>, seen: &Seen, reading: bool, now: Time) -> Self {
        let left = left(wanted, seen);
        if reading {
            return Self { left, ..Self::default() };
        }
        let mut samples = self.samples.clone();
        if let Some(left) = left {
            if samples.back().is_none_or(|(at, _)| now.since(*at) >= SPACING) {
                samples.push_back((now, left));
            }
            while samples.len() > SAMPLES_MAX
                || samples.front().is_some_and(|(at, _)| now.since(*at) > WINDOW)
            {
                samples.pop_front();
            }
        }
        let of = |vertex: &VertexSettings| {
            let looked = seen.vertices.get(&vertex.name);
            let done = looked.map_or(0, |looked| looked.processed);
            let todo = at(&seen_left(wanted, seen, &vertex.name)) + looked.map_or(0, |looked| looked.in_hand);
            let before = self.moved.get(&vertex.name).copied();
            let same =
                before.filter(|(before_done, before_todo, _)| (*before_done, *before_todo) == (done, todo));
            (vertex.name.clone(), same.unwrap_or((done, todo, now)))
        };
        Self { left, samples, moved: wanted.settings.vertices.iter().map(of).collect() }
    }

    /// Messages inside, as far as anybody can tell.
    pub fn left(&self) -> Option<u64> {
        self.left
    }

    /// Messages per second by which it becomes less; none when it does not, or when that cannot be told yet.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let gone = first.1.checked_sub(last.1).filter(|gone| *gone > 0)?;
        let seconds = last.0.since(first.0).as_secs_f64();
        (seconds > 0.0).then(|| gone as f64 / seconds)
    }

    /// How long it takes at this pace until nothing is left.
    pub fn estimate(&self) -> Option<Duration> {
        match self.left? {
            0 => Some(Duration::ZERO),
            left => Duration::try_from_secs_f64(left as f64 / self.rate()?).ok(),
        }
    }

    /// Since when a vertex neither did nor got anything.
    fn still(&self, vertex: &str, now: Time) -> Duration {
        self.moved.get(vertex).map_or(Duration::ZERO, |(_, _, at)| now.since(*at))
    }
}

impl Blocked {
    /// As something that is waited for.
    pub fn to_waiting(&self) -> Waiting {
        let what = self.what();
        match &self.obstacle {
            Some(Obstacle { reason, message }) => {
                Waiting::new(about(&self.vertex), &format!("{reason:?}"), format!("{what}: {message}"))
            }
            None => Waiting::new(about(&self.vertex), "Draining", what),
        }
    }

    /// What waits where.
    pub(crate) fn what(&self) -> String {
        let messages = thousands(self.messages);
        match self.partition {
            Some(partition) => format!("{messages} messages are left in partition {partition}"),
            None if self.messages > 0 => format!("{messages} messages are in hand"),
            None => "its sources have not all said that they stopped".to_owned(),
        }
    }
}

fn at(left: &[Left]) -> u64 {
    left.iter().map(|left| left.messages).sum()
}

/// Messages inside, as far as anybody can tell. What waits outside of a source is not inside.
fn left(wanted: &Wanted<'_>, seen: &Seen) -> Option<u64> {
    if seen.drain.as_ref().is_some_and(|drain| drain.drained) {
        return Some(0);
    }
    let inner = wanted.settings.vertices.iter().filter(|vertex| vertex.kind != VertexKind::Source);
    let mut sum = 0;
    for vertex in inner {
        let looked = seen.vertices.get(&vertex.name);
        let left = at(&seen_left(wanted, seen, &vertex.name));
        if looked.is_none_or(|looked| looked.pending.is_none()) && seen.drain.is_none() {
            return None;
        }
        sum += left + if seen.drain.is_none() { looked.map_or(0, |looked| looked.in_hand) } else { 0 };
    }
    Some(sum)
}

/// What is left at a vertex, by partition: by the drain report, or else by what is pending.
fn seen_left(wanted: &Wanted<'_>, seen: &Seen, vertex: &str) -> Vec<Left> {
    let reported = seen.drain.as_ref().filter(|drain| drain.sources_stopped || !drain.left.is_empty());
    if let Some(drain) = reported {
        return drain.left.iter().filter(|left| left.vertex == vertex).cloned().collect();
    }
    let is_source =
        |settings: &&VertexSettings| settings.name == vertex && settings.kind == VertexKind::Source;
    if wanted.settings.vertices.iter().any(|settings| is_source(&settings)) {
        return Vec::new();
    }
    let pending = seen.vertices.get(vertex).and_then(|looked| looked.pending.as_deref()).unwrap_or_default();
    let of = |(partition, messages): (usize, &u64)| Left {
        vertex: vertex.to_owned(),
        partition: u32::try_from(partition).unwrap_or(u32::MAX),
        messages: *messages,
    };
    pending.iter().enumerate().filter(|(_, messages)| **messages > 0).map(of).collect()
}

/// Everything that a drain waits for.
pub(crate) fn blocked(wanted: &Wanted<'_>, seen: &Seen, memory: &Memory, now: Time) -> Vec<Blocked> {
    if memory.lifecycle.verdict.is_some() {
        return Vec::new();
    }
    let nothing = seen::Vertex::default();
    let stopped = seen.drain.as_ref().is_some_and(|drain| drain.sources_stopped);
    let mut all = Vec::new();
    for settings in &wanted.settings.vertices {
        let looked = seen.vertices.get(&settings.name).unwrap_or(&nothing);
        let mut left: Vec<(Option<u32>, u64)> = seen_left(wanted, seen, &settings.name)
            .iter()
            .map(|left| (Some(left.partition), left.messages))
            .collect();
        let holds = !stopped && settings.kind == VertexKind::Source;
        if holds && (looked.in_hand > 0 || !looked.workers.is_empty())
            || left.is_empty() && looked.in_hand > 0
        {
            left.push((None, looked.in_hand));
        }
        let obstacle = obstacle(settings, looked, memory, (holds, now)).map(|found| {
            let full = full(wanted, seen, &settings.name);
            full.filter(|_| found.reason == DrainReason::UserCodeHanging).unwrap_or(found)
        });
        all.extend(left.into_iter().map(|(partition, messages)| Blocked {
            vertex: settings.name.clone(),
            partition,
            messages,
            obstacle: obstacle.clone(),
        }));
    }
    all
}

/// What keeps a vertex from working on what it has.
fn obstacle(
    settings: &VertexSettings,
    seen: &seen::Vertex,
    memory: &Memory,
    (not_stopped, now): (bool, Time),
) -> Option<Obstacle> {
    let says = |reason, message: String| Some(Obstacle { reason, message });
    let source = settings.kind == VertexKind::Source;
    if memory.lifecycle.stage == Stage::Stopped && !not_stopped {
        return says(DrainReason::NoWorker, "workers were stopped when the grace period ended".to_owned());
    }
    let still = memory.progress.still(&settings.name, now);
    if still < STILL {
        return None;
    }
    let seconds = still.as_secs();
    if seen.workers.is_empty() && !source {
        return says(DrainReason::NoWorker, format!("there has been no worker for {seconds} s"));
    }
    let ready = seen.workers.values().any(seen::Worker::is_ready);
    let failing = seen.workers.iter().find_map(|(name, worker)| match &worker.state {
        WorkerState::Failing { reason } => Some((name.replica, worker.restarts, reason)),
        WorkerState::Starting | WorkerState::Ready | WorkerState::Stopping => None,
    });
    if let (false, Some((replica, restarts, reason))) = (ready, failing) {
        return says(
            DrainReason::WorkerCrashing,
            format!("worker {replica} fails, {restarts} restarts so far: {reason}"),
        );
    }
    if !ready && !source {
        return says(DrainReason::NoWorker, format!("no worker has been ready for {seconds} s"));
    }
    let stuck = match &seen.activity {
        Activity::Stuck { reason, .. } => Some(reason.clone()),
        Activity::Unknown | Activity::Idle | Activity::Progressing => None,
    };
    if source {
        let message = stuck.unwrap_or_else(|| format!("it has not said for {seconds} s that it stopped"));
        return not_stopped.then_some(Obstacle { reason: DrainReason::SourceNotStopped, message });
    }
    let reason = match settings.kind {
        _ if seen.in_hand == 0 => DrainReason::NothingRead,
        VertexKind::Sink => DrainReason::SinkRefusing,
        VertexKind::Source | VertexKind::Map | VertexKind::Reduce => DrainReason::UserCodeHanging,
    };
    says(reason, stuck.unwrap_or_else(|| held(settings.kind, seen.in_hand, seconds)))
}

/// That a vertex cannot write, because a partition behind it has no room.
fn full(wanted: &Wanted<'_>, seen: &Seen, from: &str) -> Option<Obstacle> {
    let edges = wanted.settings.edges.iter();
    let waits = edges.filter(|edge| edge.from == from && edge.on_full != OnFull::DiscardLatest);
    waits.into_iter().find_map(|edge| {
        let to = wanted.settings.vertices.iter().find(|vertex| vertex.name == edge.to)?;
        let pending = seen.vertices.get(&to.name)?.pending.as_ref()?;
        let room = to.limits.buffer_usable_length();
        let (partition, count) = pending.iter().enumerate().find(|(_, count)| **count >= room)?;
        let message = format!(
            "partition {partition} of vertex {} is full: {} messages wait there",
            to.name,
            thousands(*count)
        );
        Some(Obstacle { reason: DrainReason::BufferFull, message })
    })
}

fn held(kind: VertexKind, in_hand: u64, seconds: u64) -> String {
    let messages = thousands(in_hand);
    match kind {
        _ if in_hand == 0 => format!("nothing has been read for {seconds} s although a worker is ready"),
        VertexKind::Sink => format!("the sink has not taken the {messages} messages in hand for {seconds} s"),
        VertexKind::Source | VertexKind::Map | VertexKind::Reduce => {
            format!("user code has had {messages} messages in hand for {seconds} s")
        }
    }
}
