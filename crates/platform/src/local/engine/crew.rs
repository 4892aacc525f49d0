//! The workers of one vertex: which versions may be run, which workers exist, and what each should own. Looking at
//! them, and what follows from a look, is here; telling the keeper and acting on its answers is the engine's. Invariant:
//! only workers that are ready, have a share and were not told to go are meant to own anything more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::resolve::VertexKind;
use api::revision::Revision;
use connect::incident::Incidents;
use keeper::Wanted;
use model::{Incarnation, Name, Unit};
use plan::Time;
use plan::seen::{Signals, WorkerName, WorkerState};
use tokio::sync::{Notify, Semaphore, watch};
use worker::Watermark;

use super::member::{Found, Life, Member, Shown, Wish};
use super::parts::{Division, Kept, Parts, Ways};
use super::parts::{alone, exclusive};
use super::seen;
use super::units::{self, Workers};
use super::{Error, Reported, replica_number};
use crate::exchange::WorkerWish;

/// Incidents of workers that are gone, at most.
const GONE_INCIDENTS_KEPT: usize = 20;
/// How long a worker that owns nothing may take to end.
pub(super) const END_WITHIN: Duration = Duration::from_secs(5);

/// One vertex as it runs.
pub(super) struct Crew {
    pub(super) name: Name,
    pub(super) kind: VertexKind,
    division: Division,
    parts: Arc<Parts>,
    changed: Arc<Notify>,
    /// What is true of every version.
    shape: Arc<Kept>,
    versions: BTreeMap<Revision, Arc<Kept>>,
    /// Versions that are forgotten once no worker runs them.
    leaving: BTreeSet<Revision>,
    pub(super) workers: BTreeMap<WorkerName, Worker>,
    /// Lives that are over and may still be named as owners.
    departed: Vec<Departed>,
    shares: BTreeMap<Revision, u32>,
    /// Source units are owned.
    pub(super) reads: bool,
    /// Something was asked since the last turn.
    pub(super) is_asked: bool,
    /// Who was meant to own each unit that is bound to a worker.
    owners: BTreeMap<Unit, WorkerName>,
    /// Source units that have given everything.
    exhausted: BTreeSet<Unit>,
    /// What workers did that are gone.
    past: BTreeMap<Revision, Signals>,
    /// What versions did that are forgotten.
    forgotten: Signals,
    pub(super) watermark: Watermark,
    /// What only one worker can have at a time.
    exclusive: Option<(Arc<Semaphore>, &'static str)>,
    alone: Option<&'static str>,
    gone: VecDeque<Reported>,
    gone_total: u64,
}

/// One worker.
pub(super) struct Worker {
    pub(super) shown: Shown,
    wish: watch::Sender<Wish>,
    incidents: Incidents,
    /// It was told to go: it is given nothing.
    pub(super) is_retired: bool,
    /// It was heard of, and nobody has asked for it: it is given nothing.
    pub(super) is_stranger: bool,
    pub(super) state: WorkerState,
    pub(super) since: Time,
}

/// A life that is over.
pub(super) struct Departed {
    pub(super) life: Life,
    /// Its end was told: whatever it was meant to own has been taken from it first.
    pub(super) is_told: bool,
}

impl Worker {
    /// Tells it to finish what is in hand and end.
    pub(super) fn stop(&self, within: Duration) {
        self.wish.send_if_modified(|wish| {
            let is_new = *wish == Wish::Run;
            *wish = Wish::Stop { within };
            is_new
        });
    }

    /// Tells it to end without finishing everything.
    fn cut(&self, within: Duration) {
        self.wish.send_if_modified(|wish| {
            let is_new = !matches!(wish, Wish::Cut { .. });
            *wish = Wish::Cut { within };
            is_new
        });
    }

    /// Says that nobody will ever come under this name again; for workers that are away.
    fn leave(&self) {
        self.wish.send_replace(Wish::Stop { within: Duration::ZERO });
    }

    fn is_stopped(&self) -> bool {
        *self.wish.borrow() != Wish::Run
    }

    /// It may own something as far as it is asked for.
    fn is_asked_for(&self) -> bool {
        !self.is_retired && !self.is_stranger
    }

    fn can_own(&self) -> bool {
        self.is_asked_for() && self.state == WorkerState::Ready
    }

