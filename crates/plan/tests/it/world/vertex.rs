//! The workers of one vertex in a world of its own: they start after a while, crash, hang, disappear and go; looks at
//! them may be old. Nothing here knows how a decision is made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use api::revision::Revision;
use tidegate_plan::Time;
use tidegate_plan::seen::{Signals, Worker, WorkerName, WorkerState};

/// What the code of a version is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// It works.
    Good,
    /// It starts and is never ready.
    NeverReady,
    /// It exits at start.
    Crashes,
    /// It becomes ready and crashes so many seconds later, again and again.
    CrashesAfter(i64),
    /// It fails for so many of a hundred messages.
    Errors(u64),
    /// It drops so many of a hundred messages.
    Drops(u64),
    /// It takes messages and never answers.
    Hangs,
}

/// One worker as it really is.
#[derive(Clone, Debug)]
struct Body {
    worker: Worker,
    /// When its present state is over, if it ends by itself.
    until: Option<Time>,
}

/// A look: what was there at some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) at: Time,
    pub(crate) workers: BTreeMap<WorkerName, Worker>,
}

/// What really exists.
pub(crate) struct World {
    pub(crate) now: Time,
    bodies: BTreeMap<WorkerName, Body>,
    looks: VecDeque<Look>,
    /// What each version did.
    pub(crate) signals: BTreeMap<Revision, Signals>,
    /// What each version is like; one that is not in it works.
    pub(crate) code: BTreeMap<Revision, Code>,
    /// How long it takes from start to ready, in milliseconds.
    pub(crate) start_ms: i64,
    /// How long it takes to go.
    pub(crate) stop_ms: i64,
    /// Messages in a second.
    pub(crate) rate: u64,
    /// When something last happened to a worker that nobody could foresee.
    pub(crate) hurt: BTreeMap<WorkerName, Time>,
    /// Workers that vanished at some time, so that one with the same name may have been made out of sight.
    pub(crate) vanished: BTreeSet<WorkerName>,
}

