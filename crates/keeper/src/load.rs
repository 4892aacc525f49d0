//! What a vertex does and has before it, from counters and counts that were looked at now and then: rates and pending
//! over the last minutes. Where the looks come from is the caller's. Pure: it is told what time it is.
//!
//! Invariant: what was not seen is a gap and never throughput. A counter that is seen for the first time has done nothing
//! yet, whatever it shows; one that fell began anew; one that a look misses is taken to have gone on as before, until it
//! was missed for so long that its owner is gone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::Time;

/// How often to look. Looks that come sooner after one another are left out.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long looks are remembered.
pub const REMEMBERED: Duration = Duration::from_mins(30);
/// The longest time that the default window grows to.
pub const DEFAULT_MAX: Duration = Duration::from_mins(10);
/// Who is missed for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(16);
/// How much earlier than [`LOOK_EVERY`] a look may come, because timers are not exact.
const EARLY: Duration = Duration::from_millis(500);
/// The times that figures are given for, beside the default.
const WINDOWS: [(&str, Duration); 3] =
    [("1m", Duration::from_mins(1)), ("5m", Duration::from_mins(5)), ("15m", Duration::from_mins(15))];

/// One look at a vertex. A look that failed altogether is none: one at which nobody answers is of a vertex without workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Messages read since some beginning, by who says it, such as a pod, and by partition. Who did not answer is left
    /// out.
    pub counters: BTreeMap<(String, u32), u64>,
    /// Messages that are not done, by partition; none when the source cannot tell. A partition that nobody looked at is
    /// left out.
    pub pending: BTreeMap<u32, Option<u64>>,
}

/// What is pending over a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// The average over the looks that know.
    Known(u64),
    /// Everybody who was asked could not tell.
    Untold,
    /// Nobody was asked.
    Unseen,
}

/// The figures of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Messages per second; none until there are two looks in the window.
    pub rate: Option<f64>,
    /// Messages that are not done.
    pub pending: Pending,
}

/// The load of one partition of a vertex, by window: `default`, `1m`, `5m` and `15m`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// The figures.
    pub windows: BTreeMap<&'static str, Figures>,
}

/// The latest looks at one vertex.
#[derive(Clone, Debug)]
pub struct Loads {
    /// What the default window is when nothing is slow.
    lookback: Duration,
    /// Those to give figures of.
    partitions: u32,
    looks: VecDeque<Time>,
    /// Bounded by the looks remembered; one for each worker and partition of that time.
    counters: BTreeMap<(String, u32), VecDeque<(Time, u64)>>,
    pending: BTreeMap<u32, VecDeque<(Time, Option<u64>)>>,
}