    pub(super) fn incidents(&self) -> u64 {
        self.incidents.total()
    }
}

impl Crew {
    pub(super) fn new(parts: &Arc<Parts>, kept: &Arc<Kept>, changed: &Arc<Notify>) -> Self {
        let part = kept.part();
        Self {
            name: Name::new(&kept.settings.name),
            kind: kept.settings.kind,
            division: Division::of(&part, &parts.graph),
            parts: parts.clone(),
            changed: changed.clone(),
            shape: kept.clone(),
            versions: BTreeMap::new(),
            leaving: BTreeSet::new(),
            workers: BTreeMap::new(),
            departed: Vec::new(),
            shares: BTreeMap::new(),
            reads: false,
            is_asked: false,
            owners: BTreeMap::new(),
            exhausted: BTreeSet::new(),
            past: BTreeMap::new(),
            forgotten: Signals::default(),
            watermark: Watermark::default(),
            exclusive: exclusive(part.source).map(|why| (Arc::new(Semaphore::new(1)), why)),
            alone: alone(part.source),
            gone: VecDeque::new(),
            gone_total: 0,
        }
    }

    /// Why it has work for no more than one worker, if so.
    pub(super) fn alone(&self) -> Option<&'static str> {
        self.alone
    }

    pub(super) fn keep(&mut self, kept: Arc<Kept>) {
        let revision = kept.version.revision.clone();
        self.leaving.remove(&revision);
        if !self.versions.contains_key(&revision) {
            // Another version may read something else, of which not everything has been given.
            self.exhausted.clear();
        }
        self.versions.insert(revision, kept);
    }

    pub(super) fn forget(&mut self, keep: &BTreeSet<Revision>) {
        let known = self.versions.keys().chain(self.past.keys());
        self.leaving.extend(known.filter(|revision| !keep.contains(*revision)).cloned());
        self.let_go();
    }

    /// Forgets versions that nobody runs any more, with what they left on the disk.
    fn let_go(&mut self) {
        let used: BTreeSet<_> = self.workers.keys().map(|name| &name.revision).collect();
        let (gone, leaving) =
            std::mem::take(&mut self.leaving).into_iter().partition(|name| !used.contains(name));
        self.leaving = leaving;
        let gone: BTreeSet<Revision> = gone;
        for revision in &gone {
            self.versions.remove(revision);
            seen::add(&mut self.forgotten, &self.past.remove(revision).unwrap_or_default());
            if let Ways::Here(here) = &self.parts.ways {
                here.state.forget(&self.name, revision);
            }
        }
    }

    /// What runs a worker that does not exist yet; none when it does.
    pub(super) fn ensure(&mut self, name: &WorkerName, now: Time) -> Result<Option<Member>, Error> {
        if let Some(worker) = self.workers.get_mut(name) {
            // One that was told to go and still runs stays; one that is ending is seen until it is gone.
            if worker.is_retired && !worker.is_stopped() {
                worker.is_retired = false;
                self.is_asked = true;
            }
            return Ok(None);
        }
        let unknown =
            || Error::Unknown { what: format!("version {} of vertex {}", name.revision, self.name) };
        let kept = match self.versions.get(&name.revision) {
            Some(kept) => kept.clone(),
            // Whoever starts it knows what it runs.
            None if self.parts.are_away() => self.shape.clone(),
            None => return Err(unknown()),
        };
        let replica = replica_number(name)?;
        let shown = Shown::new(self.changed.clone());
        let (wish, told) = watch::channel(Wish::Run);
        let incidents = Incidents::new(self.name.clone(), replica);
        let worker = Worker {
            shown: shown.clone(),
            wish,
            incidents: incidents.clone(),
            is_retired: false,
            is_stranger: false,
            state: WorkerState::Starting,
            since: now,
        };
        self.workers.insert(name.clone(), worker);
        Ok(Some(Member {
            parts: self.parts.clone(),
            kept,
            name: name.clone(),
            replica,
            vertex: self.name.clone(),
            incidents,
            watermark: self.watermark.clone(),
            alone: self.exclusive.clone(),
            shown,
            wish: told,
        }))
    }

    /// The worker is to go, whatever is in hand.
    pub(super) fn cut(&mut self, name: &WorkerName, within: Duration) {
        self.retire(name);
        if let Some(worker) = self.workers.get(name) {
            worker.cut(within);
        }
    }

    pub(super) fn retire(&mut self, name: &WorkerName) {
        if let Some(worker) = self.workers.get_mut(name) {
            self.is_asked |= !worker.is_retired;
            worker.is_retired = true;
        }
    }

    /// What runs a worker that was heard of and that nobody has asked for yet; none when it is known.
    pub(super) fn hear_of(&mut self, name: &WorkerName, now: Time) -> Result<Option<Member>, Error> {
        let member = if self.workers.contains_key(name) { None } else { self.ensure(name, now)? };
        if let (Some(worker), Some(_)) = (self.workers.get_mut(name), &member) {
            worker.is_stranger = true;
        }
        Ok(member)
    }