const RESTART_MS: i64 = 2_000;
const LOOKS_MAX: usize = 8;

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: Time::from_millis(0),
            bodies: BTreeMap::new(),
            looks: VecDeque::new(),
            signals: BTreeMap::new(),
            code: BTreeMap::new(),
            start_ms: 1_000,
            stop_ms: 500,
            rate: 1_000,
            hurt: BTreeMap::new(),
            vanished: BTreeSet::new(),
        }
    }

    /// All that exist, those that go included.
    pub(crate) fn names(&self) -> BTreeSet<WorkerName> {
        self.bodies.keys().cloned().collect()
    }

    pub(crate) fn is_ready(&self, name: &WorkerName) -> bool {
        self.bodies.get(name).is_some_and(|body| body.worker.is_ready())
    }

    pub(crate) fn is_stopping(&self, name: &WorkerName) -> bool {
        self.bodies.get(name).is_some_and(|body| body.worker.state == WorkerState::Stopping)
    }

    /// A look that is so many looks old.
    pub(crate) fn look(&self, age: usize) -> Look {
        self.looks.iter().rev().nth(age.min(self.looks.len().saturating_sub(1))).cloned().unwrap_or_default()
    }

    /// Makes what a plan asks for true: starts what does not exist and tells to go what is not in it.
    pub(crate) fn act(&mut self, workers: &BTreeSet<WorkerName>) {
        for name in workers {
            if !self.bodies.contains_key(name) {
                let worker = Worker { state: WorkerState::Starting, since: self.now, holds: 0, restarts: 0 };
                self.bodies.insert(name.clone(), Body { worker, until: None });
                self.enter(name, WorkerState::Starting);
            }
        }
        let leaving: Vec<WorkerName> =
            self.bodies.keys().filter(|name| !workers.contains(*name)).cloned().collect();
        for name in leaving.into_iter().filter(|name| !self.is_stopping(name)).collect::<Vec<_>>() {
            self.enter(&name, WorkerState::Stopping);
        }
    }

    fn enter(&mut self, name: &WorkerName, state: WorkerState) {
        let code = self.code.get(&name.revision).copied().unwrap_or(Code::Good);
        let after = |ms: i64| Some(Time::from_millis(self.now.millis() + ms));
        let until = match (&state, code) {
            (WorkerState::Stopping, _) => after(self.stop_ms),
            (WorkerState::Starting, Code::NeverReady) => None,
            (WorkerState::Starting, Code::Crashes) => after(self.start_ms / 2),
            (WorkerState::Starting, _) => after(self.start_ms),
            (WorkerState::Ready, Code::CrashesAfter(seconds)) => after(seconds * 1_000),
            (WorkerState::Ready, _) => None,
            (WorkerState::Failing { .. }, _) => after(RESTART_MS),
        };
        let body = self.bodies.get_mut(name).expect("it exists");
        body.worker.restarts += u32::from(matches!(state, WorkerState::Failing { .. }));
        body.worker = Worker { state, since: self.now, ..body.worker.clone() };
        body.until = until;
    }

    /// A worker crashes, whatever its code is like.
    pub(crate) fn crash(&mut self, name: &WorkerName) {
        if self.bodies.contains_key(name) && !self.is_stopping(name) {
            self.hurt.insert(name.clone(), self.now);
            self.enter(name, WorkerState::Failing { reason: "exit code 137".to_owned() });
        }
    }

    /// A worker is gone, as with its machine.
    pub(crate) fn vanish(&mut self, name: &WorkerName) {
        self.hurt.insert(name.clone(), self.now);
        self.vanished.insert(name.clone());
        self.bodies.remove(name);
    }

    /// Time passes and work is done, shared by weight among those of `workers` that are ready.
    pub(crate) fn pass(&mut self, ms: i64, workers: &BTreeSet<WorkerName>, shares: &BTreeMap<Revision, u32>) {
        self.now = Time::from_millis(self.now.millis() + ms);
        for name in self.names() {
            let body = &self.bodies[&name];
            if body.until.is_some_and(|until| until <= self.now) {
                self.turn(&name);
            }
        }
        let able: BTreeSet<&Revision> = workers
            .iter()
            .filter(|name| self.is_ready(name) && shares.contains_key(&name.revision))
            .map(|name| &name.revision)
            .collect();
        let total: u64 = able.iter().map(|revision| u64::from(shares[*revision])).sum();
        let able: Vec<(Revision, u64)> =
            able.iter().map(|revision| ((*revision).clone(), u64::from(shares[*revision]))).collect();
        for (revision, weight) in able {
            let part = (self.rate * ms as u64 * weight).checked_div(total * 1_000).unwrap_or(0);
            self.work(&revision, part);
        }
        self.looks.push_back(Look {
            at: self.now,
            workers: self.bodies.iter().map(|(name, body)| (name.clone(), body.worker.clone())).collect(),
        });
        if self.looks.len() > LOOKS_MAX {
            self.looks.pop_front();
        }
    }

    fn turn(&mut self, name: &WorkerName) {
        let code = self.code.get(&name.revision).copied().unwrap_or(Code::Good);
        let failing = || WorkerState::Failing { reason: "exit code 1".to_owned() };
        match (&self.bodies[name].worker.state, code) {
            (WorkerState::Stopping, _) => {
                self.bodies.remove(name);
            }
            (WorkerState::Starting, Code::Crashes) => self.enter(name, failing()),
            (WorkerState::Starting, _) => self.enter(name, WorkerState::Ready),
            (WorkerState::Failing { .. }, _) => self.enter(name, WorkerState::Starting),
            (WorkerState::Ready, _) => {
                self.hurt.insert(name.clone(), self.now);
                self.enter(name, failing());
            }
        }
    }

    fn work(&mut self, revision: &Revision, messages: u64) {
        let code = self.code.get(revision).copied().unwrap_or(Code::Good);
        let done = self.signals.entry(revision.clone()).or_default();
        let (errors, dropped) = match code {
            Code::Errors(percent) => (messages * percent / 100, 0),
            Code::Drops(percent) => (0, messages * percent / 100),
            Code::Good | Code::NeverReady | Code::Crashes | Code::CrashesAfter(_) | Code::Hangs => (0, 0),
        };
        done.read += messages;
        if code == Code::Hangs {
            return;
        }
        done.done += messages - errors;
        done.errors += errors;
        done.dropped_by_user_code += dropped;
        done.written += messages - errors - dropped;
        done.batches += messages.div_ceil(100);
        done.latency_nanos += messages.div_ceil(100) * 2_000_000;
    }
}
