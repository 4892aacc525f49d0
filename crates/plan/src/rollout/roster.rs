//! The workers of a vertex, as they are seen and as they were asked for, put together. Deciding is elsewhere. Invariant:
//! a worker counts from the moment that it is asked for until it has gone, whatever a look shows in between; one that
//! was told to go is never counted on again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::revision::Revision;

use super::memory::{Known, Memory};
use crate::Time;
use crate::seen::{Worker, WorkerName, WorkerState};

/// How old a look may be: a worker that was asked for, never seen and told to go may still turn up for so long.
const LOOK_LAG: Duration = Duration::from_secs(10);

/// The workers that exist, or may.
pub(super) struct Roster<'a> {
    members: BTreeMap<WorkerName, Member<'a>>,
    now: Time,
    min_ready: Duration,
}

/// One of them.
pub(super) struct Member<'a> {
    /// As it is seen.
    pub(super) worker: Option<&'a Worker>,
    pub(super) known: Known,
    /// It was seen and is not any more: it has to be made again.
    lost: bool,
}

impl Member<'_> {
    pub(super) fn is_kept(&self) -> bool {
        self.known.going.is_none()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_kept() && self.worker.is_some_and(Worker::is_ready)
    }

    /// Whether it is in a crash loop; a reason goes with it.
    pub(super) fn failing(&self) -> Option<&str> {
        match self.worker.map(|worker| &worker.state) {
            Some(WorkerState::Failing { reason }) => Some(reason),
            Some(WorkerState::Starting | WorkerState::Ready | WorkerState::Stopping) | None => None,
        }
    }

    fn since(&self) -> Time {
        self.worker.map_or(self.known.asked, |worker| worker.since)
    }
}

impl<'a> Roster<'a> {
    pub(super) fn new(
        memory: &Memory,
        workers: &'a BTreeMap<WorkerName, Worker>,
        min_ready: Duration,
        now: Time,
    ) -> Self {
        let mut members = BTreeMap::new();
        for known in &memory.workers {
            let worker = workers.get(&known.name);
            let over = known.going.is_some_and(|since| known.seen || now.since(since) >= LOOK_LAG);
            if worker.is_some() || !over {
                let lost = worker.is_none() && known.seen;
                members.insert(known.name.clone(), Member { worker, known: known.clone(), lost });
            }
        }
        for (name, worker) in workers {
            let asked = worker.since;
            let fresh =
                Known { name: name.clone(), asked, seen: true, proven: false, going: None, dismissed: false };
            let member = Member { worker: None, known: fresh, lost: false };
            let member = members.entry(name.clone()).or_insert(member);
            member.worker = Some(worker);
            member.known.seen = true;
            member.known.proven |= worker.is_available(min_ready, now);
            if worker.state == WorkerState::Stopping {
                member.known.going.get_or_insert(now);
            }
        }
        Self { members, now, min_ready }
    }

    /// All that exist or may, those that go included, but for those that a standstill has dismissed.
    pub(super) fn total(&self) -> u32 {
        self.members.values().filter(|member| member.is_kept() || !member.known.dismissed).count() as u32
    }

