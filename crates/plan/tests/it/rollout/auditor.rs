//! Judges what a rollout does to the true world by the promises alone: floors, ceilings, owners of numbers, versions that
//! were given up. It shares nothing with the code that decides.

use std::collections::{BTreeMap, BTreeSet};

use api::resolve::{CanaryStep, Share, Update, UpdateKind};
use api::revision::Revision;
use tidegate_plan::rollout::{HISTORY_LIMIT, Outcome};
use tidegate_plan::seen::WorkerName;

use crate::world::vertex::{Look, World};

/// What was the case before a turn.
#[derive(Default)]
pub(super) struct Auditor {
    workers: BTreeSet<WorkerName>,
    shares: BTreeMap<Revision, u32>,
    banned: Option<Revision>,
}

/// What the turn was about.
pub(super) struct Case<'a> {
    pub(super) update: &'a Update,
    pub(super) desired: u32,
    pub(super) bound: bool,
    pub(super) look: &'a Look,
    /// Somebody edited or said something just before.
    pub(super) touched: bool,
}

fn surge(update: &Update, desired: u32) -> u32 {
    let share = match update.max_surge {
        Share::Count(count) => count,
        Share::Percent(percent) => (desired * percent).div_ceil(100),
    };
    let beside = match update.kind {
        UpdateKind::Recreate | UpdateKind::RollingUpdate => 0,
        UpdateKind::BlueGreen => desired,
        UpdateKind::Canary => update
            .canary
            .iter()
            .map(|step| match step {
                CanaryStep::SetWeight(weight) => (desired * weight).div_ceil(100),
                CanaryStep::Analyse(_) | CanaryStep::Wait(_) | CanaryStep::WaitForWord => 0,
            })
            .max()
            .unwrap_or(0),
    };
    share.max(beside)
}

fn unavailable(update: &Update, desired: u32) -> u32 {
    let missing = match update.max_unavailable {
        Share::Count(count) => count.min(desired),
        Share::Percent(percent) => desired * percent / 100,
    };
    let none = Share::Count(0);
    let both_nothing = missing == 0 && (update.max_surge == none || update.max_surge == Share::Percent(0));
    if both_nothing { 1.min(desired) } else { missing }
}

impl Auditor {
    /// Complains about what is to be done, before it is done.
    pub(super) fn before(&mut self, world: &World, outcome: &Outcome, case: &Case<'_>) -> Result<(), String> {
        let existing = world.names();
        let started: Vec<_> = outcome.workers.difference(&existing).cloned().collect();
        // A worker that vanished was made again under the same name before any look could show either.
        let unseen = |name: &&WorkerName| world.vanished.contains(*name) && world.is_stopping(name);
        let total = existing.iter().filter(|name| !unseen(name)).chain(&started).count() as u32;
        let ceiling = case.desired + if case.bound { 0 } else { surge(case.update, case.desired) };
        if !started.is_empty() && total > ceiling && !started.iter().all(|name| self.workers.contains(name)) {
            return Err(format!("{total} workers with {started:?} to be started, ceiling {ceiling}"));
        }
        if case.update.kind == UpdateKind::Recreate {
            let other = |name: &WorkerName| {
                existing.iter().find(|other| other.revision != name.revision && !unseen(other))
            };
            if let Some(other) = started.iter().find_map(other) {
                return Err(format!("{started:?} are started beside {other:?}"));
            }
        }
        if case.bound {
            let numbers: BTreeSet<u32> = outcome.workers.iter().map(|name| name.replica).collect();
            if numbers.len() != outcome.workers.len() {
                return Err(format!("a number twice in {:?}", outcome.workers));
            }
            for name in &started {
                if existing.iter().any(|other| other.replica == name.replica && !unseen(&other)) {
                    return Err(format!("{name:?} beside the worker that has its number"));
                }
            }
        }
        if case.touched {
            self.banned = None;
        }
        // One that was there all along and vanished may be made again until its successor is there.
        let fresh = |name: &&WorkerName| !self.workers.contains(*name);
        if let Some(name) =
            started.iter().filter(fresh).find(|name| Some(&name.revision) == self.banned.as_ref())
        {
            return Err(format!("{name:?} was given up and is started again"));
        }
        self.floor(world, outcome, case)?;
        if let Some(back) = outcome.memory.rolled_back.as_ref().filter(|_| outcome.memory.held.is_some()) {
            self.banned = Some(back.from.clone());
        }
        let history = outcome.memory.history.len();
        if history > HISTORY_LIMIT + outcome.memory.revisions_in_use().len() {
            return Err(format!("{history} versions in the history"));
        }
        self.workers.clone_from(&outcome.workers);
        self.shares.clone_from(&outcome.shares);
        Ok(())
    }

    /// Nobody who serves is sent away when that leaves too few.
    fn floor(&self, world: &World, outcome: &Outcome, case: &Case<'_>) -> Result<(), String> {
        if case.desired == 0 || case.update.kind == UpdateKind::Recreate {
            return Ok(());
        }
        let missing = unavailable(case.update, case.desired);
        let missing = if case.bound { missing.max(1) } else { missing };
        let floor = case.desired - missing.min(case.desired);
        let serves =
            |shares: &BTreeMap<Revision, u32>, name: &WorkerName| shares.contains_key(&name.revision);
        let looks_ready = |name: &WorkerName| {
            case.look.workers.get(name).is_some_and(tidegate_plan::seen::Worker::is_ready)
        };
        let served =
            |name: &&WorkerName| serves(&self.shares, name) && world.is_ready(name) && looks_ready(name);
        let before = self.workers.iter().filter(served).count();
        // What nobody could see is nobody's fault: a worker that was ready in the look and was hurt after it.
        let excused = |name: &WorkerName| {
            looks_ready(name) && world.hurt.get(name).is_some_and(|at| *at >= case.look.at)
        };
        let after = outcome
            .workers
            .iter()
            .filter(|name| serves(&outcome.shares, name) && (world.is_ready(name) || excused(name)))
            .count();
        if after < before && (after as u32) < floor {
            return Err(format!("{before} served, {after} are left, floor {floor}"));
        }
        Ok(())
    }
}
