//! One replica of a vertex: it runs the units it is ordered to own, and nothing else.
//!
//! Orders say the whole truth each time. A unit that is not in them finishes and is released; one that comes new is
//! claimed and started; a unit that turns out to belong to somebody else is let go until it is ordered again under a
//! higher epoch.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::door::buffer::{Bounds, Buffer, Claim, Claimed, Committer, Reader};
use model::door::source::{Memory, Opened};
use model::door::{Class, Error};
use model::{Epoch, Incarnation, Name, Position, Progress, Slot, Topology, Unit, UnitId};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::backoff::Patience;
use crate::budget::Budget;
use crate::desk::Desk;
use crate::inlet::Inlet;
use crate::metrics::Metrics;
use crate::retry::RetryLoop;
use crate::route::Spread;
use crate::setup::{Edge, Input, Limits, Out, Setup, Watermark};
use crate::stage::{Return, Stage};
use crate::tail::Tail;
use crate::unit::{End, Gauge, UnitLoop};

/// What a worker shall own, and whether it shall go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// The units, each with the number of this ownership.
    pub units: BTreeMap<Unit, Epoch>,
    /// Finish everything and end.
    pub stop: bool,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its source has nothing more to give, and everything it gave is committed.
    Exhausted,
}

/// What one unit says of itself.
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
    /// The last read found nothing (sources).
    pub empty: bool,
    /// How long nothing was committed.
    pub since_progress: Duration,
}

type Gauges = Arc<Mutex<BTreeMap<Unit, Arc<Gauge>>>>;

/// Tells a worker what to own and hears from it.
#[derive(Clone)]
pub struct Handle {
    orders: watch::Sender<Orders>,
    gauges: Gauges,
}

impl Handle {
    /// Replaces the orders.
    pub fn order(&self, orders: Orders) {
        self.orders.send_if_modified(|current| {
            let changed = *current != orders;
            *current = orders;
            changed
        });
    }

    /// Tells the worker to finish everything and end.
    pub fn stop(&self) {
        self.orders.send_modify(|orders| orders.stop = true);
    }

    /// What each running unit says.
    pub fn report(&self) -> Vec<UnitReport> {
        let gauges = self.gauges.lock().expect("nothing panics while the gauges are locked");
        let report = |(unit, gauge): (&Unit, &Arc<Gauge>)| UnitReport {
            unit: *unit,
            epoch: gauge.epoch,
            sequence: gauge.sequence.load(Ordering::Relaxed),
            in_hand: gauge.in_hand.load(Ordering::Relaxed),
            done: gauge.done.load(Ordering::Relaxed),
            empty: gauge.empty.load(Ordering::Relaxed),
            since_progress: gauge.since_progress(),
        };
        gauges.iter().map(report).collect()
    }
}

/// One replica, ready to run.
pub struct Worker {
    setup: Arc<Shared>,
    desk: Option<Desk>,
    orders: watch::Receiver<Orders>,
}

/// What all units of a worker have in common.
struct Shared {
    vertex: Name,
    replica: u16,
    incarnation: Incarnation,
    buffer: Option<Arc<dyn Buffer>>,
    /// A source is read once in the life of a worker.
    source: Mutex<Option<Opened>>,
    topology: Option<Topology>,
    edges: Arc<[Edge]>,
    limits: Limits,
    watermark: Watermark,
    metrics: Arc<Metrics>,
    stage: Arc<Stage>,
    gauges: Gauges,
    budget: Budget,
}

struct Owned {
    epoch: Epoch,
    finish: CancellationToken,
}

type Units = JoinSet<(Unit, Result<End, Error>)>;

/// A buffer of any kind takes frames of this size; used where there is none.
const NO_BUFFER: Bounds = Bounds { frame_bytes_max: 512 * 1024, commit_bytes_max: 4 * 1024 * 1024 };

