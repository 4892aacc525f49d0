//! Keeps a worker within its part of a rate: how many messages its units may begin, and who of them may.
//!
//! Units ask before they begin and wait for the next second when there is nothing left. Which part of the rate the worker
//! has is found out in the background, at a store that all workers of the vertex sit at. Invariant: nothing here waits for
//! the store: while it is silent the worker goes on with the part it had.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Time;
use tokio::sync::Notify;
use tokio::time::Instant;

mod bucket;
mod seat;

pub use bucket::{Mode, Rate};
pub(crate) use seat::Seat;

use bucket::{Bucket, Part};

/// The clock of seconds: the wall clock as it was at the beginning, and from then on one that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Duration,
    since: Instant,
}

impl Clock {
    /// A clock that starts with the time of the wall clock.
    pub fn start() -> Self {
        Self::start_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }

    /// A clock that starts so long after the beginning of 1970.
    pub fn start_at(began: Duration) -> Self {
        Self { began, since: Instant::now() }
    }

    /// How long after the beginning of 1970 it is.
    pub fn now(&self) -> Duration {
        self.began + self.since.elapsed()
    }

    fn second(&self) -> u64 {
        self.now().as_secs()
    }

    /// When the next second begins.
    fn next(&self) -> Duration {
        Duration::from_secs(self.second() + 1)
    }

    /// The moment that is so long after the beginning of 1970; one before the start counts as the start.
    pub fn at(&self, time: Duration) -> Instant {
        self.since + time.saturating_sub(self.began)
    }
}

/// What all units of a worker may begin together. Clones are the same throttle.
#[derive(Clone, Debug)]
pub(crate) struct Throttle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Something may have changed that units wait for.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    bucket: Bucket,
    /// The worker's part, and the second from which it has one; none before it has heard of the others.
    part: Option<(Part, u64)>,
    /// Units that were refused and have not begun anything since, with the number of their first refusal.
    waiting: BTreeMap<u64, u64>,
    /// The last number that was given to a unit.
    units: u64,
    /// The last number that was given to a refusal.
    refusals: u64,
}

impl Throttle {
    /// A throttle that lets nothing begin before it is given a part.
    pub(crate) fn new(rate: Rate, clock: Clock) -> Self {
        let state =
            State { bucket: Bucket::new(rate), part: None, waiting: BTreeMap::new(), units: 0, refusals: 0 };
        Self(Arc::new(Shared { clock, state: Mutex::new(state), changed: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nothing panics while messages are counted")
    }

    /// A gate for one more unit.
    pub(crate) fn gate(&self) -> Gate {
        let mut state = self.state();
        state.units += 1;
        Gate { throttle: self.clone(), unit: state.units }
    }

    /// Begins where a former worker had got to.
    fn resume(&self, reached: u64) {
        let mut state = self.state();
        state.bucket.resume(reached);
    }

    /// How far up its ramp the rate is.
    fn reached(&self) -> u64 {
        self.state().bucket.reached()
    }

    fn is_open(&self) -> bool {
        self.state().part.is_some()
    }

    /// Changes the worker's part, or gives it its first one, from the next or from this second on.
    fn give(&self, part: Part, begin: Begin) {
        let second = self.0.clock.second();
        {
            let mut state = self.state();
            let from = match (state.part, begin) {
                (Some((_, from)), _) => from,
                (None, Begin::AtOnce) => second,
                (None, Begin::NextSecond) => second + 1,
            };
            if state.part == Some((part, from)) {
                return;
            }
            state.part = Some((part, from));
        }
        self.0.changed.notify_waiters();
    }
}

/// From when on a worker has its first part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// There is nobody else.
    AtOnce,
    /// The others have taken all of this second.
    NextSecond,
}

impl State {
    /// How many messages may begin in this second over all units.
    fn left(&mut self, second: u64) -> u64 {
        match self.part {
            Some((part, from)) if second >= from => self.bucket.demand(second, part),
            Some(_) | None => 0,
        }
    }

    /// How many of `left` messages a unit may begin: those who wait come first, in the order in which they were refused,
    /// and get about as many each.
    fn turn(&self, unit: u64, left: u64) -> u64 {
        let refused = self.waiting.get(&unit);
        let before = match refused {
            Some(own) => self.waiting.values().filter(|other| *other < own).count(),
            None => self.waiting.len(),
        } as u64;
        if before >= left {
            return 0;
        }
        let all = self.waiting.len() as u64 + u64::from(refused.is_none());
        left.div_ceil(all)
    }
}

/// A unit's way through a throttle. When it is dropped the unit waits no more.
#[derive(Debug)]
pub(crate) struct Gate {
    throttle: Throttle,
    unit: u64,
}

impl Gate {
    /// How many messages, at most `wanted`, may begin at this moment. Whoever is refused waits in line from then on, until
    /// it begins something or leaves the line.
    pub(crate) fn may(&self, wanted: usize) -> usize {
        let second = self.throttle.0.clock.second();
        let mut state = self.throttle.state();
        let left = state.left(second);
        let may = usize::try_from(state.turn(self.unit, left)).unwrap_or(usize::MAX).min(wanted);
        if may == 0 && wanted > 0 && !state.waiting.contains_key(&self.unit) {
            state.refusals += 1;
            let refusal = state.refusals;
            state.waiting.insert(self.unit, refusal);
        }
        may
    }

    /// So many messages begin.
    pub(crate) fn begin(&self, messages: u64) {
        let mut state = self.throttle.state();
        state.bucket.take(messages);
        if messages > 0 {
            state.waiting.remove(&self.unit);
        }
    }

    /// The unit wants nothing any more.
    pub(crate) fn leave(&self) {
        self.throttle.state().waiting.remove(&self.unit);
    }

    /// Returns when more may begin than at the last question: at the latest when the next second begins.
    pub(crate) async fn more(&self) {
        let Shared { clock, changed, state: _ } = &*self.throttle.0;
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep_until(clock.at(clock.next())) => {}
        }
    }

    /// When more may begin, for those who wonder why nothing does.
    pub(crate) fn rests_until(&self) -> Time {
        let next = self.throttle.0.clock.next();
        Time::from_nanos(i64::try_from(next.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
