//! Workers of one version make place for those of another: some at a time, all at once, or number by number. Invariant:
//! nothing is started above the ceiling, and nobody who is ready is told to go below the floor, except where all old
//! workers must be gone first.

use std::collections::BTreeMap;

use api::resolve::Update;
use api::revision::Revision;

use super::roster::{Member, Roster};
use crate::seen::WorkerName;

/// How many workers there must and may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// What is wanted.
    pub(super) desired: u32,
    /// So many must be ready and serve.
    pub(super) floor: u32,
    /// So many may exist.
    pub(super) ceiling: u32,
    /// So many of a version that has not proved itself may be on their way.
    pub(super) batch: u32,
    /// So many may be missing.
    pub(super) unavailable: u32,
}

impl Limits {
    pub(super) fn of(update: &Update, desired: u32) -> Self {
        let mut unavailable = update.max_unavailable.of_rounded_down(desired).min(desired);
        let surge = update.max_surge.of_rounded_up(desired);
        if unavailable == 0 && surge == 0 {
            // Two percentages that come to nothing: one worker at a time is the least that gets anywhere.
            unavailable = 1;
        }
        Self {
            desired,
            floor: desired.saturating_sub(unavailable),
            ceiling: desired.saturating_add(surge),
            batch: unavailable.saturating_add(surge).max(1),
            unavailable,
        }
    }

    /// Room for so many more than are wanted, if that is more than there is already.
    pub(super) fn with_surge(self, surge: u32) -> Self {
        Self { ceiling: self.ceiling.max(self.desired.saturating_add(surge)), ..self }
    }
}

/// What a version is being replaced by, and how carefully.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) to: &'a Revision,
    /// The version that work can be left to while `to` has not proved itself.
    pub(super) stable: Option<&'a Revision>,
    /// It stays where it is.
    pub(super) frozen: bool,
}

/// Some at a time. All versions serve.
pub(super) fn roll(roster: &mut Roster<'_>, change: Change<'_>, limits: Limits) {
    let Change { to, stable, frozen } = change;
    let leaning_on = stable.filter(|stable| *stable != to && roster.ready(stable) > 0);
    let unproven = roster.count(to) - roster.available(to);
    let batch = match leaning_on {
        _ if frozen => 0,
        Some(_) => limits.batch.saturating_sub(unproven),
        None => u32::MAX,
    };
    fill(roster, to, limits.desired.min(roster.count(to).saturating_add(batch)), limits.ceiling);
    if let Some(stable) = leaning_on {
        let kept = roster.kept().count() as u32;
        let missing = limits.desired.saturating_sub(kept);
        fill(roster, stable, roster.count(stable) + missing, limits.ceiling);
    }
    trim(roster, to, limits.desired);
    let floor = if frozen { limits.ceiling.max(limits.floor) } else { limits.floor };
    shed(roster, to, Shed { floor, goals: &[to], serves: &|_| true, spared: stable });
    while roster.kept().count() as u32 > limits.ceiling {
        let idle = |name: &WorkerName, member: &Member<'_>| name.revision == *to && !member.is_ready();
        let Some(name) = roster.first_to_go(idle) else { break };
        roster.retire(&name);
    }
}

/// Starts workers of a version until there are so many, as far as the ceiling allows.
pub(super) fn fill(roster: &mut Roster<'_>, revision: &Revision, count: u32, ceiling: u32) {
    while roster.count(revision) < count && roster.total() < ceiling {
        roster.start(revision);
    }
}

/// Lets workers of a version go that are above the count.
pub(super) fn trim(roster: &mut Roster<'_>, revision: &Revision, count: u32) {
    while roster.count(revision) > count {
        let own = |name: &WorkerName, _: &Member<'_>| name.revision == *revision;
        let name = roster.first_to_go(own).expect("there are more than none");
        roster.retire(&name);
    }
}

/// Which workers are let go.
#[derive(Clone, Copy)]
pub(super) struct Shed<'a> {
    /// So many must be ready and serve afterwards.
    pub(super) floor: u32,
    /// Versions whose workers stay.
    pub(super) goals: &'a [&'a Revision],
    /// Versions that are given work; workers of others may go at any time.
    pub(super) serves: &'a dyn Fn(&Revision) -> bool,
    /// The version whose workers may be worth waiting for although they have never been ready.
    pub(super) spared: Option<&'a Revision>,
}