    /// Those that are to stay.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&WorkerName, &Member<'a>)> {
        self.members.iter().filter(|(_, member)| member.is_kept())
    }

    /// Those that are to stay, of one version.
    pub(super) fn kept_of(&self, revision: &Revision) -> impl Iterator<Item = (&WorkerName, &Member<'a>)> {
        self.kept().filter(move |(name, _)| name.revision == *revision)
    }

    pub(super) fn count(&self, revision: &Revision) -> u32 {
        self.kept_of(revision).count() as u32
    }

    pub(super) fn ready(&self, revision: &Revision) -> u32 {
        self.kept_of(revision).filter(|(_, member)| member.is_ready()).count() as u32
    }

    /// Whether some were asked for before that time and are ready.
    pub(super) fn has_older(&self, revision: &Revision, than: Time) -> bool {
        self.kept_of(revision).any(|(_, member)| member.is_ready() && member.known.asked < than)
    }

    pub(super) fn available(&self, revision: &Revision) -> u32 {
        self.kept_of(revision).filter(|(_, member)| self.is_available(member)).count() as u32
    }

    /// Whether it has been ready for as long as it takes to count.
    pub(super) fn is_available(&self, member: &Member<'_>) -> bool {
        let long = member.worker.is_some_and(|worker| worker.is_available(self.min_ready, self.now));
        member.is_kept() && long
    }

    /// When the next worker that is ready will have been so for long enough.
    pub(super) fn next_available(&self) -> Option<Time> {
        let soon = self.kept().filter(|(_, member)| member.is_ready() && !self.is_available(member));
        soon.map(|(_, member)| member.since().after(self.min_ready)).min()
    }

    /// When the next worker that was told to go and never seen counts as gone.
    pub(super) fn next_gone(&self) -> Option<Time> {
        let unseen = self.members.values().filter(|member| !member.known.seen);
        unseen.filter_map(|member| Some(member.known.going?.after(LOOK_LAG))).min()
    }

    /// Versions of workers that are to stay.
    pub(super) fn revisions(&self) -> BTreeSet<Revision> {
        self.kept().map(|(name, _)| name.revision.clone()).collect()
    }

    /// How many workers exist, or may, of other versions than this, those that go included.
    pub(super) fn foreign(&self, revision: &Revision) -> u32 {
        self.members.keys().filter(|name| name.revision != *revision).count() as u32
    }

    /// Whether a worker with that number exists, or may.
    pub(super) fn has_number(&self, replica: u32) -> bool {
        self.members.keys().any(|name| name.replica == replica)
    }

    /// Asks for one more worker of a version, under its lowest free number.
    pub(super) fn start(&mut self, revision: &Revision) {
        let free = |replica: &u32| {
            !self.members.contains_key(&WorkerName { revision: revision.clone(), replica: *replica })
        };
        let replica =
            (0..=self.members.len() as u32).find(free).expect("one number more than members is free");
        self.start_number(revision, replica);
    }

    /// Asks for the worker with that number.
    pub(super) fn start_number(&mut self, revision: &Revision, replica: u32) {
        self.ask(WorkerName { revision: revision.clone(), replica });
    }

    fn ask(&mut self, name: WorkerName) {
        let known = Known {
            name: name.clone(),
            asked: self.now,
            seen: false,
            proven: false,
            going: None,
            dismissed: false,
        };
        self.members.insert(name, Member { worker: None, known, lost: false });
    }

    /// Tells a worker to go. One that was lost while everything stood still has gone already; any other one may have been
    /// made again out of sight.
    pub(super) fn retire(&mut self, name: &WorkerName) {
        let member = self.members.get_mut(name).expect("only members are retired");
        if member.lost && member.known.dismissed {
            self.members.remove(name);
        } else {
            member.known.going.get_or_insert(self.now);
            member.known.dismissed = false;
        }
    }

    /// Asks for exactly these workers, whatever they were told before.
    pub(super) fn keep_only(&mut self, workers: &BTreeSet<WorkerName>) {
        while let Some(name) = self.first_to_go(|name, _| !workers.contains(name)) {
            self.retire(&name);
        }
        for name in workers {
            // One that is going is made again under the same name when it has gone.
            match self.members.get_mut(name) {
                Some(member) => member.known.going = None,
                None => self.ask(name.clone()),
            }
        }
    }

    /// Lets workers of a version go that are above the count and were lost while everything stood still: nobody misses
    /// them.
    pub(super) fn trim_lost(&mut self, revision: &Revision, count: u32) {
        while self.count(revision) > count {
            let lost = |name: &WorkerName, member: &Member<'_>| {
                member.lost && member.known.dismissed && name.revision == *revision
            };
            let Some(name) = self.first_to_go(lost) else { break };
            self.retire(&name);
        }
    }

    /// The worker to let go first among those that fit: one that is not ready, then one that has never lasted, then the
    /// one that began last, then the one with the highest number.
    pub(super) fn first_to_go(&self, fits: impl Fn(&WorkerName, &Member<'a>) -> bool) -> Option<WorkerName> {
        let candidates = self.kept().filter(|(name, member)| fits(name, member));
        let order = |(name, member): &(&WorkerName, &Member<'_>)| {
            (member.is_ready(), member.known.proven, Reverse((member.since(), name.replica)), (*name).clone())
        };
        candidates.min_by_key(order).map(|(name, _)| name.clone())
    }

    /// What to remember. A worker that was lost is asked for again; it may have been made again already, out of sight.
    pub(super) fn into_known(self) -> Vec<Known> {
        let now = self.now;
        let mut all = Vec::with_capacity(self.members.len());
        for (_, member) in self.members {
            let known = member.known;
            let asked = if member.lost { now } else { known.asked };
            let (seen, dismissed) = (known.seen && !member.lost, known.dismissed && !member.lost);
            all.push(Known { asked, seen, dismissed, ..known });
        }
        all
    }
}