impl Loads {
    /// Nothing was looked at yet. A vertex without partitions, as a source, has one.
    pub fn new(partitions: u32, lookback: Duration) -> Self {
        Self {
            lookback: lookback.min(DEFAULT_MAX),
            partitions: partitions.max(1),
            looks: VecDeque::new(),
            counters: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Takes in a look. One that comes too soon after the last is left out, so that memory is bounded. Gives whether it
    /// was taken.
    pub fn see(&mut self, now: Time, look: Look) -> bool {
        let soonest = LOOK_EVERY.saturating_sub(EARLY);
        if self.looks.back().is_some_and(|last| now < last.after(soonest)) {
            return false;
        }
        self.looks.push_back(now);
        for (who, count) in look.counters {
            self.counters.entry(who).or_default().push_back((now, count));
        }
        for (partition, pending) in look.pending {
            self.pending.entry(partition).or_default().push_back((now, pending));
        }
        self.forget(now);
        true
    }

    /// The load of each partition, in order.
    pub fn partitions(&self, now: Time) -> Vec<Load> {
        let default = ("default", self.default_window(now));
        let windows: Vec<_> = WINDOWS.into_iter().chain([default]).collect();
        let load = |partition| Load {
            windows: windows
                .iter()
                .map(|(name, window)| (*name, self.figures(partition, *window, now)))
                .collect(),
        };
        (0..self.partitions).map(load).collect()
    }

    /// The window called `default`: as long as the user said, and longer when the work is so slow that nothing was done
    /// for a longer time while something was pending.
    pub fn default_window(&self, now: Time) -> Duration {
        let minute = Duration::from_mins(1).as_nanos();
        let partitions = 0..self.partitions;
        let slowest =
            partitions.filter_map(|partition| self.slowest(partition, now)).max().unwrap_or_default();
        let whole = u64::try_from(slowest.as_nanos().div_ceil(minute)).unwrap_or(u64::MAX);
        Duration::from_secs(whole.saturating_mul(60)).clamp(self.lookback, DEFAULT_MAX)
    }

    fn figures(&self, partition: u32, window: Duration, now: Time) -> Figures {
        Figures { rate: self.rate(partition, window, now), pending: self.pending(partition, window, now) }
    }

    fn rate(&self, partition: u32, window: Duration, now: Time) -> Option<f64> {
        let mut recent = self.looks.iter().copied().filter(|at| now.since(*at) <= window && *at <= now);
        let (first, last) = (recent.next()?, recent.next_back()?);
        let counters = self.counters.iter().filter(|((_, of), _)| *of == partition);
        Some(counters.filter_map(|(_, points)| rate_of(points, first, last)).sum())
    }

    fn pending(&self, partition: u32, window: Duration, now: Time) -> Pending {
        let all = self.pending.get(&partition).into_iter().flatten();
        let recent: Vec<Option<u64>> = all
            .filter(|(at, _)| now.since(*at) <= window && *at <= now)
            .map(|(_, pending)| *pending)
            .collect();
        if recent.is_empty() {
            return Pending::Unseen;
        }
        let known: Vec<u128> = recent.iter().flatten().map(|count| u128::from(*count)).collect();
        match known.iter().sum::<u128>().checked_div(known.len() as u128) {
            Some(average) => Pending::Known(u64::try_from(average).unwrap_or(u64::MAX)),
            None => Pending::Untold,
        }
    }

    /// The longest time between two looks at which the partition had got on, with something pending all the while.
    fn slowest(&self, partition: u32, now: Time) -> Option<Duration> {
        let counters: Vec<_> = self.counters.iter().filter(|((_, of), _)| *of == partition).collect();
        let mut moved: Vec<Time> = Vec::new();
        for (_, points) in counters {
            let steps = points.iter().zip(points.iter().skip(1));
            moved.extend(steps.filter(|(before, after)| before.1 != after.1).map(|(_, after)| after.0));
        }
        moved.sort_unstable();
        let empty: Vec<Time> = self
            .pending
            .get(&partition)
            .into_iter()
            .flatten()
            .filter(|(_, pending)| *pending == Some(0))
            .map(|(at, _)| *at)
            .collect();
        let pairs = moved.windows(2).filter(|pair| pair[1] <= now);
        let busy = pairs.filter(|pair| !empty.iter().any(|at| pair[0] <= *at && *at <= pair[1]));
        busy.map(|pair| pair[1].since(pair[0])).max()
    }

    fn forget(&mut self, now: Time) {
        let is_old = |at: Time| now.since(at) > REMEMBERED;
        while self.looks.front().is_some_and(|at| is_old(*at)) {
            self.looks.pop_front();
        }
        for points in self.counters.values_mut() {
            while points.front().is_some_and(|(at, _)| is_old(*at)) {
                points.pop_front();
            }
        }
        for points in self.pending.values_mut() {
            while points.front().is_some_and(|(at, _)| is_old(*at)) {
                points.pop_front();
            }
        }
        self.counters.retain(|_, points| !points.is_empty());
        self.pending.retain(|_, points| !points.is_empty());
    }
}

/// What one counter did per second between two looks; none when it was not seen twice.
fn rate_of(points: &VecDeque<(Time, u64)>, first: Time, last: Time) -> Option<f64> {
    let within: Vec<(Time, u64)> =
        points.iter().copied().filter(|(at, _)| first <= *at && *at <= last).collect();
    let (begin, end) = (within.first()?.0, within.last()?.0);
    let done: u64 = within
        .windows(2)
        .map(|pair| if pair[1].1 >= pair[0].1 { pair[1].1 - pair[0].1 } else { pair[1].1 })
        .fold(0, u64::saturating_add);
    // Time in which it was there and was missed counts for nothing; time in which it was not there is time without work.
    let was_missed = points.front().is_some_and(|(at, _)| *at < first) && begin.since(first) < GONE_AFTER;
    let from = if was_missed { begin } else { first };
    let until = if last.since(end) < GONE_AFTER { end } else { last };
    let seconds = until.since(from).as_secs_f64();
    (within.len() > 1 && seconds > 0.0).then(|| done as f64 / seconds)
}

#[cfg(test)]
mod tests;