/// Lets go whom the floor can spare of the versions that shall not stay. Those that are not ready go first, as long as
/// enough are left that may become ready again; they are no capacity, so that a broken version keeps nobody waiting.
pub(super) fn shed(roster: &mut Roster<'_>, to: &Revision, rule: Shed<'_>) {
    let Shed { floor, goals, serves, spared } = rule;
    let leaves = |name: &WorkerName| !goals.contains(&&name.revision);
    while let Some(name) = roster.first_to_go(|name, _| leaves(name) && !serves(&name.revision)) {
        roster.retire(&name);
    }
    let hopeless = |name: &WorkerName, member: &Member<'_>| {
        leaves(name) && Some(&name.revision) != spared && !member.is_ready() && !member.known.proven
    };
    while let Some(name) = roster.first_to_go(hopeless) {
        roster.retire(&name);
    }
    let hope = |roster: &Roster<'_>| {
        let counts = |(name, member): &(&WorkerName, &Member<'_>)| {
            let counts = if name.revision == *to { roster.is_available(member) } else { member.is_ready() };
            serves(&name.revision) && (leaves(name) || counts)
        };
        roster.kept().filter(counts).count() as u32
    };
    while hope(roster) > floor {
        let Some(name) = roster.first_to_go(|name, member| leaves(name) && !member.is_ready()) else { break };
        roster.retire(&name);
    }
    while serving(roster, to, serves) > floor {
        let Some(name) = roster.first_to_go(|name, member| leaves(name) && member.is_ready()) else { break };
        roster.retire(&name);
    }
}

/// How many are ready and serve; those of the version that is to serve must have been ready for long enough.
pub(super) fn serving(roster: &Roster<'_>, to: &Revision, serves: &dyn Fn(&Revision) -> bool) -> u32 {
    let counts = |(name, member): &(&WorkerName, &Member<'_>)| {
        serves(&name.revision)
            && if name.revision == *to { roster.is_available(member) } else { member.is_ready() }
    };
    roster.kept().filter(counts).count() as u32
}

/// All others go, then all come.
pub(super) fn recreate(roster: &mut Roster<'_>, change: Change<'_>, desired: u32) {
    let Change { to, stable: _, frozen } = change;
    if frozen {
        return;
    }
    while let Some(name) = roster.first_to_go(|name, _| name.revision != *to) {
        roster.retire(&name);
    }
    trim(roster, to, desired);
    if roster.foreign(to) == 0 {
        fill(roster, to, desired, desired);
    }
}

/// One number at a time: its worker goes, and when it has gone another one comes with the same number.
pub(super) fn by_number(roster: &mut Roster<'_>, change: Change<'_>, desired: u32) {
    let Change { to, stable: _, frozen } = change;
    while let Some(name) =
        roster.first_to_go(|name, _| name.replica >= desired || is_double(roster, name, to))
    {
        roster.retire(&name);
    }
    for replica in 0..desired {
        if !roster.has_number(replica) {
            roster.start_number(to, replica);
        }
    }
    if frozen {
        return;
    }
    let others = |name: &WorkerName, _: &Member<'_>| name.revision != *to;
    if roster.available(to) + count(roster, &others) == desired
        && let Some(name) = roster.first_to_go(others)
    {
        roster.retire(&name);
    }
}

fn count(roster: &Roster<'_>, fits: &dyn Fn(&WorkerName, &Member<'_>) -> bool) -> u32 {
    roster.kept().filter(|(name, member)| fits(name, member)).count() as u32
}

/// Whether another worker with the same number has the better claim to it.
fn is_double(roster: &Roster<'_>, name: &WorkerName, to: &Revision) -> bool {
    let claim = |name: &WorkerName, member: &Member<'_>| {
        let holds = member.worker.is_some_and(|worker| worker.holds > 0);
        (holds, member.is_ready(), name.revision == *to, name.revision.clone())
    };
    let own = roster.kept().find(|(other, _)| *other == name).map(|(name, member)| claim(name, member));
    let others = roster.kept().filter(|(other, _)| other.replica == name.replica && *other != name);
    others.map(|(name, member)| Some(claim(name, member))).any(|other| other > own)
}

/// Every version serves by the number of its workers that are ready.
pub(super) fn shares_by_ready(roster: &Roster<'_>, to: &Revision) -> BTreeMap<Revision, u32> {
    let mut shares: BTreeMap<Revision, u32> =
        roster.revisions().into_iter().map(|revision| (revision.clone(), roster.ready(&revision))).collect();
    if shares.len() <= 1 {
        for weight in shares.values_mut() {
            *weight = 1;
        }
    }
    if shares.is_empty() {
        shares.insert(to.clone(), 1);
    }
    shares
}
