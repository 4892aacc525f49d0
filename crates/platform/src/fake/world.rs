//! What is true: workers, units, messages, and what happens to them as time goes by. Nothing here knows what anybody wants.
//! Invariant: a message that was taken in is at one place, and leaves it only by a commit of the unit's owner.

use std::collections::{BTreeMap, BTreeSet};

use api::resolve::{PipelineSettings, VertexKind, VertexSettings};
use api::revision::Revision;
use plan::seen::{self, Activity, Signals, Worker, WorkerName, WorkerState};
use plan::{Book, Time};

/// Units of a vertex whose units are not bound.
const UNITS: u32 = 4;
/// Messages that a worker takes at a time.
const BATCH: u64 = 4;
/// Messages in a unit at which writers wait.
const ROOM: u64 = 60;

/// How good a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// It works.
    Good,
    /// It ends again and again before it is ready.
    Crashes,
    /// It never says that it is ready.
    NeverReady,
}

/// A worker as it is.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) state: WorkerState,
    pub(super) since: Time,
    pub(super) restarts: u32,
    /// When it becomes ready, or fails.
    pub(super) ready_at: Time,
    /// When it is gone, once it holds nothing.
    pub(super) gone_at: Option<Time>,
    /// It does not answer until then: it neither works nor lets go.
    pub(super) hangs_until: Time,
    /// The last orders it followed.
    pub(super) followed: u64,
    /// What it believes to own, with the epochs, and the messages in hand of each unit.
    pub(super) holds: BTreeMap<u32, (u64, u64)>,
}

/// A vertex as it is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) kind: VertexKind,
    pub(super) bound: bool,
    pub(super) partitions: u32,
    pub(super) to: Vec<String>,
    pub(super) workers: BTreeMap<WorkerName, Body>,
    pub(super) shares: BTreeMap<Revision, u32>,
    pub(super) specs: BTreeSet<Revision>,
    /// Messages that wait in each unit; for a source they are outside.
    pub(super) waiting: Vec<u64>,
    /// Under which epoch each unit was claimed last: whoever has a lower one is refused.
    pub(super) fence: Vec<u64>,
    pub(super) book: Book<u32, WorkerName>,
    /// Since when a unit was taken and not released.
    pub(super) taken_since: BTreeMap<u32, Time>,
    /// The last order about reading, and its number.
    pub(super) reading: (bool, u64),
    pub(super) processed: u64,
    pub(super) signals: BTreeMap<Revision, Signals>,
}

/// What is true.
#[derive(Clone, Debug)]
pub struct World {
    pub(super) now: Time,
    /// Milliseconds of a tick.
    pub(super) tick_ms: i64,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) quality: BTreeMap<Revision, Quality>,
    pub(super) sunk: u64,
    pub(super) taken_in: u64,
    /// Looks of the drain that found nothing, with what had been committed by then.
    pub(super) empty: Option<(u64, u32)>,
    pub(super) commits: u64,
    pub(super) random: fastrand::Rng,
    /// The object is gone.
    pub(super) forgotten: bool,
}

impl World {
    pub(super) fn new(settings: &PipelineSettings, random: fastrand::Rng, tick_ms: i64) -> Self {
        let mut world = Self {
            now: Time::from_millis(1_000_000),
            tick_ms,
            places: BTreeMap::new(),
            quality: BTreeMap::new(),
            sunk: 0,
            taken_in: 0,
            empty: None,
            commits: 0,
            random,
            forgotten: false,
        };
        world.reshape(settings);
        world
    }

    /// Takes over another shape. Vertices that stay keep what they have.
    pub(super) fn reshape(&mut self, settings: &PipelineSettings) {
        let mut before = std::mem::take(&mut self.places);
        for vertex in &settings.vertices {
            let to = settings
                .edges
                .iter()
                .filter(|edge| edge.from == vertex.name)
                .map(|edge| edge.to.clone())
                .collect();
            let place = Place::new(vertex, to, before.remove(&vertex.name));
            self.places.insert(vertex.name.clone(), place);
        }
        self.empty = None;
    }

    /// Messages inside: taken in and neither sunk nor dropped.
    pub(super) fn inside(&self) -> u64 {
        let of = |place: &Place| {
            let waiting: u64 = if place.kind == VertexKind::Source { 0 } else { place.waiting.iter().sum() };
            waiting + if place.kind == VertexKind::Source { 0 } else { place.in_hand() }
        };
        self.places.values().map(of).sum()
    }

    /// Whether any source could still bring something in.
    pub(super) fn is_open(&self) -> bool {
        let sources = self.places.values().filter(|place| place.kind == VertexKind::Source);
        sources
            .into_iter()
            .any(|place| place.workers.values().any(|body| !body.holds.is_empty() && place.can_commit(body)))
    }

