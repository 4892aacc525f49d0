//! Who owns what in a flood, and how it changes: by the seed, and as badly as it may.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{oneshot, watch};

use super::roles::{End, Job};
use super::{Flood, units};
use crate::UnitId;
use crate::conformance::buffer::Bench;
use crate::conformance::buffer::kit::{Crew, levels, within, within_or};
use crate::conformance::buffer::survey::{check, try_survey};
use crate::door::Class;
use crate::door::buffer::{Buffer, VertexSettings};

/// Moves of one flood, unless everything has arrived before.
const MOVES: u64 = 60;
/// Calls that may be answered between two moves.
const EVENTS_MAX: u64 = 14;
/// Moves for which an owner may stay suspended.
const SUSPENDED_MAX: u64 = 6;

/// One owner at work.
struct Worker {
    owner: u64,
    stop: watch::Sender<bool>,
    suspend: watch::Sender<bool>,
    ended: oneshot::Receiver<End>,
    end: Option<End>,
}

/// A unit as the assigner sees it.
struct Assigned {
    epoch: u64,
    current: Option<Worker>,
}

pub(super) struct Assigner<'a> {
    bench: &'a dyn Bench,
    buffer: Option<Arc<dyn Buffer>>,
    flood: Arc<Flood>,
    rng: fastrand::Rng,
    crew: Crew,
    units: Vec<UnitId>,
    assigned: HashMap<UnitId, Assigned>,
    /// Former owners that sleep, with the move at which they wake.
    suspended: Vec<(u64, Worker)>,
    /// Former owners that run still.
    former: Vec<Worker>,
    incarnations: u64,
    moves: u64,
    restarts: u64,
}

/// Polls `future` only while not suspended: the process is stopped, wherever it is, and goes on later.
async fn suspendable<T>(mut suspend: watch::Receiver<bool>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        let stopped = tokio::select! {
            biased;
            stopped = suspend.wait_for(|suspended| *suspended) => stopped.is_ok(),
            result = &mut future => return result,
        };
        // Without an assigner nobody suspends or wakes this task any more.
        if !stopped || suspend.wait_for(|suspended| !*suspended).await.is_err() {
            return future.await;
        }
    }
}

impl Worker {
    /// How the task ended, if it has.
    fn end(&mut self) -> Option<End> {
        self.end = self.end.or_else(|| self.ended.try_recv().ok());
        self.end
    }
}

impl<'a> Assigner<'a> {
    pub(super) fn new(bench: &'a dyn Bench, buffer: Arc<dyn Buffer>, flood: Arc<Flood>, seed: u64) -> Self {
        let units = units();
        let assigned =
            units.iter().map(|unit| (unit.clone(), Assigned { epoch: 0, current: None })).collect();
        Self {
            bench,
            buffer: Some(buffer),
            flood,
            rng: fastrand::Rng::with_seed(seed),
            crew: Crew::default(),
            units,
            assigned,
            suspended: Vec::new(),
            former: Vec::new(),
            incarnations: 0,
            moves: 0,
            restarts: 0,
        }
    }

    /// Moves units about until all moves are made or everything has arrived, then waits until it has.
    pub(super) async fn run(&mut self) {
        self.start_all();
        for _ in 0..MOVES {
            let more = self.rng.u64(0..EVENTS_MAX);
            self.wait_for_events(more).await;
            if self.flood.ledger.is_complete() {
                break;
            }
            self.wake();
            self.one_move().await;
            self.survey().await;
        }
        for (_, worker) in self.suspended.drain(..) {
            worker.suspend.send_replace(false);
            self.former.push(worker);
        }
        self.wait_for_arrival().await;
    }

    /// Stops every unit in order, and gives the buffer with the numbers of moves and restarts.
    pub(super) async fn finish(mut self, world: &[VertexSettings]) -> (Arc<dyn Buffer>, u64, u64) {
        self.wait_until_settled(world).await;
        loop {
            for unit in self.units.clone() {
                self.stop(&unit).await;
            }
            if !self.has_died() {
                break;
            }
            self.restart().await;
        }
        for worker in &self.former {
            // Of two that were told the same epoch the former may be the one that got the unit.
            worker.stop.send_replace(true);
        }
        self.crew.join("every owner ends, former ones included").await;
        let buffer = self.buffer.take().expect("there is a buffer between restarts");
        (buffer, self.moves, self.restarts)
    }

    /// Whoever looks at everything in the middle of it finds slots and units that agree.
    async fn survey(&self) {
        let buffer = self.buffer.as_ref().expect("there is a buffer between restarts");
        let known = self.flood.ledger.known();
        match try_survey(buffer).await {
            Ok(found) => {
                check(&found);
                known.expect_in(&found);
            }
            Err(error) => {
                assert!(self.bench.may_die() && error.class() == Class::Fatal, "survey: {}", error.chain());
            }
        }
    }

    async fn one_move(&mut self) {
        let unit = self.units[self.rng.usize(0..self.units.len())].clone();
        self.moves += 1;
        match self.rng.u32(0..20) {
            0..5 => self.hand_over(&unit).await,
            5..9 => self.take(&unit),
            9..14 => self.suspend_and_take(&unit),
            14..16 => self.race_under_one_epoch(&unit),
            16..18 => {
                self.take(&unit);
                self.take(&unit);
            }
            18 => self.claim_again(&unit).await,
            _ => self.restart().await,
        }
    }

    /// The owner finishes and releases; then the next one starts.
    async fn hand_over(&mut self, unit: &UnitId) {
        self.stop(unit).await;
        self.take(unit);
    }

