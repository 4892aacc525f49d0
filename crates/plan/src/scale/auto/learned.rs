//! What is learned about a vertex while it is scaled: what a worker can do, and which counts were of no use. Nothing is
//! decided here. Invariant: nothing is believed for ever, since the world changes: what was of no use may be tried again
//! after [`REMEMBERED`], and what a worker can do is put to the test after that, ever less often while it is confirmed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Figures, View, Want};
use crate::Time;

/// For how long something learned is believed.
const REMEMBERED: Duration = Duration::from_hours(1);
/// More workers must bring this share of what they should bring, or they are of no use.
const GAIN_MIN: f64 = 0.2;
/// After so long without a lack of workers a test has succeeded.
const TEST: Duration = Duration::from_mins(5);
/// How often the time between tests doubles at most.
const DOUBLINGS_MAX: u32 = 4;
/// The shortest stretch, as a share of the look-back, that shows what workers can do.
const STRETCH: u32 = 4;

/// What is known about a vertex from scaling it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Learned {
    /// What a worker can do.
    pub capacity: Option<Capacity>,
    /// When one worker was taken away to see whether the others can do more, while that is being seen.
    pub test: Option<Time>,
    /// How many such tests in a row have failed.
    pub confirmed: u32,
    /// Since when one worker, and not more, could be spared.
    pub spare: Option<Time>,
    /// The last step up that is to show whether it is of use.
    pub trial: Option<Trial>,
    /// A count above which more workers did not do more.
    pub plateau: Option<Plateau>,
    /// The last step down because of a full vertex downstream.
    pub eased: Option<Eased>,
    /// When a vertex downstream was last seen full.
    pub blocked: Option<Time>,
}

/// What a worker can do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Messages per second.
    pub per_worker: f64,
    /// When that was measured, or last put to the test.
    pub at: Time,
}

/// A step up, and how things were before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// The count before.
    pub from: u32,
    /// Ready workers before, on the average.
    pub ready: f64,
    /// Messages per second before.
    pub rate: f64,
    /// When the step was made.
    pub at: Time,
}

/// A count above which more workers did not do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plateau {
    /// The count.
    pub replicas: u32,
    /// When that was seen.
    pub at: Time,
}

/// A step down because of a full vertex downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eased {
    /// The count before.
    pub from: u32,
    /// When.
    pub at: Time,
}

impl Learned {
    /// Drops what is too old.
    pub(super) fn forget(&mut self, now: Time) {
        let is_old = |at: Time| now.since(at) > REMEMBERED;
        self.capacity.take_if(|capacity| capacity.per_worker.is_nan() || capacity.per_worker <= 0.0);
        if self.test.take_if(|begun| now.since(*begun) > TEST).is_some() {
            self.confirmed = 0;
        }
        self.trial.take_if(|trial| is_old(trial.at));
        self.plateau.take_if(|plateau| is_old(plateau.at));
        self.eased.take_if(|eased| is_old(eased.at));
    }

    /// Takes in what a window shows.
    pub(super) fn learn(&mut self, view: &View<'_>, figures: &Figures<'_>, now: Time) {
        let Some(per_worker) = figures.window.per_worker().filter(|per_worker| *per_worker > 0.0) else {
            return;
        };
        let was_blocked =
            self.blocked.is_some_and(|at| figures.window.start().is_none_or(|start| at >= start));
        if figures.saturated && !was_blocked {
            self.try_out(view, figures, now);
            self.capacity = Some(Capacity { per_worker, at: now });
        } else {
            // Nobody lacks workers, so there is nothing to be learned from the last step.
            self.trial = None;
            if let Some(capacity) = self.capacity.as_mut().filter(|capacity| capacity.per_worker < per_worker)
            {
                capacity.per_worker = per_worker;
            }
        }
    }

    /// Whether it is time to see if workers can do more than is known, by taking one away.
    /// A count that changed not long ago is left alone.
    pub(super) fn is_test_due(&self, changed: Option<Time>, now: Time) -> bool {
        let wait = REMEMBERED * (1 << self.confirmed.min(DOUBLINGS_MAX));
        let is_quiet = changed.is_none_or(|changed| now.since(changed) > REMEMBERED);
        is_quiet && self.capacity.is_some_and(|capacity| now.since(capacity.at) > wait)
    }

    /// Whether workers can be spared for good. A lull is enough to spare two or more; the last one of what noise asked
    /// for goes when it could be spared all through a look-back.
    pub(super) fn is_spare(&mut self, view: &View<'_>, want: &Want, now: Time) -> bool {
        if want.replicas + 1 < view.current || self.capacity.is_none() {
            return true;
        }
        // What was spared before the last change is another matter.
        self.spare.take_if(|since| view.changed.is_some_and(|changed| *since < changed));
        let since = *self.spare.get_or_insert(now);
        now.since(since) >= view.scale().lookback
    }

    /// Notes that one worker was taken away for that.
    pub(super) fn test_begun(&mut self, now: Time) {
        self.test = Some(now);
        self.touch(now);
    }

    /// Notes that it was missed.
    pub(super) fn test_failed(&mut self, now: Time) {
        self.test = None;
        self.confirmed = self.confirmed.saturating_add(1);
        self.touch(now);
    }

    fn touch(&mut self, now: Time) {
        if let Some(capacity) = &mut self.capacity {
            capacity.at = now;
        }
    }

    /// Whether the last step up was of use.
    fn try_out(&mut self, view: &View<'_>, figures: &Figures<'_>, now: Time) {
        let Some(trial) = self.trial.filter(|trial| view.current > trial.from) else { return };
        let enough = view.scale().cooldown_up.min(view.scale().lookback) / 2;
        if figures.window.span() < enough {
            return;
        }
        self.trial = None;
        let gained = figures.rate / trial.rate - 1.0;
        let expected = figures.ready / trial.ready - 1.0;
        if expected > 0.0 && gained < expected * GAIN_MIN {
            self.plateau = Some(Plateau { replicas: trial.from, at: now });
        }
    }

    /// Notes a step up.
    pub(super) fn raised(&mut self, from: u32, figures: &Figures<'_>, now: Time) {
        let trial = Trial { from, ready: figures.ready, rate: figures.rate, at: now };
        self.trial = figures.saturated.then_some(trial);
    }

    /// Notes a step down because of a full vertex downstream.
    pub(super) fn eased(&mut self, from: u32, now: Time) {
        self.eased = Some(Eased { from, at: now });
    }

    /// What a worker does in a second when there is enough to do, as far as is known.
    pub(super) fn per_worker(&self, view: &View<'_>, figures: &Figures<'_>) -> f64 {
        let mean = figures.rate / figures.ready;
        if figures.saturated {
            return mean;
        }
        let best = figures.window.best_per_worker(view.scale().lookback / STRETCH);
        mean.max(best).max(self.capacity.map_or(0.0, |capacity| capacity.per_worker))
    }
}