impl Worker {
    /// A worker and the handle to it. It owns nothing until it is ordered to.
    pub fn new(setup: Setup) -> (Self, Handle) {
        let Setup {
            vertex,
            replica,
            incarnation,
            input,
            transform,
            map,
            output,
            buffer,
            limits,
            redelivery,
            watermark,
            metrics,
        } = setup;
        let (edges, desk) = match output {
            Out::Edges(edges) => (edges.into(), None),
            Out::Sinks(sinks) => {
                let desk = Desk::new(sinks, limits.batch_messages, watermark.clone(), metrics.clone());
                (Arc::from([]), Some(desk))
            }
        };
        let (source, topology) = match input {
            Input::Source(opened) => (Some(opened), None),
            Input::Slots(topology) => (None, Some(topology)),
        };
        let returns = match &source {
            // One slot in a partition says that its order is kept: what is tried again holds what is behind it.
            None if topology.is_some_and(|topology| topology.slots_per_partition == 1) => Return::InPlace,
            None => Return::Slot,
            Some(opened) if opened.memory == Memory::Position => Return::InPlace,
            Some(_) => Return::Source,
        };
        let (desk, window) =
            desk.map_or((None, None), |(desk, handle, bypass)| (Some(desk), Some((handle, bypass))));
        let stage = Arc::new(Stage {
            transform,
            map,
            desk: window,
            returns,
            redelivery,
            watermark: watermark.clone(),
            metrics: metrics.clone(),
            in_flight: Arc::new(Semaphore::new(limits.in_flight_messages)),
            in_flight_max: limits.in_flight_messages,
        });
        let (sender, orders) = watch::channel(Orders::default());
        let gauges = Gauges::default();
        let handle = Handle { orders: sender, gauges: gauges.clone() };
        let edges: Arc<[Edge]> = edges;
        let source = Mutex::new(source);
        let setup = Arc::new(Shared {
            vertex,
            replica,
            incarnation,
            buffer,
            source,
            topology,
            edges,
            limits,
            watermark,
            metrics,
            stage,
            gauges,
            budget: Budget::default(),
        });
        (Self { setup, desk, orders }, handle)
    }

    /// Runs until told to stop, until nobody is left who could tell it to, until the source has ended, or until
    /// something fails for good. Dropping the future stops at once; what is not committed is done again by the next
    /// owner.
    pub async fn run(self) -> Result<Ended, Error> {
        let Self { setup, desk, mut orders } = self;
        let mut desk_task = JoinSet::new();
        if let Some(desk) = desk {
            desk_task.spawn(desk.run());
        }
        let mut crew = Crew { setup, owned: BTreeMap::new(), lost: BTreeMap::new(), units: Units::new() };
        let mut current = orders.borrow_and_update().clone();
        let ended = loop {
            crew.follow(&current);
            if current.stop && crew.units.is_empty() {
                break Ended::Stopped;
            }
            tokio::select! {
                changed = orders.changed(), if !current.stop => match changed {
                    Ok(()) => current.clone_from(&orders.borrow_and_update()),
                    Err(_) => current.stop = true,
                },
                Some(joined) = crew.units.join_next(), if !crew.units.is_empty() => match crew.ended(joined) {
                    Ok(Some(ended)) => break ended,
                    Ok(None) => {}
                    // When the sink has failed, units only know that it is gone.
                    Err(error) => return Err(first_of(&mut desk_task, error)),
                },
                Some(joined) = desk_task.join_next(), if !desk_task.is_empty() => {
                    joined.map_err(|error| panicked(&error))??;
                    return Err(Error::new(Class::Fatal, "keep the sink open: it has stopped by itself"));
                }
            }
        };
        drop(crew);
        while let Some(joined) = desk_task.join_next().await {
            joined.map_err(|error| panicked(&error))??;
        }
        Ok(ended)
    }
}

/// The error of the sink if it has one, and this one otherwise.
fn first_of(desk: &mut JoinSet<Result<(), Error>>, error: Error) -> Error {
    match desk.try_join_next() {
        Some(Ok(Err(cause))) => cause,
        Some(Err(cause)) => panicked(&cause),
        Some(Ok(Ok(()))) | None => error,
    }
}

/// The units that run.
struct Crew {
    setup: Arc<Shared>,
    owned: BTreeMap<Unit, Owned>,
    /// Units that turned out to belong to somebody else, with the number of the last ownership.
    lost: BTreeMap<Unit, Epoch>,
    units: Units,
}

impl Crew {
    /// Brings what runs in line with the orders.
    fn follow(&mut self, orders: &Orders) {
        for (unit, owned) in &self.owned {
            if orders.stop || orders.units.get(unit) != Some(&owned.epoch) {
                owned.finish.cancel();
            }
        }
        if orders.stop {
            return;
        }
        for (unit, epoch) in &orders.units {
            let refused = self.lost.get(unit).is_some_and(|last| last >= epoch);
            if self.owned.contains_key(unit) || refused {
                continue;
            }
            let (unit, epoch, finish) = (*unit, *epoch, CancellationToken::new());
            self.owned.insert(unit, Owned { epoch, finish: finish.clone() });
            let setup = self.setup.clone();
            self.units.spawn(async move { (unit, setup.run(unit, epoch, finish).await) });
        }
    }

