//! Which claims of this process still stand. Invariant: what a gate says is a hint that comes early; whether a unit is
//! lost for certain the broker says, by the fence.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use model::door::Error;
use model::{Epoch, Progress, UnitId};

use crate::bell::Bell;
use crate::failure::lost;

/// One unit as this process knows it.
pub(crate) struct Gate {
    unit: UnitId,
    claim: AtomicU64,
    epoch: AtomicU64,
    bell: Bell,
}

impl Gate {
    /// A claim, here or elsewhere, that is later than others.
    fn raise(&self, claim: u64, epoch: Epoch) {
        let claims = self.claim.fetch_max(claim, Ordering::SeqCst) < claim;
        let epochs = self.epoch.fetch_max(epoch.0, Ordering::SeqCst) < epoch.0;
        if claims || epochs {
            self.bell.ring();
        }
    }
}

/// One claim of this process.
#[derive(Clone)]
pub(crate) struct Holding {
    gate: Arc<Gate>,
    pub(crate) claim: u64,
    pub(crate) epoch: Epoch,
}

impl Holding {
    pub(crate) fn unit(&self) -> &UnitId {
        &self.gate.unit
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.gate.claim.load(Ordering::SeqCst) > self.claim
            || self.gate.epoch.load(Ordering::SeqCst) > self.epoch.0
    }

    /// `Lost` once it does not stand any more.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_lost() { Err(lost(self.unit())) } else { Ok(()) }
    }

    /// Notes that somebody else has the unit.
    pub(crate) fn lose(&self) -> Error {
        self.gate.raise(self.claim + 1, self.epoch);
        lost(self.unit())
    }

    /// Returns once it does not stand any more.
    pub(crate) async fn until_lost(&self) -> Error {
        loop {
            let listen = self.gate.bell.listen();
            if self.is_lost() {
                return lost(self.unit());
            }
            listen.await;
        }
    }

    /// The result of a future, or `Lost` as soon as that is known.
    pub(crate) async fn unless_lost<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let (future, until_lost) = (std::pin::pin!(future), std::pin::pin!(self.until_lost()));
        match futures::future::select(future, until_lost).await {
            futures::future::Either::Left((result, _)) => Ok(result),
            futures::future::Either::Right((error, _)) => Err(error),
        }
    }
}

/// How far a unit is that this process owns or owned last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) epoch: Epoch,
    /// The number of the commit that reached it.
    pub(crate) commit: u64,
    pub(crate) progress: Progress,
}

/// All units that this process ever claimed.
#[derive(Default)]
pub(crate) struct Gates {
    all: Mutex<HashMap<UnitId, Arc<Gate>>>,
    /// Units of which this process has made the latest claim that it knows of.
    own: Mutex<HashSet<UnitId>>,
    reached: Mutex<BTreeMap<UnitId, Reached>>,
    /// The last commit of each unit that anybody spoke of.
    commits: Mutex<HashMap<UnitId, u64>>,
    heard: AtomicBool,
    /// Rings when something is reached, and when what was said before this process began has been heard.
    pub(crate) moved: Bell,
}

impl Gates {
    /// Notes a claim that the record has taken.
    pub(crate) fn take(&self, unit: &UnitId, claim: u64, epoch: Epoch) -> Holding {
        let mut gates = self.all.lock().expect("nothing panics while gates are locked");
        let new = || {
            let (claim, epoch, bell) = (AtomicU64::new(0), AtomicU64::new(0), Bell::default());
            Arc::new(Gate { unit: unit.clone(), claim, epoch, bell })
        };
        let gate = gates.entry(unit.clone()).or_insert_with(new).clone();
        drop(gates);
        self.own.lock().expect("nothing panics while owned units are noted").insert(unit.clone());
        gate.raise(claim, epoch);
        Holding { gate, claim, epoch }
    }

    /// Notes what another process says of a unit.
    pub(crate) fn hear(&self, unit: &UnitId, epoch: Epoch, commit: u64) {
        self.note_commit(unit, commit);
        if let Some(gate) = self.gate(unit) {
            gate.raise(0, epoch);
        }
        let mut reached = self.reached.lock().expect("nothing panics while progress is noted");
        if reached.get(unit).is_some_and(|reached| reached.epoch < epoch) {
            reached.remove(unit);
            drop(reached);
            self.own.lock().expect("nothing panics while owned units are noted").remove(unit);
        }
    }

    fn gate(&self, unit: &UnitId) -> Option<Arc<Gate>> {
        self.all.lock().expect("nothing panics while gates are locked").get(unit).cloned()
    }

    /// Whether this process has the latest claim that it knows of.
    pub(crate) fn owns(&self, unit: &UnitId) -> bool {
        self.own.lock().expect("nothing panics while owned units are noted").contains(unit)
    }

    /// Notes durable progress of a unit that this process owns.
    pub(crate) fn reach(&self, holding: &Holding, commit: u64, progress: &Progress) {
        self.note_commit(holding.unit(), commit);
        if holding.is_lost() {
            return;
        }
        let reached = Reached { epoch: holding.epoch, commit, progress: progress.clone() };
        self.reached
            .lock()
            .expect("nothing panics while progress is noted")
            .insert(holding.unit().clone(), reached);
        self.moved.ring();
    }

    /// Takes over what another life of this process has said of units, for as long as nobody says anything later.
    pub(crate) fn keep_saying(&self, word: Vec<(UnitId, Reached)>) {
        for (unit, said) in word {
            self.note_commit(&unit, said.commit);
            let known = self.gate(&unit).map_or(0, |gate| gate.epoch.load(Ordering::SeqCst));
            let mut reached = self.reached.lock().expect("nothing panics while progress is noted");
            let is_latest =
                reached.get(&unit).is_none_or(|kept| (kept.epoch, kept.commit) < (said.epoch, said.commit));
            if said.epoch.0 >= known && is_latest {
                reached.insert(unit, said);
            }
        }
    }

    fn note_commit(&self, unit: &UnitId, commit: u64) {
        let mut commits = self.commits.lock().expect("nothing panics while commits are noted");
        match commits.get_mut(unit) {
            Some(known) => *known = commit.max(*known),
            None => drop(commits.insert(unit.clone(), commit)),
        }
    }

    /// The last commit of a unit that this process or another one spoke of.
    pub(crate) fn commit(&self, unit: &UnitId) -> u64 {
        self.commits.lock().expect("nothing panics while commits are noted").get(unit).copied().unwrap_or(0)
    }

    /// What was said before this process began has been heard.
    pub(crate) fn caught_up(&self) {
        if !self.heard.swap(true, Ordering::SeqCst) {
            self.moved.ring();
        }
    }

    /// Returns once that is so.
    pub(crate) async fn until_caught_up(&self) {
        loop {
            let listen = self.moved.listen();
            if self.heard.load(Ordering::SeqCst) {
                return;
            }
            listen.await;
        }
    }

    /// Everything that was reached.
    pub(crate) fn reached(&self) -> BTreeMap<UnitId, Reached> {
        self.reached.lock().expect("nothing panics while progress is noted").clone()
    }
}
