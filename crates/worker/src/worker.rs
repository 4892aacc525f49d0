//! One replica of a vertex: it runs the units it is ordered to own, and nothing else.
//!
//! Orders say the whole truth each time. A unit that is not in them finishes and is released; one that comes new is
//! claimed and started; a unit that turns out to belong to somebody else is let go until it is ordered again under a
//! higher epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::door::buffer::{Bounds, Buffer, Claim, Claimed, Committer, Reader};
use model::door::source::{Memory, Opened, Source};
use model::door::{Class, Error};
use model::{Epoch, Incarnation, Name, Position, Progress, Slot, Topology, Unit, UnitId};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::backoff::Patience;
use crate::budget::Budget;
use crate::desk::Desk;
use crate::handle::{Gauges, Handle, SharedFollowing, Told, lock};
use crate::inlet::{Inlet, Rest};
use crate::metrics::Metrics;
use crate::retry::RetryLoop;
use crate::route::Spread;
use crate::setup::{Edge, Input, Limits, Out, RateLimit, Setup, Watermark};
use crate::stage::{Return, Stage};
use crate::tail::Tail;
use crate::throttle::{Seat, Throttle};
use crate::unit::{End, Gauge, UnitLoop};

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its source has nothing more to give, and everything it gave is committed.
    Exhausted,
}

/// One replica, ready to run.
pub struct Worker {
    setup: Arc<Shared>,
    desk: Option<Desk>,
    seat: Option<Seat>,
    told: watch::Receiver<Told>,
}

/// What all units of a worker have in common.
struct Shared {
    vertex: Name,
    replica: u16,
    incarnation: Incarnation,
    buffer: Option<Arc<dyn Buffer>>,
    rest: Rest,
    topology: Option<Topology>,
    edges: Arc<[Edge]>,
    limits: Limits,
    watermark: Watermark,
    metrics: Arc<Metrics>,
    stage: Arc<Stage>,
    gauges: Gauges,
    following: SharedFollowing,
    budget: Budget,
    throttle: Option<Throttle>,
}

struct Owned {
    epoch: Epoch,
    finish: CancellationToken,
}

type Units = JoinSet<(Unit, Result<End, Error>)>;

/// A buffer of any kind takes frames of this size; used where there is none.
const NO_BUFFER: Bounds =
    Bounds { frame_bytes_max: 512 * 1024, commit_bytes_max: 4 * 1024 * 1024, lone_frame_bytes: None };

