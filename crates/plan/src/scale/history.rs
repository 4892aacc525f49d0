//! What was observed of a vertex's load, and the figures that follow from a stretch of it. What to do about them is
//! not here. Invariant: a count that was missed or that fell is a gap; it never becomes throughput.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Time, seen};

/// The longest history that a rate may be taken from, and a margin.
const AGE_MAX: Duration = Duration::from_mins(11);
/// Observations kept: one a second for all of that time.
const SAMPLES_MAX: usize = 660;

/// One look at the load of a vertex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sample {
    /// When.
    pub at: Time,
    /// Workers that were ready.
    pub ready: u32,
    /// Messages done since some beginning; nothing when the look missed it. A count that belongs to the input is better
    /// than a sum over workers, which falls when one of them leaves.
    pub processed: Option<u64>,
    /// Messages that wait in each partition, in order, without those in hand; for a source what waits outside. Nothing
    /// when nobody can say.
    pub waiting: Option<Vec<u64>>,
    /// Messages that workers have read and not finished.
    pub in_hand: u64,
}

impl Sample {
    /// What a look at a vertex says about its load.
    pub fn of(vertex: &seen::Vertex, at: Time) -> Self {
        let ready = vertex.workers.values().filter(|worker| worker.is_ready()).count();
        Self {
            at,
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            processed: Some(vertex.processed),
            waiting: vertex.pending.clone(),
            in_hand: vertex.in_hand,
        }
    }

    /// All that is not done; nothing when nobody can say what waits.
    pub fn pending(&self) -> Option<u64> {
        Some(self.all_waiting()?.saturating_add(self.in_hand))
    }

    /// All that waits.
    pub(super) fn all_waiting(&self) -> Option<u64> {
        Some(self.waiting.as_ref()?.iter().fold(0, |sum, count| sum.saturating_add(*count)))
    }
}

/// Recent looks, oldest first, in a bounded number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Adds a look. One that is not later than the last one is left out, and the oldest make room.
    pub fn push(&mut self, sample: Sample) {
        if self.samples.back().is_some_and(|last| last.at >= sample.at) {
            return;
        }
        let at = sample.at;
        self.samples.push_back(sample);
        while self.samples.len() > SAMPLES_MAX
            || self.samples.front().is_some_and(|first| at.since(first.at) > AGE_MAX)
        {
            self.samples.pop_front();
        }
    }

    /// Leaves out looks from before that time.
    pub fn forget_before(&mut self, time: Time) {
        while self.samples.front().is_some_and(|first| first.at < time) {
            self.samples.pop_front();
        }
    }

    /// The latest look.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// The looks from `since` on; of these, all from the first one that has `ready` workers.
    pub(super) fn window(&self, since: Time, ready: u32) -> Window<'_> {
        let recent = self.samples.iter().skip_while(|sample| sample.at < since || sample.ready < ready);
        Window { samples: recent.collect() }
    }
}

/// A stretch of looks.
#[derive(Clone, Debug)]
pub(super) struct Window<'a> {
    samples: Vec<&'a Sample>,
}

