//! The broker itself: streams, leaders that are away, and consumers that are served. What it answers is what its
//! streams did; what gets lost is decided here by a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use lane::broker::{Consume, Delivery, Failure, Identity, Message, Publish, StreamName};
use tidegate_lane as lane;

use super::faults::{Fate, Faults, between, once_in};
use super::ground::Ground;
use super::stream::{Shape, Stream};

/// How often a consumer that has nothing to give says so.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);
/// How many heartbeats may be missed before a consumer is taken for dead.
pub(crate) const HEARTBEATS_MISSED_MAX: u32 = 3;
/// Messages on their way to a consumer or waiting at it, at most.
const WINDOW: usize = 64;

/// A rule of brokers that is broken on purpose, to see who notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// Everything is stored, whatever was expected.
    Fence,
    /// An expectation counts for the subject alone, whatever its filter says.
    Filter,
    /// What a consumer loses does not show in its numbers.
    Numbers,
}

/// A broker.
#[derive(Clone)]
pub(crate) struct Cluster {
    ground: Ground,
    state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    pub(crate) streams: BTreeMap<StreamName, Stream>,
    served: BTreeMap<u64, Served>,
    served_last: u64,
    rng: fastrand::Rng,
    faults: Faults,
    /// Streams without a leader, until when.
    away: BTreeMap<StreamName, Duration>,
    /// There is no space on any disk.
    no_space: bool,
    broken: BTreeSet<Broken>,
    created: i64,
}

/// A consumer as the broker sees it.
struct Served {
    consume: Consume,
    /// Up to here everything was given.
    cursor: u64,
    /// Last messages of subjects that are given first.
    first: VecDeque<u64>,
    /// What the server that serves it has seen of the stream.
    visible: u64,
    number: u64,
    /// When the last thing that was sent arrives.
    arrival: Duration,
    dead: bool,
    line: Arc<Mutex<Line>>,
}

/// What has arrived at whoever reads.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) arrived: VecDeque<Delivery>,
    on_way: usize,
    /// The number of the last message that is no longer on its way.
    pub(crate) passed: u64,
    pub(crate) cut: bool,
    pub(crate) dead: bool,
    pub(crate) heard: Duration,
    pub(crate) waker: Option<Waker>,
}

