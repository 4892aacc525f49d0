//! What a unit shows of itself while it runs. Invariant: whoever looks sees one instant, in which a read that found
//! something has both raised what is in hand and ended that the source was empty.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use model::{Epoch, Position, Time, Unit};

use crate::handle::UnitReport;
use crate::stage::now;

/// One unit under one epoch.
#[derive(Debug)]
pub(crate) struct Gauge {
    epoch: Epoch,
    shown: Mutex<Shown>,
}

/// See the fields of [`UnitReport`].
#[derive(Debug)]
struct Shown {
    sequence: u64,
    in_hand: u64,
    done: u64,
    latest: Option<Time>,
    empty_at: Option<Time>,
    outside: Option<u64>,
    rests_until: Option<Time>,
    progress: Instant,
}

impl Gauge {
    pub(crate) fn new(epoch: Epoch, position: Position) -> Self {
        let shown = Shown {
            sequence: position.sequence,
            in_hand: 0,
            done: 0,
            latest: None,
            empty_at: None,
            outside: None,
            rests_until: None,
            progress: Instant::now(),
        };
        Self { epoch, shown: Mutex::new(shown) }
    }

    /// The number of the ownership.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().expect("what a gauge counts goes up before it goes down")
    }

    /// A read came back with so many messages.
    pub(crate) fn read(&self, messages: u64) {
        let empty_at = (messages == 0).then(now);
        let mut shown = self.lock();
        shown.empty_at = empty_at;
        shown.in_hand += messages;
    }

    /// So many messages are not in hand any more, and were not committed.
    pub(crate) fn forgot(&self, messages: u64) {
        self.lock().in_hand -= messages;
    }

    /// A commit is stored, with event times up to this one.
    pub(crate) fn stored(&self, latest: Option<Time>) {
        let mut shown = self.lock();
        shown.latest = shown.latest.max(latest);
    }

    /// So many messages are done.
    pub(crate) fn progress(&self, taken: u64, position: Position) {
        let mut shown = self.lock();
        shown.in_hand -= taken;
        shown.done += taken;
        shown.sequence = position.sequence;
        shown.progress = Instant::now();
    }

    pub(crate) fn outside(&self, messages: Option<u64>) {
        self.lock().outside = messages;
    }

    pub(crate) fn rests(&self, until: Option<Time>) {
        self.lock().rests_until = until;
    }

    pub(crate) fn report(&self, unit: Unit) -> UnitReport {
        let Shown { sequence, in_hand, done, latest, empty_at, outside, rests_until, progress } =
            *self.lock();
        let since_progress = progress.elapsed();
        let epoch = self.epoch;
        UnitReport {
            unit,
            epoch,
            sequence,
            in_hand,
            done,
            latest,
            empty_at,
            outside,
            rests_until,
            since_progress,
        }
    }
}
