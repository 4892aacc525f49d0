//! What a source's units promise of the event times still to come: the largest seen less the allowed delay, and for an idle
//! unit what the idle-source settings add. Invariant: a promise never goes back.

use std::collections::BTreeSet;
use std::time::Duration;

use api::resolve::{IdleSource, Watermark};
use model::{Epoch, Time, UnitId};

use crate::keeper::Facts;
use crate::picture::{Hold, Why};
use crate::report::{Input, UnitReport};
use crate::watermark::Bound;

/// The time between steps of an idle source when the user gives none.
const STEP_INTERVAL: Duration = Duration::from_millis(100);

/// What one unit promises.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    /// Nothing it will still write is earlier, unless it is late.
    time: Option<Time>,
    /// When it was first reported.
    known: Time,
    /// The unit is idle.
    quiet: Option<Quiet>,
    /// Steps made in this idleness.
    steps: u32,
    /// The promise comes from idleness.
    idle: bool,
}

/// An idleness.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    since: Time,
    /// When the source was last asked and had nothing.
    until: Time,
    /// What the unit had done by then.
    mark: (Epoch, u64),
}

impl Promise {
    pub(crate) fn new(known: Time) -> Self {
        Self { time: None, known, quiet: None, steps: 0, idle: false }
    }

    /// Notes whether the unit is idle. Data that came and went between two reports ends an idleness too.
    pub(crate) fn hear(&mut self, report: &UnitReport) {
        let Input::Source(source) = &report.input else { return };
        let mark = (report.epoch, report.done);
        let idle = report.held && !source.stopped && report.in_hand == 0;
        let Some(until) = source.empty_at.filter(|_| idle) else {
            self.quiet = None;
            return;
        };
        let since = match self.quiet {
            Some(quiet) if quiet.mark == mark => quiet.since,
            Some(_) | None => {
                self.steps = 0;
                until
            }
        };
        self.quiet = Some(Quiet { since, until, mark });
    }

    fn see(&mut self, latest: Option<Time>, delay: Duration) {
        let promised = latest.map(|latest| before(latest, delay));
        if promised > self.time {
            self.time = promised;
            self.idle = false;
        }
    }

    /// Moves an idle unit on from `base`, the time of its vertex. Never past the moment at which the source had nothing:
    /// what happens after that is not behind what is promised.
    fn step(&mut self, idle: &IdleSource, base: Option<Time>) {
        let Some(Quiet { since, until, mark: _ }) = self.quiet else { return };
        let Some(beyond) = until.since(since).checked_sub(idle.threshold) else { return };
        let interval = if idle.step_interval.is_zero() { STEP_INTERVAL } else { idle.step_interval };
        let due =
            u32::try_from(beyond.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX).saturating_add(1);
        let steps = due.saturating_sub(self.steps);
        self.steps = due;
        let Some(base) = base else {
            if idle.init_source_delay.is_some_and(|delay| until.since(self.known) >= delay) {
                (self.time, self.idle) = (Some(until), true);
            }
            return;
        };
        let target = base.after(idle.increment_by.saturating_mul(steps)).min(until);
        if steps > 0 && Some(target) > self.time {
            (self.time, self.idle) = (Some(target), true);
        }
    }

    fn why(&self) -> Why {
        match (self.time, self.idle) {
            (None, _) => Why::NothingRead,
            (Some(_), true) => Why::Idle,
            (Some(_), false) => Why::Latest,
        }
    }
}

/// What a source vertex promises: the least of what these units do.
pub(crate) fn bound(facts: &mut Facts, units: &BTreeSet<UnitId>, settings: &Watermark) -> Option<Bound> {
    for unit in units {
        if let Some(known) = facts.units.get_mut(unit)
            && let Input::Source(source) = &known.report.input
        {
            known.promise.see(source.latest, settings.max_delay);
        }
    }
    if let Some(idle) = &settings.idle {
        let base = units.iter().filter_map(|unit| facts.units.get(unit)?.promise.time).min();
        for unit in units {
            if let Some(known) = facts.units.get_mut(unit) {
                known.promise.step(idle, base);
            }
        }
    }
    let bound = |unit: &UnitId| {
        let known = facts.units.get(unit);
        let why = known.map_or(Why::Unreported, |known| known.promise.why());
        Bound { time: known.and_then(|known| known.promise.time), hold: Hold { unit: unit.clone(), why } }
    };
    units.iter().map(bound).min()
}

fn before(time: Time, delay: Duration) -> Time {
    let delay = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX);
    Time::from_nanos(time.nanos().saturating_sub(delay))
}