impl Line {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Cluster {
    pub(crate) fn new(ground: Ground, seed: u64, faults: Faults) -> Self {
        let state = State {
            streams: BTreeMap::new(),
            served: BTreeMap::new(),
            served_last: 0,
            rng: fastrand::Rng::with_seed(seed),
            faults,
            away: BTreeMap::new(),
            no_space: false,
            broken: BTreeSet::new(),
            created: 1,
        };
        Self { ground, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn create(&self, name: &str, shape: Shape) {
        let mut state = self.lock();
        state.created += 1;
        let identity = Identity(state.created);
        let former = state.streams.insert(name.into(), Stream::new(shape, identity));
        assert!(former.is_none(), "stream {name} was created before");
    }

    /// Another stream under the same name, with nothing in it.
    pub(crate) fn recreate(&self, name: &str) {
        let mut state = self.lock();
        state.created += 1;
        let identity = Identity(state.created);
        let stream = state.streams.get_mut(name).expect("the stream is there");
        *stream = Stream::new(stream.shape(), identity);
        state.cut_all(name);
    }

    /// The last messages of a stream are gone. Gives the last that is left.
    pub(crate) fn rewind(&self, name: &str, count: u64) -> u64 {
        let mut state = self.lock();
        let stream = state.streams.get_mut(name).expect("the stream is there");
        let last = stream.state().last.saturating_sub(count);
        stream.rewind(last);
        state.cut_all(name);
        last
    }

    /// The leader of a stream is away for so long; some of its consumers go with it.
    pub(crate) fn change_leader(&self, name: &str, lasts: Duration) {
        let until = self.ground.now() + lasts;
        let mut state = self.lock();
        state.away.insert(name.into(), until);
        if state.rng.bool() {
            state.cut_all(name);
        }
    }

    /// Whether there is space on the disks.
    pub(crate) fn set_space(&self, space: bool) {
        self.lock().no_space = !space;
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub(crate) fn break_rule(&self, broken: Broken) {
        self.lock().broken.insert(broken);
    }

    pub(crate) fn fate(&self) -> Fate {
        let mut state = self.lock();
        let faults = state.faults;
        faults.fate(&mut state.rng)
    }

    /// Whether the leader of a stream is away.
    pub(crate) fn is_away(&self, name: &str) -> bool {
        let now = self.ground.now();
        self.lock().away.get(name).is_some_and(|until| *until > now)
    }

    /// Stores, and tells those who read.
    pub(crate) fn publish(&self, publish: Publish) -> Result<u64, Failure> {
        let name = publish.stream.clone();
        let sequence = self.lock().publish(publish)?;
        self.tell(&name, sequence);
        Ok(sequence)
    }

    fn tell(&self, name: &str, sequence: u64) {
        let mut state = self.lock();
        let readers: Vec<u64> =
            state.served.iter().filter(|(_, one)| one.consume.stream == name).map(|(id, _)| *id).collect();
        let lag_max = state.faults.lag_max;
        for id in readers {
            let lag = between(&mut state.rng, lag_max);
            if lag.is_zero() {
                self.see(&mut state, id, sequence);
            } else {
                let cluster = self.clone();
                self.ground.later(lag, Box::new(move || cluster.see(&mut cluster.lock(), id, sequence)));
            }
        }
    }

    /// The server of a consumer sees the stream up to a sequence.
    fn see(&self, state: &mut State, id: u64, sequence: u64) {
        if let Some(served) = state.served.get_mut(&id) {
            served.visible = served.visible.max(sequence);
            self.serve(state, id);
        }
    }

    pub(crate) fn consume(&self, consume: Consume) -> Result<(u64, Arc<Mutex<Line>>), Failure> {
        assert!(!consume.filters.is_empty(), "a consumer has at least one filter");
        let mut state = self.lock();
        let stream =
            state.streams.get_mut(&consume.stream).ok_or(Failure::NoStream(consume.stream.clone()))?;
        let last = stream.state().last;
        let first: VecDeque<u64> = if consume.last_per_subject {
            stream.lasts(&consume.filters).into_iter().filter(|sequence| *sequence > consume.after).collect()
        } else {
            VecDeque::new()
        };
        let cursor = if consume.last_per_subject { last.max(consume.after) } else { consume.after };
        let line = Arc::new(Mutex::new(Line { heard: self.ground.now(), ..Line::default() }));
        let (lag_max, name) = (state.faults.lag_max, consume.stream.clone());
        let visible = if consume.last_per_subject || lag_max.is_zero() {
            last
        } else {
            last.saturating_sub(state.rng.u64(..4))
        };
        let arrival = Duration::ZERO;
        let served =
            Served { consume, cursor, first, visible, number: 0, arrival, dead: false, line: line.clone() };
        state.served_last += 1;
        let id = state.served_last;
        state.served.insert(id, served);
        self.serve(&mut state, id);
        let nothing = state.served.get(&id).is_some_and(|one| one.number == 0 && !one.dead);
        if nothing {
            line.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .arrived
                .push_back(Delivery::Idle { number: 0 });
        }
        drop(state);
        self.tell(&name, last);
        Ok((id, line))
    }

    /// Whoever read has gone.
    pub(crate) fn leave(&self, id: u64) {
        self.lock().served.remove(&id);
    }

    /// There is room at a reader again.
    pub(crate) fn go_on(&self, id: u64) {
        self.serve(&mut self.lock(), id);
    }

    /// Sends what there is and what there is room for.
    fn serve(&self, state: &mut State, id: u64) {
        let State { streams, served, rng, faults, broken, .. } = state;
        let Some(one) = served.get_mut(&id) else { return };
        let Some(stream) = streams.get_mut(&one.consume.stream) else { return };
        loop {
            let shared = one.line.clone();
            let mut line = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if one.dead || line.cut || line.on_way + line.arrived.len() >= WINDOW {
                return;
            }
            let Some((message, pending)) = one.next(stream) else { return };
            if once_in(rng, faults.dead) {
                one.dead = true;
                line.dead = true;
                return line.wake();
            }
            let skipped = once_in(rng, faults.skipped);
            if !(skipped && broken.contains(&Broken::Numbers)) {
                one.number += 1;
            }
            let number = one.number;
            let cut = once_in(rng, faults.cut);
            one.arrival = one.arrival.max(self.ground.now() + faults.way(rng));
            let delivery = (!skipped).then_some(Delivery::Message { number, pending, message });
            line.on_way += 1;
            drop(line);
            let ground = self.ground.clone();
            let arrive = move || {
                let mut line = shared.lock().unwrap_or_else(PoisonError::into_inner);
                line.on_way -= 1;
                if !line.cut {
                    line.arrived.extend(delivery);
                    line.passed = number;
                    line.cut = cut;
                    line.heard = ground.now();
                    line.wake();
                }
            };
            self.ground.later(one.arrival.saturating_sub(self.ground.now()), Box::new(arrive));
        }
    }
}

impl Served {
    /// The next message to give, and how many wait after it.
    fn next(&mut self, stream: &mut Stream) -> Option<(Message, u64)> {
        let filters = &self.consume.filters;
        let rest = |stream: &mut Stream, cursor: u64, visible: u64| {
            stream.count_after(filters, cursor) - stream.count_after(filters, visible.max(cursor))
        };
        while let Some(sequence) = self.first.pop_front() {
            if let Some(message) = stream.get(sequence).cloned() {
                let pending = self.first.len() as u64 + rest(stream, self.cursor, self.visible);
                return Some((self.dress(message), pending));
            }
        }
        let message = stream.next_after(filters, self.cursor)?.clone();
        if message.sequence > self.visible {
            return None;
        }
        self.cursor = message.sequence;
        let pending = rest(stream, self.cursor, self.visible);
        Some((self.dress(message), pending))
    }

    fn dress(&self, message: Message) -> Message {
        if self.consume.headers_only { Message { payload: Bytes::new(), ..message } } else { message }
    }
}

impl State {
    fn cut_all(&mut self, name: &str) {
        for one in self.served.values().filter(|one| one.consume.stream == name) {
            let mut line = one.line.lock().unwrap_or_else(PoisonError::into_inner);
            line.cut = true;
            line.wake();
        }
    }

    fn publish(&mut self, mut publish: Publish) -> Result<u64, Failure> {
        let Self { streams, rng, no_space, broken, .. } = self;
        let stream =
            streams.get_mut(&publish.stream).ok_or_else(|| Failure::NoStream(publish.stream.clone()))?;
        if broken.contains(&Broken::Filter)
            && let Some(expect) = &mut publish.expect
            && stream.last_under(&expect.filter).is_none_or(|last| last.subject != publish.subject)
        {
            publish.expect = None;
        }
        let refused = !broken.contains(&Broken::Fence) && !stream.as_expected(&publish);
        let full = *no_space || !stream.has_room(&publish);
        match (refused, full) {
            (true, true) => Err(if rng.bool() { Failure::Refused } else { Failure::Full }),
            (true, false) => Err(Failure::Refused),
            (false, true) => Err(Failure::Full),
            (false, false) => Ok(stream.store(publish)),
        }
    }
}