    /// Makes what is wished of a worker that is away what counts; gives what listens to it if nothing does.
    pub(super) fn wish(
        &mut self,
        name: &WorkerName,
        wish: WorkerWish,
        now: Time,
    ) -> Result<Option<Member>, Error> {
        let member = if self.workers.contains_key(name) { None } else { self.ensure(name, now)? };
        let worker = self.workers.get_mut(name).expect("it was just made sure of");
        let before = (worker.is_retired, worker.is_stranger);
        (worker.is_retired, worker.is_stranger) = (wish != WorkerWish::Work, false);
        self.is_asked |= before != (worker.is_retired, worker.is_stranger);
        match wish {
            WorkerWish::Cut => worker.cut(END_WITHIN),
            WorkerWish::Work | WorkerWish::Retire => {
                worker.wish.send_if_modified(|told| {
                    let was_cut = matches!(told, Wish::Cut { .. });
                    if was_cut {
                        *told = Wish::Run;
                    }
                    was_cut
                });
            }
        }
        Ok(member)
    }

    /// Workers that were asked for and are not any more are gone for good.
    pub(super) fn leave_all_but(&mut self, names: &BTreeSet<WorkerName>) {
        for (name, worker) in &mut self.workers {
            if !worker.is_stranger && !names.contains(name) {
                worker.is_retired = true;
                worker.leave();
            }
        }
    }

    /// Strangers that are silent are nobody.
    pub(super) fn leave_silent_strangers(&mut self) {
        for worker in self.workers.values() {
            if worker.is_stranger
                && matches!(worker.state, WorkerState::Failing { .. })
                && !worker.is_stopped()
            {
                worker.leave();
            }
        }
    }

    /// Lives that had something before anybody here knew of them. What they have counts as theirs so far.
    pub(super) fn found(&mut self) -> Vec<Found> {
        let mut all = Vec::new();
        for (name, worker) in &self.workers {
            let Some(found) = worker.shown.take_found() else { continue };
            for unit in found.units.keys() {
                self.owners.entry(*unit).or_insert_with(|| name.clone());
            }
            all.push(found);
        }
        all
    }

    pub(super) fn share(&mut self, shares: BTreeMap<Revision, u32>) {
        if self.parts.are_away() && shares.keys().any(|revision| !self.shares.contains_key(revision)) {
            // Another version may read something else, of which not everything has been given.
            self.exhausted.clear();
        }
        self.is_asked |= self.shares != shares;
        self.shares = shares;
    }

    pub(super) fn read(&mut self, on: bool) {
        self.is_asked |= self.reads != on;
        self.reads = on;
    }

    /// Takes note of what the workers show.
    pub(super) fn look(&mut self, now: Time) {
        for (name, worker) in &mut self.workers {
            for life in worker.shown.take_ended() {
                let signals = seen::signals(life.handle.as_ref());
                seen::add(self.past.entry(name.revision.clone()).or_default(), &signals);
                self.departed.push(Departed { life, is_told: false });
            }
            if worker.shown.is_exhausted() {
                let units = self.owners.iter().filter(|(_, owner)| *owner == name);
                self.exhausted.extend(units.map(|(unit, _)| *unit));
            }
            let state = if worker.is_retired { WorkerState::Stopping } else { worker.shown.state() };
            if std::mem::discriminant(&state) != std::mem::discriminant(&worker.state) {
                worker.since = now;
            }
            worker.state = state;
        }
    }

    /// The end of a worker's task.
    pub(super) fn ended(&mut self, name: &WorkerName, now: Time) {
        self.look(now);
        if let Some(worker) = self.workers.remove(name) {
            self.gone.extend(reported(&self.name, name, &worker));
            self.gone_total += worker.incidents.total();
            let surplus = self.gone.len().saturating_sub(GONE_INCIDENTS_KEPT);
            self.gone.drain(..surplus);
        }
        self.let_go();
    }

    /// What should be owned by whom.
    pub(super) fn wanted(&mut self) -> Wanted {
        let workers = &self.workers;
        let has_share = |name: &&WorkerName| self.shares.contains_key(&name.revision);
        let lives = |name: &WorkerName| workers[name].shown.life().is_some();
        let ready: BTreeSet<_> = workers
            .iter()
            .filter(|(name, worker)| worker.can_own() && lives(name))
            .map(|(name, _)| name)
            .collect();
        let ready: BTreeSet<_> = ready.into_iter().filter(has_share).collect();
        let staying = workers.iter().filter(|(_, worker)| worker.is_asked_for()).map(|(name, _)| name);
        let lingering: BTreeSet<_> =
            staying.filter(has_share).filter(|name| lives(name) && !ready.contains(name)).collect();
        let mut able = Workers { ready, lingering, shares: &self.shares };
        let target = match &self.division {
            Division::Shared(units) => return self.shared(units, &able),
            Division::Numbered(numbers) => units::numbered(numbers, &able, &self.owners),
            Division::Replicas if self.reads => {
                let numbers = able.ready.iter().chain(&able.lingering).map(|name| name.replica);
                let numbers = numbers.map(|number| (Unit::Source(number), number));
                units::numbered(&numbers.collect(), &able, &self.owners)
            }
            Division::Own if self.reads => {
                able.ready.retain(|name| !workers[*name].shown.is_exhausted());
                units::own(&able, &self.owners)
            }
            Division::Replicas | Division::Own => BTreeMap::new(),
        };
        let target: BTreeMap<_, _> =
            target.into_iter().filter(|(unit, _)| !self.exhausted.contains(unit)).collect();
        let incarnation = |name: &WorkerName| workers[name].shown.life().map(|life| life.incarnation);
        let bound = target.iter().filter_map(|(unit, name)| Some((*unit, incarnation(name)?))).collect();
        self.owners.retain(|_, owner| workers.contains_key(owner));
        self.owners.extend(target);
        Wanted::Bound(bound)
    }

