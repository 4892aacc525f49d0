//! What one worker has done since it began, to be looked at often: cumulative counters that are this worker's alone. The
//! metric families go by replica number, which two workers may share while one takes over from the other. Invariant:
//! every figure only grows, so that whoever looks twice may take the difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

/// Each doubling of a latency is divided into so many buckets, so that a quantile is wrong by at most a quarter.
const STEPS: usize = 4;
/// Doublings of one microsecond that are told apart: the longest is more than an hour.
const DOUBLINGS: usize = 32;
const BUCKETS: usize = STEPS * DOUBLINGS;

/// A counter of a family with what this worker adds to it.
#[derive(Clone, Debug)]
pub struct Tally {
    family: Counter,
    own: Arc<AtomicU64>,
}

impl Tally {
    pub(crate) fn of(family: Counter) -> Self {
        Self { family, own: Arc::default() }
    }

    /// The same counter of the family, with nothing added by this worker yet.
    pub(crate) fn afresh(&self) -> Self {
        Self::of(self.family.clone())
    }

    /// Adds one.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds so many.
    pub fn inc_by(&self, more: u64) {
        self.family.inc_by(more);
        self.own.fetch_add(more, Ordering::Relaxed);
    }

    /// What everybody with these labels has added.
    pub fn get(&self) -> u64 {
        self.family.get()
    }

    pub(crate) fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }
}

/// How long batches took.
#[derive(Debug)]
pub(crate) struct Latencies {
    nanos: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { nanos: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Latencies {
    pub(crate) fn observe(&self, latency: Duration) {
        self.nanos.fetch_add(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.buckets[bucket(latency)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Latency {
        // The sum first: it may lack what the buckets have, never the other way round.
        let nanos = self.nanos.load(Ordering::Relaxed);
        Latency { nanos, buckets: self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect() }
    }
}

/// The bucket of a latency: by the position of the highest bit of its microseconds, and the two bits behind it.
fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2();
    let step =
        if doubling >= 2 { micros >> (doubling - 2) } else { micros << (2 - doubling) } as usize - STEPS;
    (doubling as usize * STEPS + step).min(BUCKETS - 1)
}

/// The smallest latency beyond a bucket.
fn end_of(bucket: usize) -> Duration {
    let quarter = Duration::from_micros(1 << (bucket / STEPS)) / STEPS as u32;
    quarter * (STEPS + bucket % STEPS + 1) as u32
}

/// How long batches took, from being read to being committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// All latencies together, in nanoseconds.
    pub nanos: u64,
    /// How many batches fell into each bucket.
    buckets: Vec<u64>,
}

impl Latency {
    pub(crate) fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// A latency as another process counted it; buckets beyond those known here count in the last.
    pub(crate) fn from_parts(nanos: u64, mut buckets: Vec<u64>) -> Self {
        let beyond: u64 = buckets.iter().skip(BUCKETS).sum();
        buckets.truncate(BUCKETS);
        if let Some(last) = buckets.last_mut() {
            *last += beyond;
        }
        Self { nanos, buckets }
    }

    /// How many batches.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The latency that this share of all batches (0 to 1) kept below, at most a quarter too long; none without
    /// batches.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        let at = self.buckets.iter().position(|bucket| {
            below += bucket;
            below >= rank
        })?;
        Some(end_of(at))
    }

    /// What came since `earlier`, a look at the same worker.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets = self.buckets.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        Self { nanos: self.nanos.saturating_sub(earlier.nanos), buckets: buckets.collect() }
    }

    /// Both together, for several workers.
    pub fn and(&self, other: &Self) -> Self {
        let (longer, shorter) =
            if self.buckets.len() < other.buckets.len() { (other, self) } else { (self, other) };
        let more = shorter.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets = longer.buckets.iter().zip(more).map(|(one, other)| one + other).collect();
        Self { nanos: self.nanos.saturating_add(other.nanos), buckets }
    }
}

/// A look at the counters of one worker. Messages, unless a name says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Frames read from slots.
    pub frames_read: u64,
    /// Read.
    pub read: u64,
    /// Done: what became of them is committed, and a source is about to be told. It grows in the same instant as what the
    /// commit wrote to the next vertices.
    pub done: u64,
    /// Written to the next vertices, or to the primary or the fallback sink.
    pub written: u64,
    /// Failed calls of user code.
    pub user_code_errors: u64,
    /// Failed writes: messages that a sink did not take, and commits that had to be made again.
    pub write_errors: u64,
    /// Dropped by user code.
    pub user_code_drops: u64,
    /// Sent back.
    pub nacks: u64,
    /// Dropped by us, whatever the reason.
    pub platform_drops: u64,
    /// How long batches took.
    pub latency: Latency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_ends_just_beyond_it() {
        for micros in [1, 2, 3, 4, 5, 7, 8, 100, 1_500, 33_333, 1_000_000, 59_999_999] {
            let (latency, bucket) = (Duration::from_micros(micros), bucket(Duration::from_micros(micros)));
            assert!(latency < end_of(bucket), "{micros} µs lies in bucket {bucket}");
            assert!(end_of(bucket) <= latency * 5 / 4, "{micros} µs: bucket {bucket} is not too wide");
        }
        assert_eq!(bucket(Duration::ZERO), bucket(Duration::from_micros(1)));
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_came_since() {
        let latencies = Latencies::default();
        assert_eq!(latencies.snapshot().quantile(0.5), None);
        for _ in 0..1000 {
            latencies.observe(Duration::from_secs(1));
        }
        let before = latencies.snapshot();
        for millis in 1..=100 {
            latencies.observe(Duration::from_millis(millis));
        }
        let since = latencies.snapshot().since(&before);
        assert_eq!((since.count(), since.nanos), (100, 5_050_000_000));
        let near = |share, millis: u64| {
            let found = since.quantile(share).unwrap();
            let exact = Duration::from_millis(millis);
            assert!(exact <= found && found <= exact * 5 / 4, "{share}: {found:?}");
        };
        near(0.5, 50);
        near(0.99, 99);
        near(1.0, 100);
        assert_eq!(before.and(&since), latencies.snapshot());
    }
}