impl Worker {
    /// A worker and the handle to it. It owns nothing until it is ordered to.
    pub fn new(setup: Setup) -> (Self, Handle) {
        let Setup {
            vertex,
            replica,
            incarnation,
            input,
            ordered,
            transform,
            map,
            output,
            buffer,
            limits,
            rate_limit,
            redelivery,
            watermark,
            metrics,
            lease,
        } = setup;
        let seat = rate_limit.map(|limit| seat(limit, replica));
        let metrics = Arc::new(metrics.of_worker());
        let cut = CancellationToken::new();
        let (edges, desk) = match output {
            Out::Edges(edges) => (edges.into(), None),
            Out::Sinks(sinks) => {
                let facts = (watermark.clone(), metrics.clone());
                let desk = Desk::new(sinks, limits.batch_messages, facts, cut.clone());
                (Arc::from([]), Some(desk))
            }
        };
        let (source, topology) = match input {
            Input::Source(opened) => (Some(opened), None),
            Input::Slots(topology) => (None, Some(topology)),
        };
        let returns = returns(source.as_ref().map(|opened| opened.memory), ordered);
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
            lease,
            cut: cut.clone(),
        });
        let (handle, told) = Handle::new(metrics.clone(), cut, watermark.clone());
        let edges: Arc<[Edge]> = edges;
        let setup = Arc::new(Shared {
            vertex,
            replica,
            incarnation,
            buffer,
            rest: Rest::new(source),
            topology,
            edges,
            limits,
            watermark,
            metrics,
            stage,
            gauges: handle.gauges.clone(),
            following: handle.following.clone(),
            budget: Budget::default(),
            throttle: seat.as_ref().map(|seat| seat.throttle.clone()),
        });
        (Self { setup, desk, seat, told }, handle)
    }

    /// Runs until told to stop, until nobody is left who could tell it to, until the source has ended, or until
    /// something fails for good. Dropping the future stops at once; what is not committed is done again by the next
    /// owner.
    pub async fn run(self) -> Result<Ended, Error> {
        let Self { setup, desk, seat, mut told } = self;
        let rest = setup.rest.clone();
        let mut desk_task = JoinSet::new();
        if let Some(desk) = desk {
            desk_task.spawn(desk.run());
        }
        let (mut seat_task, leave) = (JoinSet::new(), CancellationToken::new());
        if let Some(seat) = seat {
            seat_task.spawn(seat.run(leave.clone()));
        }
        let mut crew = Crew { setup, owned: BTreeMap::new(), lost: BTreeMap::new(), units: Units::new() };
        let mut current = told.borrow_and_update().clone();
        let ended = loop {
            crew.follow(&current);
            if current.orders.stop && crew.units.is_empty() {
                break Ended::Stopped;
            }
            tokio::select! {
                changed = told.changed(), if !current.orders.stop => match changed {
                    Ok(()) => current.clone_from(&told.borrow_and_update()),
                    Err(_) => current.orders.stop = true,
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
        leave.cancel();
        rest.close().await?;
        while let Some(joined) = desk_task.join_next().await {
            joined.map_err(|error| panicked(&error))??;
        }
        while let Some(joined) = seat_task.join_next().await {
            joined.map_err(|error| panicked(&error))?;
        }
        Ok(ended)
    }
}

/// A throttle that is given its part at a store.
fn seat(limit: RateLimit, replica: u16) -> Seat {
    let RateLimit { rate, store, ttl, resumes, clock } = limit;
    Seat { throttle: Throttle::new(rate, clock), store, replica, ttl, resumes }
}

/// Where a message goes that is sent back.
fn returns(source: Option<Memory>, ordered: bool) -> Return {
    match source {
        None if ordered => Return::InPlace,
        None => Return::Slot,
        Some(Memory::Position) => Return::InPlace,
        Some(Memory::Ids | Memory::Opaque) => Return::Source,
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
    fn follow(&mut self, told: &Told) {
        let Told { number, orders } = told;
        for (unit, owned) in &self.owned {
            if orders.stop || orders.units.get(unit) != Some(&owned.epoch) {
                owned.finish.cancel();
            }
        }
        let mut following = lock(&self.setup.following);
        let mut waiting = BTreeSet::new();
        for (unit, epoch) in orders.units.iter().filter(|_| !orders.stop) {
            let refused = self.lost.get(unit).is_some_and(|last| last >= epoch);
            if refused {
                continue;
            }
            if let Some(owned) = self.owned.get(unit) {
                // An ownership that has been told to finish does not become another one.
                if owned.epoch != *epoch || owned.finish.is_cancelled() {
                    waiting.insert(*unit);
                }
                continue;
            }
            let (unit, epoch, finish) = (*unit, *epoch, CancellationToken::new());
            self.owned.insert(unit, Owned { epoch, finish: finish.clone() });
            following.claiming(unit, epoch);
            let setup = self.setup.clone();
            self.units.spawn(async move { (unit, setup.run(unit, epoch, finish).await) });
        }
        following.orders(*number, waiting);
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
                let epoch = owned.map_or(Epoch(0), |owned| owned.epoch);
                self.lost.insert(unit, epoch);
                lock(&self.setup.following).resolved(unit, epoch);
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
        lock(&self.following).resolved(unit, epoch);
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
            gauge: gauge.clone(),
            lease: self.stage.lease.clone(),
            committed: progress.position,
        });
        let (stage, metrics) = (self.stage.clone(), self.metrics.clone());
        let gate = self.throttle.as_ref().map(Throttle::gate);
        let inlet = match (unit, reader) {
            (Unit::Source(_), None) => {
                let Some(inlet) = self.open_source(&mut tail, &finish).await? else {
                    tail.release().await?;
                    return Ok(End::Released);
                };
                inlet
            }
            (Unit::Slot(Slot::RETRY), Some(reader)) => {
                drop(self);
                return RetryLoop { reader, progress, stage, tail, metrics, gauge, finish, gate }.run().await;
            }
            (Unit::Slot(slot), Some(reader)) => {
                let topology = self.topology.ok_or_else(|| wrong_unit(unit))?;
                tail.spread = Spread::Own(topology.number(slot));
                Inlet::Slot { reader, slot, from: progress.position }
            }
            (Unit::Source(_), Some(_)) | (Unit::Slot(_), None) => return Err(wrong_unit(unit)),
        };
        let (batch_messages, share, rest) =
            (self.limits.batch_messages, self.budget.share(), self.rest.clone());
        drop(self);
        UnitLoop { inlet, batch_messages, stage, tail, metrics, gauge, finish, share, gate, rest }.run().await
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

    /// Makes the source ready to be read; none when it is told to finish before it is.
    async fn open_source(&self, tail: &mut Tail, finish: &CancellationToken) -> Result<Option<Inlet>, Error> {
        // What a former unit had in hand when it was lost nobody gives again, except to a reader that begins afresh.
        let afresh = || {
            Error::new(
                Class::Fatal,
                "read the source after another owner: only a worker that was restarted can",
            )
        };
        let mut resting = self.rest.take().ok_or_else(afresh)?;
        let at = match resting.at {
            // Without a buffer nobody else knows how far it was.
            Some(at) if self.buffer.is_none() || at == tail.committed => at,
            Some(_) => return Err(afresh()),
            None => {
                let from = tail.committed;
                let resumed = tokio::select! {
                    biased;
                    () = finish.cancelled() => false,
                    resumed = resume(resting.opened.source.as_mut(), from) => {
                        resumed?;
                        true
                    }
                };
                if !resumed {
                    self.rest.leave(resting);
                    return Ok(None);
                }
                from
            }
        };
        let Opened { source, answers, memory } = resting.opened;
        (tail.answers, tail.memory, tail.committed) = (Some(answers), Some(memory), at);
        Ok(Some(Inlet::Source { source, wait: self.limits.read_wait, at }))
    }
}

async fn resume(source: &mut dyn Source, from: Position) -> Result<(), Error> {
    let mut patience = Patience::default();
    while let Err(error) = source.resume(from).await {
        patience.after(error).await?;
    }
    Ok(())
}

fn wrong_unit(unit: Unit) -> Error {
    Error::new(Class::Fatal, format!("own unit {unit:?}: the vertex has no such unit"))
}

fn panicked(error: &JoinError) -> Error {
    Error::new(Class::Fatal, format!("keep a unit running: its task ended with {error}"))
}