    /// The next owner starts; the former one is not asked.
    fn take(&mut self, unit: &UnitId) {
        let assigned = self.assigned.get_mut(unit).expect("every unit is assigned");
        assigned.epoch += 1;
        self.former.extend(assigned.current.take());
        self.incarnations += 1;
        let owner = self.incarnations;
        self.start(unit, owner);
    }

    /// The owner is stopped wherever it is, the next one starts; later the former one wakes.
    fn suspend_and_take(&mut self, unit: &UnitId) {
        let assigned = self.assigned.get_mut(unit).expect("every unit is assigned");
        if let Some(worker) = assigned.current.take() {
            worker.suspend.send_replace(true);
            let wakes = self.moves + self.rng.u64(1..=SUSPENDED_MAX);
            self.suspended.push((wakes, worker));
        }
        self.take(unit);
    }

    /// Two incarnations are told the same epoch: it does not matter which one gets the unit.
    fn race_under_one_epoch(&mut self, unit: &UnitId) {
        self.take(unit);
        let assigned = self.assigned.get_mut(unit).expect("every unit is assigned");
        self.former.extend(assigned.current.take());
        self.incarnations += 1;
        let owner = self.incarnations;
        self.start(unit, owner);
    }

    /// The owner's task is dropped wherever it is, and the same owner claims again under the same epoch.
    async fn claim_again(&mut self, unit: &UnitId) {
        let assigned = self.assigned.get_mut(unit).expect("every unit is assigned");
        let Some(worker) = assigned.current.take() else { return };
        let Worker { owner, stop, suspend, ended, end } = worker;
        drop(stop);
        // A task without a stop channel ends itself; see `start`.
        suspend.send_replace(false);
        if end.is_none() {
            drop(within("a dropped task ends", ended).await);
        }
        self.start(unit, owner);
    }

    /// Everything is killed where it is and starts again over what is durable.
    async fn restart(&mut self) {
        self.restarts += 1;
        self.crew.abort().await;
        self.suspended.clear();
        self.former.clear();
        for assigned in self.assigned.values_mut() {
            assigned.current = None;
        }
        drop(self.buffer.take());
        self.buffer = Some(self.bench.restart().await);
        self.start_all();
    }

    fn start_all(&mut self) {
        for unit in self.units.clone() {
            self.take(&unit);
        }
    }

    fn start(&mut self, unit: &UnitId, owner: u64) {
        let (stop, stopped) = watch::channel(false);
        let (suspend, suspended) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let assigned = self.assigned.get_mut(unit).expect("every unit is assigned");
        let job = Job {
            buffer: self.buffer.clone().expect("there is a buffer between restarts"),
            flood: self.flood.clone(),
            unit: unit.clone(),
            owner,
            epoch: assigned.epoch,
            stop: stopped.clone(),
            rng: self.rng.fork(),
        };
        assigned.current = Some(Worker { owner, stop, suspend, ended, end: None });
        self.crew.spawn(suspendable(suspended, async move {
            let mut dropped = stopped;
            let gone = async { while dropped.changed().await.is_ok() {} };
            tokio::select! {
                biased;
                () = gone => {}
                // The assigner may not be waiting for it.
                result = job.run() => drop(end.send(result)),
            }
        }));
    }

    /// Tells the owner of a unit to stop and waits until it has ended, or until the life is found to be over.
    async fn stop(&mut self, unit: &UnitId) {
        let assigned = self.assigned.get_mut(unit).expect("every unit is assigned");
        let Some(mut worker) = assigned.current.take() else { return };
        worker.stop.send_replace(true);
        let what = format!("{unit} is released by its owner");
        within(&what, async {
            while worker.end().is_none() && !self.has_died() {
                self.crew.look();
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.former.push(worker);
    }

    /// Former owners whose time has come wake up.
    fn wake(&mut self) {
        let moves = self.moves;
        for (_, worker) in self.suspended.extract_if(.., |(wakes, _)| *wakes <= moves) {
            worker.suspend.send_replace(false);
            self.former.push(worker);
        }
    }

    /// Whether some task has found that this life is over.
    fn has_died(&mut self) -> bool {
        let current = self.assigned.values_mut().filter_map(|assigned| assigned.current.as_mut());
        let died = current.chain(&mut self.former).any(|worker| worker.end() == Some(End::Dead));
        assert!(!died || self.bench.may_die(), "a life ended though its storage is sound");
        died
    }

    async fn turn(&mut self) {
        self.crew.look();
        if self.has_died() {
            self.restart().await;
        }
        tokio::task::yield_now().await;
    }

    async fn wait_for_events(&mut self, more: u64) {
        let target = self.flood.events.load(Ordering::SeqCst) + more;
        within("calls are answered", async {
            while self.flood.events.load(Ordering::SeqCst) < target && !self.flood.ledger.is_complete() {
                self.turn().await;
            }
        })
        .await;
    }

    async fn wait_for_arrival(&mut self) {
        let flood = self.flood.clone();
        let missing = || format!("everything arrives; {}", flood.ledger.missing());
        within_or(missing, async {
            while !flood.ledger.is_complete() {
                self.turn().await;
            }
        })
        .await;
    }

    /// What the sinks have read they settle as well.
    async fn wait_until_settled(&mut self, world: &[VertexSettings]) {
        within("everything is settled", async {
            loop {
                let buffer = self.buffer.clone().expect("there is a buffer between restarts");
                let mut left = 0;
                for vertex in &world[1..] {
                    left += levels(&buffer, vertex).await.iter().map(|level| level.frames).sum::<u64>();
                }
                drop(buffer);
                if left == 0 {
                    break;
                }
                self.turn().await;
            }
        })
        .await;
    }
}