    fn shared(&self, units: &BTreeSet<Unit>, able: &Workers<'_>) -> Wanted {
        let mut revisions: BTreeMap<&Revision, BTreeSet<Incarnation>> = BTreeMap::new();
        for name in &able.ready {
            if let Some(life) = self.workers[*name].shown.life() {
                revisions.entry(&name.revision).or_default().insert(life.incarnation);
            }
        }
        // With nobody ready everything stays as it is; but whoever was told to go keeps nothing.
        let is_nobodys = revisions.is_empty() && self.workers.values().any(|worker| worker.is_retired);
        let revision = |(revision, workers): (&Revision, BTreeSet<_>)| plan::Fleet {
            weight: self.shares[revision],
            workers,
        };
        Wanted::Shared {
            units: if is_nobodys { BTreeSet::new() } else { units.clone() },
            revisions: revisions.into_iter().map(revision).collect(),
        }
    }

    /// Every life that the keeper has to know of.
    pub(super) fn lives(&self) -> Vec<(Life, bool)> {
        let present = self.workers.values().filter_map(|worker| Some((worker.shown.life()?, false)));
        let departed = self.departed.iter().map(|departed| (departed.life.clone(), departed.is_told));
        present.chain(departed).collect()
    }

    /// Acts on what the keeper made of it. True while something is on its way that the next turn may finish.
    pub(super) fn act(&mut self, is_clear: impl Fn(Incarnation) -> bool) -> bool {
        self.is_asked = false;
        let mut is_moving = false;
        for departed in &mut self.departed {
            is_moving |= !departed.is_told;
            departed.is_told = true;
        }
        self.departed.retain(|departed| !is_clear(departed.life.incarnation));
        for worker in self.workers.values().filter(|worker| worker.is_retired && !worker.is_stopped()) {
            if self.parts.are_away() {
                // Whoever has started it ends it.
                is_moving |= worker.shown.life().is_some_and(|life| !is_clear(life.incarnation));
            } else if worker.shown.life().is_none_or(|life| is_clear(life.incarnation)) {
                worker.stop(END_WITHIN);
            } else if matches!(worker.shown.state(), WorkerState::Failing { .. }) {
                // It would not finish what it has: others do that again.
                worker.cut(END_WITHIN);
                is_moving = true;
            } else {
                is_moving = true;
            }
        }
        is_moving
    }

    /// Whether nothing more will ever come from this source.
    pub(super) fn is_exhausted(&self) -> bool {
        let mut staying = self.workers.values().filter(|worker| worker.is_asked_for()).peekable();
        staying.peek().is_some() && staying.all(|worker| worker.shown.is_exhausted())
    }

    /// What each version has done so far.
    pub(super) fn signals(&self) -> BTreeMap<Revision, Signals> {
        let mut all = self.past.clone();
        for (name, worker) in &self.workers {
            let Some(life) = worker.shown.life() else { continue };
            let signals = seen::signals(life.handle.as_ref());
            seen::add(all.entry(name.revision.clone()).or_default(), &signals);
        }
        all
    }

    /// What all versions together have done so far, those that are forgotten included.
    pub(super) fn totals(&self, of_versions: &BTreeMap<Revision, Signals>) -> Signals {
        let mut all = self.forgotten;
        for signals in of_versions.values() {
            seen::add(&mut all, signals);
        }
        all
    }

    pub(super) fn incidents(&self) -> impl Iterator<Item = Reported> {
        let present = self.workers.iter().flat_map(|(name, worker)| reported(&self.name, name, worker));
        self.gone.iter().cloned().chain(present)
    }

    pub(super) fn incidents_total(&self) -> u64 {
        self.gone_total + self.workers.values().map(Worker::incidents).sum::<u64>()
    }
}

/// The named errors of a worker.
fn reported(vertex: &Name, name: &WorkerName, worker: &Worker) -> impl Iterator<Item = Reported> {
    let (vertex, replica) = (vertex.to_string(), name.replica);
    let of = move |incident| Reported { vertex: vertex.clone(), replica, incident };
    worker.incidents.recent().into_iter().map(of)
}