    /// Notes that a unit has ended; says so when the worker has.
    fn ended(
        &mut self,
        joined: Result<(Unit, Result<End, Error>), JoinError>,
    ) -> Result<Option<Ended>, Error> {
        let (unit, end) = joined.map_err(|error| panicked(&error))?;
        let owned = self.owned.remove(&unit);
        self.setup.gauges.lock().expect("nothing panics while the gauges are locked").remove(&unit);
        let vertex = &self.setup.vertex;
        match end? {
            End::Released => debug!(%vertex, ?unit, "unit released"),
            End::Exhausted => return Ok(Some(Ended::Exhausted)),
            End::Lost => {
                info!(%vertex, ?unit, "unit has another owner");
                self.lost.insert(unit, owned.map_or(Epoch(0), |owned| owned.epoch));
            }
        }
        Ok(None)
    }
}

impl Shared {
    /// Claims a unit and runs it to its end.
    async fn run(self: Arc<Self>, unit: Unit, epoch: Epoch, finish: CancellationToken) -> Result<End, Error> {
        let id = UnitId { vertex: self.vertex.clone(), unit };
        let (progress, reader, committer, bounds) = match self.claim(&id, epoch).await {
            Ok(claimed) => claimed,
            Err(error) if error.class() == Class::Lost => return Ok(End::Lost),
            Err(error) => return Err(error),
        };
        let gauge = Arc::new(Gauge::new(epoch, progress.position));
        self.gauges.lock().expect("nothing panics while the gauges are locked").insert(unit, gauge.clone());
        let mut tail = Box::new(Tail {
            unit: id,
            committer,
            answers: None,
            memory: None,
            edges: self.edges.clone(),
            spread: Spread::rotate(self.edges.len(), u64::from(self.replica)),
            bounds,
            watermark: self.watermark.clone(),
            metrics: self.metrics.clone(),
            committed: progress.position,
        });
        let (stage, metrics) = (self.stage.clone(), self.metrics.clone());
        let inlet = match (unit, reader) {
            (Unit::Source(_), None) => self.open_source(&mut tail, progress.position).await?,
            (Unit::Slot(Slot::RETRY), Some(reader)) => {
                drop(self);
                return RetryLoop { reader, progress, stage, tail, metrics, gauge, finish }.run().await;
            }
            (Unit::Slot(slot), Some(reader)) => {
                let topology = self.topology.ok_or_else(|| wrong_unit(unit))?;
                tail.spread = Spread::Own(topology.number(slot));
                Inlet::Slot { reader, slot, from: progress.position }
            }
            (Unit::Source(_), Some(_)) | (Unit::Slot(_), None) => return Err(wrong_unit(unit)),
        };
        let (batch_messages, share) = (self.limits.batch_messages, self.budget.share());
        drop(self);
        UnitLoop { inlet, batch_messages, stage, tail, metrics, gauge, finish, share }.run().await
    }

    async fn claim(
        &self,
        unit: &UnitId,
        epoch: Epoch,
    ) -> Result<(Progress, Option<Box<dyn Reader>>, Option<Box<dyn Committer>>, Bounds), Error> {
        let Some(buffer) = &self.buffer else {
            return Ok((Progress::default(), None, None, NO_BUFFER));
        };
        let claim = Claim { unit: unit.clone(), owner: self.incarnation, replica: self.replica, epoch };
        let mut patience = Patience::default();
        let Claimed { progress, reader, committer } = loop {
            match buffer.claim(claim.clone()).await {
                Ok(claimed) => break claimed,
                Err(error) => patience.after(error).await?,
            }
        };
        Ok((progress, reader, Some(committer), buffer.bounds()))
    }

    async fn open_source(&self, tail: &mut Tail, position: Position) -> Result<Inlet, Error> {
        let opened = self.source.lock().expect("nothing panics while the source is taken").take();
        let Opened { mut source, answers, memory } = opened.ok_or_else(|| {
            Error::new(Class::Fatal, "read the source a second time: only a worker that was restarted can")
        })?;
        let mut patience = Patience::default();
        while let Err(error) = source.resume(position).await {
            patience.after(error).await?;
        }
        tail.answers = Some(answers);
        tail.memory = Some(memory);
        Ok(Inlet::Source { source, wait: self.limits.read_wait, at: position })
    }
}

fn wrong_unit(unit: Unit) -> Error {
    Error::new(Class::Fatal, format!("own unit {unit:?}: the vertex has no such unit"))
}

fn panicked(error: &JoinError) -> Error {
    Error::new(Class::Fatal, format!("keep a unit running: its task ended with {error}"))
}
