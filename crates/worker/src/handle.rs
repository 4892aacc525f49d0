//! What passes between a worker and those outside of it: orders in, reports and signals out. Nothing is decided here.
//! Invariant: orders count as followed only once everything that was claimed for them shows in the reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::{Epoch, Time, Unit};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::setup::Watermark;
use crate::signals::Signals;
use crate::unit::Gauge;

/// What a worker shall own, and whether it shall go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// The units, each with the number of this ownership.
    pub units: BTreeMap<Unit, Epoch>,
    /// Finish everything and end.
    pub stop: bool,
}

/// Orders with the number that whoever gave them knows them by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) orders: Orders,
}

/// What one unit says of itself: of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitReport {
    /// The unit.
    pub unit: Unit,
    /// The number of the ownership.
    pub epoch: Epoch,
    /// Everything before this sequence is done.
    pub sequence: u64,
    /// Messages read and not yet committed.
    pub in_hand: u64,
    /// Messages committed in this ownership.
    pub done: u64,
    /// Of a source: the largest event time, after the transformer, among messages committed in this ownership. What the
    /// transformer dropped counts; without a transformer only what was written to the next vertices does.
    pub latest: Option<Time>,
    /// Of a source: when the last read came back, if it found nothing; none once a read has found something.
    pub empty_at: Option<Time>,
    /// Of a source: how many messages wait outside, as of the last look, when it can tell.
    pub outside: Option<u64>,
    /// While nothing else is going on: of the retry unit, when the next message is due; of any unit that has used up what
    /// the rate limit gives, when there is more.
    pub rests_until: Option<Time>,
    /// How long nothing was committed.
    pub since_progress: Duration,
}

pub(crate) type Gauges = Arc<Mutex<BTreeMap<Unit, Arc<Gauge>>>>;

/// Which orders a worker has followed.
#[derive(Debug, Default)]
pub(crate) struct Following {
    followed: u64,
    /// The number of the orders that are being followed.
    number: u64,
    /// Units that are ordered and not being claimed yet: their former ownership is not finished.
    waiting: BTreeSet<Unit>,
    /// Claims under way, also for units that are not ordered any more: they may still succeed.
    claiming: BTreeSet<(Unit, Epoch)>,
}

impl Following {
    pub(crate) fn claiming(&mut self, unit: Unit, epoch: Epoch) {
        self.claiming.insert((unit, epoch));
    }

    /// A claim has succeeded, and the unit's gauge is there to be seen; or it was refused.
    pub(crate) fn resolved(&mut self, unit: Unit, epoch: Epoch) {
        self.claiming.remove(&(unit, epoch));
        self.settle();
    }

    pub(crate) fn orders(&mut self, number: u64, waiting: BTreeSet<Unit>) {
        (self.number, self.waiting) = (number, waiting);
        self.settle();
    }

    fn settle(&mut self) {
        if self.waiting.is_empty() && self.claiming.is_empty() {
            self.followed = self.number;
        }
    }
}

/// Shared between a worker and its handles.
pub(crate) type SharedFollowing = Arc<Mutex<Following>>;

pub(crate) fn lock(following: &SharedFollowing) -> MutexGuard<'_, Following> {
    following.lock().expect("nothing panics while it is noted what was followed")
}

/// What tells a worker what to own and hears from it, wherever the worker runs.
pub trait Hand: Send + Sync {
    /// Replaces the units to own by those of numbered orders, which [`Hand::followed`] then speaks of. Whether the
    /// worker shall go stays as it is.
    fn follow(&self, number: u64, units: BTreeMap<Unit, Epoch>);

    /// Tells the worker to finish everything and end.
    fn stop(&self);

    /// Tells the worker to end without finishing everything: what user code and sinks have not answered is given up, only
    /// a write that is under way is waited for, and what is done is committed. What is given up is done again by the next
    /// owner.
    fn cut(&self);

    /// The highest number of orders of which every unit was claimed or refused, and of which every unit that is not in
    /// them was released or is being finished. Whoever wants to know what the worker holds asks this first and for the
    /// report afterwards: what then is not in the report was released or refused and will not be claimed for these
    /// orders any more.
    fn followed(&self) -> u64;

    /// What each unit says that was claimed and is not released.
    fn report(&self) -> Vec<UnitReport>;

    /// What this worker has done since it began.
    fn signals(&self) -> Signals;

    /// Grows whenever something was heard of the worker; none for a worker of this process, which cannot fall silent.
    fn heard(&self) -> Option<u64>;

    /// Gives the worker the watermark of its vertex.
    fn publish(&self, watermark: Time);
}

/// Tells a worker of this process what to own and hears from it.
#[derive(Clone)]
pub struct Handle {
    pub(crate) told: watch::Sender<Told>,
    pub(crate) gauges: Gauges,
    pub(crate) following: SharedFollowing,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cut: CancellationToken,
    pub(crate) watermark: Watermark,
}

impl Handle {
    /// A handle of which nothing was asked, and where the worker hears what is.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        cut: CancellationToken,
        watermark: Watermark,
    ) -> (Self, watch::Receiver<Told>) {
        let (sender, told) = watch::channel(Told::default());
        let (gauges, following) = (Gauges::default(), SharedFollowing::default());
        (Self { told: sender, gauges, following, metrics, cut, watermark }, told)
    }

    /// Replaces the orders.
    pub fn order(&self, orders: Orders) {
        self.tell(|told| told.orders = orders);
    }

    /// Returns once the worker was told to end.
    pub async fn stopping(&self) {
        // This handle keeps the channel open.
        drop(self.told.subscribe().wait_for(|told| told.orders.stop).await);
    }

    /// The units that the worker holds, each with the number of this ownership.
    pub(crate) fn held(&self) -> Vec<(Unit, Epoch)> {
        let gauges = self.gauges.lock().expect("nothing panics while the gauges are locked");
        gauges.iter().map(|(unit, gauge)| (*unit, gauge.epoch())).collect()
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        self.told.send_if_modified(|current| {
            let before = current.clone();
            change(current);
            *current != before
        });
    }
}

impl Hand for Handle {
    fn follow(&self, number: u64, units: BTreeMap<Unit, Epoch>) {
        self.tell(|told| {
            told.number = number;
            told.orders.units = units;
        });
    }

    fn stop(&self) {
        self.tell(|told| told.orders.stop = true);
    }

    fn cut(&self) {
        self.cut.cancel();
        self.stop();
    }

    fn followed(&self) -> u64 {
        lock(&self.following).followed
    }

    fn report(&self) -> Vec<UnitReport> {
        let gauges = self.gauges.lock().expect("nothing panics while the gauges are locked");
        gauges.iter().map(|(unit, gauge)| gauge.report(*unit)).collect()
    }

    fn signals(&self) -> Signals {
        self.metrics.signals()
    }

    fn heard(&self) -> Option<u64> {
        None
    }

    fn publish(&self, watermark: Time) {
        self.watermark.publish(watermark);
    }
}
