//! What runs a unit: claim, read, let user code speak, commit; again from the claim when a commit was given up. A small
//! stand-in for the worker, with the same duties at the door and none of its comforts.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};
use lane::Lanes;
use lane::broker::Broker;
use model::door::buffer::{Buffer, Claim, Claimed, Commit, Committed, Committer};
use model::door::{Class, Error};
use model::{Epoch, Incarnation, Slot, Time, Unit, UnitId};
use tidegate_lane as lane;

use super::ledger::{Held, Ledger};
use super::plan::Plan;
use crate::sim::client::SimBroker;
use crate::sim::faults::between;

/// Why a unit stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was given up as asked, after its last commit.
    Released,
    /// It is somebody else's.
    Lost,
    /// The whole process cannot go on.
    Fatal,
    /// A commit was given up: claim again.
    Again,
}

/// One unit in one process under one number.
pub(crate) struct Worker {
    pub(crate) lanes: Arc<Lanes<SimBroker>>,
    pub(crate) broker: SimBroker,
    pub(crate) ledger: Ledger,
    pub(crate) plan: Arc<Plan>,
    pub(crate) owner: Incarnation,
    pub(crate) replica: u16,
    pub(crate) unit: UnitId,
    pub(crate) epoch: Epoch,
    pub(crate) rng: fastrand::Rng,
    /// Resolves when the unit is to be given up.
    pub(crate) stop: oneshot::Receiver<()>,
}

impl Worker {
    pub(crate) async fn run(mut self) -> End {
        loop {
            let end = match self.claim().await {
                Err(end) => end,
                Ok((held, claimed)) => match self.unit.unit {
                    Unit::Source(_) => self.source(held, claimed).await,
                    Unit::Slot(Slot::RETRY) => self.retries(held, claimed).await,
                    Unit::Slot(_) if self.unit.vertex == "map" => self.map(held, claimed).await,
                    Unit::Slot(_) => self.sink(held, claimed).await,
                },
            };
            if end != End::Again {
                return end;
            }
        }
    }

    async fn claim(&mut self) -> Result<(Held, Claimed), End> {
        let (unit, owner) = (self.unit.clone(), self.owner);
        let claim = Claim { unit, owner, replica: self.replica, epoch: self.epoch };
        loop {
            match self.lanes.claim(claim.clone()).await {
                Ok(claimed) => {
                    let held = self.ledger.claimed(&self.unit, self.epoch, &claimed.progress);
                    return Ok((held, claimed));
                }
                Err(error) => self.failed("claim", &error).await?,
            }
        }
    }

    /// Waits a little when it is worth another try.
    pub(crate) async fn failed(&mut self, what: &str, error: &Error) -> Result<(), End> {
        match error.class() {
            Class::Retry => {
                self.pause(Duration::from_millis(40)).await;
                Ok(())
            }
            Class::Lost => {
                self.ledger.lock().counts.lost += 1;
                Err(End::Lost)
            }
            Class::Reject => panic!("{}: {what}: {}", self.unit, error.chain()),
            Class::Fatal => {
                self.ledger.fatal(format!("{}: {what}: {}", self.unit, error.chain()));
                Err(End::Fatal)
            }
        }
    }

    /// Waits up to so long.
    pub(crate) async fn pause(&mut self, max: Duration) {
        let duration = between(&mut self.rng, max);
        self.broker.sleep(duration).await;
    }

    /// Whether to stop before a time has passed.
    pub(crate) async fn stops_within(&mut self, max: Duration) -> bool {
        let duration = between(&mut self.rng, max);
        let sleep = self.broker.sleep(duration);
        matches!(select(&mut self.stop, sleep).await, Either::Left(_))
    }

    /// Commits, as often as it takes; gives up in the middle now and then.
    pub(crate) async fn commit(
        &mut self,
        held: &Held,
        committer: &mut Box<dyn Committer>,
        commit: Commit,
    ) -> Result<Committed, End> {
        let begun = self.ledger.commit_begins(held);
        let gives_up = self.rng.u32(..100) < self.plan.abandon;
        let patience = if gives_up {
            between(&mut self.rng, Duration::from_millis(10))
        } else {
            Duration::from_hours(24)
        };
        let broker = self.broker.clone();
        let mut timer = broker.sleep(patience);
        loop {
            let result = match select(committer.commit(commit.clone()), timer).await {
                Either::Left((result, left)) => {
                    timer = left;
                    result
                }
                Either::Right(_) => {
                    self.ledger.lock().counts.abandoned += 1;
                    return Err(End::Again);
                }
            };
            match result {
                Ok(committed) => {
                    self.ledger.committed(held, &begun, &commit, &committed);
                    return Ok(committed);
                }
                Err(error) => self.failed("commit", &error).await?,
            }
        }
    }

    pub(crate) async fn release(&mut self, committer: Box<dyn Committer>) -> End {
        match committer.release().await {
            Ok(()) => End::Released,
            // Whether it was given up is open: the next claim says so.
            Err(error) if error.class() == Class::Retry => End::Released,
            Err(error) => self.failed("release", &error).await.err().unwrap_or(End::Released),
        }
    }

    /// The watermark of the vertex; any will do.
    pub(crate) fn stamp() -> Time {
        Time::UNKNOWN
    }
}