    /// Time goes by.
    pub(super) fn tick(&mut self, supply: u64) {
        self.now = Time::from_millis(self.now.millis() + self.tick_ms);
        let names: Vec<String> = self.places.keys().cloned().collect();
        for name in &names {
            let place = self.places.get_mut(name).expect("its name was listed");
            if place.kind == VertexKind::Source && supply > 0 {
                let unit = self.random.usize(..place.waiting.len());
                place.waiting[unit] = (place.waiting[unit] + supply).min(10 * ROOM);
            }
            place.live(&self.quality, &mut self.random, (self.now, self.tick_ms));
        }
        for name in &names {
            self.work(name);
        }
        let place = |name: &String| &self.places[name];
        let stopped =
            !names.iter().any(|name| place(name).kind == VertexKind::Source && place(name).is_held());
        self.empty = match self.empty {
            _ if !stopped || self.inside() > 0 => None,
            Some((commits, looks)) if commits == self.commits => Some((commits, looks + 1)),
            Some(_) | None => Some((self.commits, 1)),
        };
    }

    /// Every worker of the vertex commits what it has in hand and takes more.
    fn work(&mut self, name: &str) {
        let place = &self.places[name];
        let to: Vec<String> = place.to.clone();
        let source = place.kind == VertexKind::Source;
        let mut steps = Vec::new();
        for (worker, body) in &place.workers {
            let works = matches!(body.state, WorkerState::Ready | WorkerState::Stopping)
                && body.hangs_until <= self.now;
            for (unit, (epoch, in_hand)) in body.holds.iter().filter(|_| works) {
                steps.push((worker.clone(), *unit, *epoch, *in_hand));
            }
        }
        for (worker, unit, epoch, in_hand) in steps {
            let valid = self.places[name].fence[unit as usize] == epoch;
            if !valid {
                // Refused: what it had is the next owner's.
                self.places
                    .get_mut(name)
                    .and_then(|place| place.workers.get_mut(&worker))
                    .expect("it works")
                    .holds
                    .remove(&unit);
                continue;
            }
            if in_hand > 0 {
                if !self.pass_on(&to, in_hand) {
                    continue;
                }
                self.commits += 1;
                if to.is_empty() {
                    self.sunk += in_hand;
                }
                if source {
                    self.taken_in += in_hand;
                }
            }
            let place = self.places.get_mut(name).expect("it is worked on");
            let wanted = place.book.orders(&worker).units.contains_key(&unit);
            let goes = place.workers[&worker].state == WorkerState::Stopping;
            let more = if wanted && !goes { place.waiting[unit as usize].min(BATCH) } else { 0 };
            place.waiting[unit as usize] -= more;
            place.processed += in_hand;
            let signals = place.signals.entry(worker.revision.clone()).or_default();
            signals.frames += u64::from(in_hand > 0);
            signals.batches += u64::from(in_hand > 0);
            (signals.read, signals.done, signals.written) =
                (signals.read + more, signals.done + in_hand, signals.written + in_hand);
            signals.latency_nanos += in_hand * 1_000_000;
            place.workers.get_mut(&worker).expect("it works").holds.insert(unit, (epoch, more));
        }
    }

    /// Writes on; false when there is no room.
    fn pass_on(&mut self, to: &[String], count: u64) -> bool {
        let full = |place: &Place| place.waiting.iter().sum::<u64>() > ROOM * place.waiting.len() as u64;
        // The second edge of a vertex leads back; only some messages take it.
        if to.first().is_some_and(|first| full(&self.places[first])) {
            return false;
        }
        for (place, share) in to.iter().zip([count, count / 4]) {
            let place = self.places.get_mut(place).expect("an edge leads to a vertex");
            let units = place.waiting.len();
            place.waiting[self.random.usize(..units)] += share;
        }
        true
    }

    /// Adds to what waits outside of every source.
    pub(super) fn supply(&mut self, count: u64) {
        for place in self.places.values_mut().filter(|place| place.kind == VertexKind::Source) {
            place.waiting[0] += count;
        }
    }

    /// Everything as a shell sees it at this moment.
    pub(super) fn look(&self) -> seen::Seen {
        let sources = || self.places.values().filter(|place| place.kind == VertexKind::Source);
        let number = sources().map(|place| place.reading.1).min().unwrap_or(0);
        let stopped = sources().all(|place| !place.reading.0 && !place.is_held());
        let left = self.places.iter().filter(|(_, place)| place.kind != VertexKind::Source).flat_map(
            |(name, place)| {
                place.by_partition().into_iter().enumerate().filter(|(_, messages)| *messages > 0).map(
                    |(partition, messages)| seen::Left {
                        vertex: name.clone(),
                        partition: partition as u32,
                        messages,
                    },
                )
            },
        );
        let drain = seen::Drain {
            sources_stopped: stopped,
            drained: stopped && self.empty.is_some_and(|(_, looks)| looks >= 2),
            left: left.collect(),
            windows_checkpointed: 0,
            cuts: Vec::new(),
            number: Some(number),
        };
        let vertices = self.places.iter().map(|(name, place)| (name.clone(), place.look())).collect();
        seen::Seen { vertices, drain: Some(drain) }
    }
}