impl Window<'_> {
    pub(super) fn span(&self) -> Duration {
        match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn start(&self) -> Option<Time> {
        self.samples.first().map(|sample| sample.at)
    }

    /// Workers that were ready, on the average over time.
    pub(super) fn ready(&self) -> f64 {
        let worked: f64 = self
            .samples
            .windows(2)
            .map(|pair| f64::from(pair[0].ready) * pair[1].at.since(pair[0].at).as_secs_f64())
            .sum();
        let span = self.span().as_secs_f64();
        if span > 0.0 { worked / span } else { 0.0 }
    }

    /// Messages per second; nothing when the count was not seen twice.
    pub(super) fn rate(&self) -> Option<f64> {
        let counts: Vec<_> =
            self.samples.iter().filter_map(|sample| Some((sample.at, sample.processed?))).collect();
        rate(&counts)
    }

    /// What is pending: the average over the looks that know, but not more than what is there at the end. A burst that
    /// is over does not count, nor does one that has only begun.
    pub(super) fn pending(&self) -> Option<u64> {
        let known: Vec<u64> = self.samples.iter().filter_map(|sample| sample.pending()).collect();
        let sum: u128 = known.iter().map(|pending| u128::from(*pending)).sum();
        let average = u64::try_from(sum.checked_div(known.len() as u128)?).ok()?;
        Some(average.min(self.samples.last()?.pending()?))
    }

    /// By how much what is pending grew per second, from the first look that knows to the last.
    pub(super) fn growth(&self) -> f64 {
        let mut known = self.samples.iter().filter_map(|sample| Some((sample.at, sample.pending()?)));
        let (Some(first), Some(last)) = (known.next(), known.next_back()) else { return 0.0 };
        let seconds = last.0.since(first.0).as_secs_f64();
        if seconds > 0.0 { (last.1 as f64 - first.1 as f64) / seconds } else { 0.0 }
    }

    /// Whether at every look so much waited that nobody had in hand.
    pub(super) fn always_waiting(&self, enough: f64) -> bool {
        let waits = |sample: &&Sample| sample.all_waiting().is_some_and(|waiting| waiting as f64 >= enough);
        !self.samples.is_empty() && self.samples.iter().all(waits)
    }

    /// Whether every look found nothing pending.
    pub(super) fn always_empty(&self) -> bool {
        !self.samples.is_empty() && self.samples.iter().all(|sample| sample.pending() == Some(0))
    }

    /// The highest rate of any stretch of about `span` within this one, for each ready worker. Stretches that differ by
    /// less than a quarter count as one.
    pub(super) fn best_per_worker(&self, span: Duration) -> f64 {
        let mut best: f64 = 0.0;
        let mut first = 0;
        let mut judged: Option<Time> = None;
        for (place, last) in self.samples.iter().enumerate() {
            while first < place && last.at.since(self.samples[first + 1].at) >= span {
                first += 1;
            }
            let is_long = last.at.since(self.samples[first].at) >= span;
            if is_long && judged.is_none_or(|judged| last.at.since(judged) >= span / 4) {
                let stretch = Window { samples: self.samples[first..=place].to_vec() };
                best = best.max(stretch.per_worker().unwrap_or(0.0));
                judged = Some(last.at);
            }
        }
        best
    }

    /// The rate for each ready worker.
    pub(super) fn per_worker(&self) -> Option<f64> {
        let (rate, ready) = (self.rate()?, self.ready());
        (ready > 0.0).then(|| rate / ready)
    }
}

/// Messages per second. A count below an earlier one that a later one reaches again was incomplete and is left out; one
/// that is never reached again began anew, and the time of that step does not count.
fn rate(counts: &[(Time, u64)]) -> Option<f64> {
    let mut highest_later = vec![0; counts.len()];
    let mut highest = 0;
    for (place, (_, count)) in counts.iter().enumerate().rev() {
        highest_later[place] = highest;
        highest = highest.max(*count);
    }
    let (mut done, mut seconds) = (0.0, 0.0);
    let mut before: Option<(Time, u64)> = None;
    for ((at, count), later) in counts.iter().zip(highest_later) {
        if let Some((then, level)) = before {
            if *count >= level {
                done += (count - level) as f64;
                seconds += at.since(then).as_secs_f64();
            } else if later >= level {
                continue;
            }
        }
        before = Some((*at, *count));
    }
    (seconds > 0.0).then(|| done / seconds)
}

#[cfg(test)]
mod tests {
    use super::{History, Sample, rate};
    use crate::Time;

    fn counts(counts: &[u64]) -> Vec<(Time, u64)> {
        counts
            .iter()
            .enumerate()
            .map(|(place, count)| (Time::from_millis(place as i64 * 1000), *count))
            .collect()
    }

    #[test]
    fn a_count_that_was_incomplete_or_began_anew_is_no_throughput() {
        let table: [(&[u64], Option<f64>); 8] = [
            (&[], None),
            (&[7], None),
            (&[0, 10, 20, 30], Some(10.0)),
            // Half of the workers were missed once.
            (&[1000, 1010, 505, 1030], Some(10.0)),
            // Missed at the end: what was before counts.
            (&[1000, 1010, 505], Some(10.0)),
            // Began anew.
            (&[1000, 1010, 0, 10, 20], Some(10.0)),
            (&[u64::MAX - 5, u64::MAX], Some(5.0)),
            (&[5, 5, 5], Some(0.0)),
        ];
        for (values, expected) in table {
            assert_eq!(rate(&counts(values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_history_is_bounded_and_in_order() {
        let mut history = History::default();
        let sample = |at: i64| Sample { at: Time::from_millis(at), ..Sample::default() };
        for at in 0..5000 {
            history.push(sample(at * 500));
            history.push(sample(0));
        }
        assert_eq!(history.samples.len(), 660);
        history.forget_before(Time::from_millis(4990 * 500));
        assert_eq!(history.samples.len(), 10);
        assert!(history.samples.iter().is_sorted_by_key(|sample| sample.at));
        history.push(sample(10_000_000));
        assert_eq!(history.samples.len(), 1);
    }
}