impl Place {
    fn new(settings: &VertexSettings, to: Vec<String>, before: Option<Self>) -> Self {
        let bound = settings.ordered || settings.kind == VertexKind::Reduce;
        let units = if bound { settings.partitions } else { UNITS.max(settings.partitions) } as usize;
        let same = before.filter(|before| before.waiting.len() == units);
        if let Some(before) = same {
            return Self { to, partitions: settings.partitions, bound, ..before };
        }
        Self {
            kind: settings.kind,
            bound,
            partitions: settings.partitions,
            to,
            workers: BTreeMap::new(),
            shares: BTreeMap::new(),
            specs: BTreeSet::new(),
            waiting: vec![0; units],
            fence: vec![0; units],
            book: Book::new(0),
            taken_since: BTreeMap::new(),
            reading: (false, 0),
            processed: 0,
            signals: BTreeMap::new(),
        }
    }

    pub(super) fn in_hand(&self) -> u64 {
        let valid = |(unit, (epoch, _)): &(&u32, &(u64, u64))| self.fence[**unit as usize] == *epoch;
        self.workers
            .values()
            .flat_map(|body| body.holds.iter().filter(valid))
            .map(|(_, (_, count))| count)
            .sum()
    }

    /// Whether the worker holds a unit that nobody has taken over.
    fn can_commit(&self, body: &Body) -> bool {
        body.holds.iter().any(|(unit, (epoch, _))| self.fence[*unit as usize] == *epoch)
    }

    /// Whether any unit is in anybody's hands.
    pub(super) fn is_held(&self) -> bool {
        self.workers.values().any(|body| self.can_commit(body))
    }

    fn by_partition(&self) -> Vec<u64> {
        let mut sums = vec![0; self.partitions.max(1) as usize];
        for (unit, count) in self.waiting.iter().enumerate() {
            let held = self.workers.values().filter_map(|body| body.holds.get(&(unit as u32)));
            let held: u64 =
                held.filter(|(epoch, _)| *epoch == self.fence[unit]).map(|(_, count)| count).sum();
            let partition = unit % sums.len();
            sums[partition] += count + held;
        }
        sums
    }

    /// Workers become ready, fail, start again, and go.
    fn live(
        &mut self,
        quality: &BTreeMap<Revision, Quality>,
        random: &mut fastrand::Rng,
        (now, tick_ms): (Time, i64),
    ) {
        let mut gone = Vec::new();
        for (name, body) in &mut self.workers {
            let quality = quality.get(&name.revision).copied().unwrap_or(Quality::Good);
            match (&body.state, quality) {
                (WorkerState::Starting, Quality::Good) if now >= body.ready_at => {
                    (body.state, body.since) = (WorkerState::Ready, now);
                }
                (WorkerState::Starting, Quality::Crashes) if now >= body.ready_at => {
                    let reason = "exit code 1".to_owned();
                    (body.state, body.since) = (WorkerState::Failing { reason }, now);
                    body.restarts += 1;
                }
                (WorkerState::Failing { .. }, _) if now.since(body.since).as_millis() > 1500 => {
                    (body.state, body.since) = (WorkerState::Starting, now);
                    body.ready_at = Time::from_millis(now.millis() + random.i64(0..4) * tick_ms);
                }
                (WorkerState::Stopping, _) => {
                    let idle = body.holds.values().all(|(_, in_hand)| *in_hand == 0);
                    let over = body.gone_at.is_some_and(|at| now >= at);
                    if over && (idle || now.since(body.since).as_millis() > 4000) {
                        gone.push(name.clone());
                    }
                }
                (WorkerState::Starting | WorkerState::Ready | WorkerState::Failing { .. }, _) => {}
            }
        }
        for name in gone {
            self.lose(&name);
            self.workers.remove(&name);
        }
    }

    /// What a worker had in hand is unread again, if its units are still its own.
    pub(super) fn lose(&mut self, name: &WorkerName) {
        let Some(body) = self.workers.get_mut(name) else { return };
        for (unit, (epoch, in_hand)) in std::mem::take(&mut body.holds) {
            if self.fence[unit as usize] == epoch {
                self.waiting[unit as usize] += in_hand;
            }
        }
    }

    fn look(&self) -> seen::Vertex {
        let worker = |body: &Body| Worker {
            state: body.state.clone(),
            since: body.since,
            holds: body.holds.len() as u32,
            restarts: body.restarts,
        };
        let waits = self.waiting.iter().any(|count| *count > 0) || self.in_hand() > 0;
        let (given, taken) = (self.book.given(), self.book.taken());
        let held = |(unit, owner): (&u32, &WorkerName)| {
            self.workers.get(owner).is_some_and(|body| body.holds.contains_key(unit))
        };
        seen::Vertex {
            workers: self.workers.iter().map(|(name, body)| (name.clone(), worker(body))).collect(),
            settled: taken.is_empty() && given.iter().all(held) && given == super::keeper::target(self),
            pending: Some(self.waiting.clone()),
            in_hand: self.in_hand(),
            activity: if waits { Activity::Progressing } else { Activity::Idle },
            signals: self.signals.clone(),
            queries: BTreeMap::new(),
            processed: self.processed,
        }
    }
}
