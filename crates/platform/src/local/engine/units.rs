//! Which workers of a vertex should own which units, where a unit is bound to workers: pure.
//!
//! Units that any worker may own are divided by `plan::assign`, through the keeper; here is what it cannot know.
//! Invariant: a unit has at most one owner, and a worker of a source has at most one unit.

use std::collections::{BTreeMap, BTreeSet};

use api::revision::Revision;
use model::Unit;
use plan::seen::WorkerName;

/// The workers that may own units.
pub(super) struct Workers<'a> {
    /// Those that can work now.
    pub(super) ready: BTreeSet<&'a WorkerName>,
    /// Those that could not be asked to take anything, and keep what they have while nobody else can.
    pub(super) lingering: BTreeSet<&'a WorkerName>,
    /// The share of each version.
    pub(super) shares: &'a BTreeMap<Revision, u32>,
}

/// Owners of units that belong to the worker with the same number, of whichever version. Versions with a worker of that
/// number share such units by weight; each version gets at least one where there are two, and a unit moves only when
/// it has to.
pub(super) fn numbered(
    units: &BTreeMap<Unit, u32>,
    workers: &Workers<'_>,
    owners: &BTreeMap<Unit, WorkerName>,
) -> BTreeMap<Unit, WorkerName> {
    let (mut settled, mut open) = (Vec::new(), Vec::new());
    for (unit, number) in units {
        let mut able: Vec<_> = workers.ready.iter().filter(|name| name.replica == *number).copied().collect();
        let owner = owners.get(unit);
        if able.is_empty() {
            able.extend(owner.and_then(|owner| workers.lingering.get(owner)).copied());
        }
        match able.as_slice() {
            [] => {}
            [only] => settled.push((*unit, *only)),
            _ => open.push((unit, owner, able)),
        }
    }
    if open.is_empty() {
        return settled.into_iter().map(|(unit, owner)| (unit, owner.clone())).collect();
    }
    let mut quotas = quotas(units.len() as u64, workers);
    let mut target = BTreeMap::new();
    for (unit, only) in settled {
        take(&mut target, &mut quotas, unit, only);
    }
    // Who has a unit keeps it while its version has room, before others choose.
    open.sort_by_key(|(_, owner, able)| owner.is_none_or(|owner| !able.contains(&owner)));
    let mut moving = Vec::new();
    for (unit, owner, able) in open {
        let stays = owner.filter(|owner| able.contains(owner) && quotas.get(&owner.revision) > Some(&0));
        match stays {
            Some(owner) => take(&mut target, &mut quotas, *unit, owner),
            None => moving.push((unit, able)),
        }
    }
    for (unit, able) in moving {
        let most = able.into_iter().max_by_key(|name| quotas.get(&name.revision).copied().unwrap_or(0));
        take(&mut target, &mut quotas, *unit, most.expect("several workers are able"));
    }
    target
}

fn take(
    target: &mut BTreeMap<Unit, WorkerName>,
    quotas: &mut BTreeMap<&Revision, i64>,
    unit: Unit,
    owner: &WorkerName,
) {
    target.insert(unit, owner.clone());
    if let Some(quota) = quotas.get_mut(&owner.revision) {
        *quota -= 1;
    }
}

/// How many units each version should own.
fn quotas<'a>(units: u64, workers: &Workers<'a>) -> BTreeMap<&'a Revision, i64> {
    let serving: BTreeSet<_> = workers.ready.iter().map(|name| &name.revision).collect();
    let revisions: Vec<_> = serving
        .iter()
        .filter_map(|revision| {
            let weight = *workers.shares.get(*revision)?;
            Some(plan::Fleet { weight, workers: BTreeSet::from([*revision]) })
        })
        .collect();
    let numbers: BTreeSet<u64> = (0..units).collect();
    let mut quotas: BTreeMap<&Revision, i64> = serving.iter().map(|revision| (*revision, 0)).collect();
    for revision in plan::assign(&numbers, &revisions, &BTreeMap::new()).into_values() {
        *quotas.entry(revision).or_default() += 1;
    }
    let starved: Vec<_> = revisions
        .iter()
        .filter(|revision| revision.weight > 0)
        .filter_map(|revision| revision.workers.first().copied())
        .filter(|revision| quotas[revision] == 0)
        .collect();
    for revision in starved {
        let richest = quotas.iter().max_by_key(|(_, quota)| **quota).map(|(name, quota)| (*name, *quota));
        if let Some((richest, 2..)) = richest {
            *quotas.get_mut(richest).expect("it was just seen") -= 1;
            *quotas.get_mut(revision).expect("it serves") += 1;
        }
    }
    quotas
}

/// Owners of units that are only numbers: every worker has one of its own, and keeps it. A number that somebody still
/// holds is not given to another.
pub(super) fn own(workers: &Workers<'_>, owners: &BTreeMap<Unit, WorkerName>) -> BTreeMap<Unit, WorkerName> {
    let mut target = BTreeMap::new();
    let mut waiting: BTreeSet<_> = workers.ready.clone();
    for (unit, owner) in owners {
        if waiting.remove(owner) || workers.lingering.contains(owner) {
            target.insert(*unit, owner.clone());
        }
    }
    let mut free = (0..).map(Unit::Source).filter(|unit| !owners.contains_key(unit));
    for worker in waiting {
        let unit = free.next().expect("there are more numbers than workers");
        target.insert(unit, worker.clone());
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(revision: &str, replica: u32) -> WorkerName {
        WorkerName { revision: Revision::from_text(revision), replica }
    }

    fn shares(weights: &[(&str, u32)]) -> BTreeMap<Revision, u32> {
        weights.iter().map(|(revision, weight)| (Revision::from_text(*revision), *weight)).collect()
    }

    fn units(count: u32) -> BTreeMap<Unit, u32> {
        (0..count).map(|number| (Unit::Source(number), number)).collect()
    }

    fn show(target: &BTreeMap<Unit, WorkerName>) -> String {
        let owner = |(unit, owner): (&Unit, &WorkerName)| match unit {
            Unit::Source(number) => format!("{number}:{}{}", owner.revision, owner.replica),
            Unit::Slot(slot) => format!("{slot}:{}{}", owner.revision, owner.replica),
        };
        target.iter().map(owner).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn units_go_to_their_number_and_are_shared_by_weight_where_versions_meet() {
        let all = [name("a", 0), name("a", 1), name("a", 2), name("a", 3), name("b", 0), name("b", 1)];
        let given = |shares: &[(&str, u32)], ready: &[usize], before: &BTreeMap<Unit, WorkerName>| {
            let shares = self::shares(shares);
            let ready = ready.iter().map(|at| &all[*at]).collect();
            let workers = Workers { ready, lingering: BTreeSet::new(), shares: &shares };
            numbered(&units(4), &workers, before)
        };
        let first = given(&[("a", 1)], &[0, 1, 2, 3], &BTreeMap::new());
        assert_eq!(show(&first), "0:a0 1:a1 2:a2 3:a3");
        // A tenth of four is less than one, and one is the least that says anything.
        let canary = given(&[("a", 90), ("b", 10)], &[0, 1, 2, 3, 4, 5], &first);
        assert_eq!(show(&canary), "0:a0 1:b1 2:a2 3:a3");
        assert_eq!(given(&[("a", 90), ("b", 10)], &[0, 1, 2, 3, 4, 5], &canary), canary);
        let half = given(&[("a", 1), ("b", 1)], &[0, 1, 2, 3, 4, 5], &canary);
        assert_eq!(show(&half), "0:b0 1:b1 2:a2 3:a3");
        // Somebody has to own what only one version has a worker for.
        let gone = given(&[("b", 1)], &[4, 5], &half);
        assert_eq!(show(&gone), "0:b0 1:b1");
    }

    #[test]
    fn a_single_unit_stays_where_it_is_unless_its_version_has_no_share() {
        let (old, new) = (name("a", 0), name("b", 0));
        let both = shares(&[("a", 90), ("b", 10)]);
        let before = BTreeMap::from([(Unit::Source(0), old.clone())]);
        let ready = BTreeSet::from([&old, &new]);
        let workers = Workers { ready, lingering: BTreeSet::new(), shares: &both };
        assert_eq!(show(&numbered(&units(1), &workers, &before)), "0:a0");
        let workers = Workers { ready: [&new].into(), lingering: [&old].into(), shares: &both };
        assert_eq!(show(&numbered(&units(1), &workers, &before)), "0:b0");
        let workers = Workers { ready: [].into(), lingering: [&old].into(), shares: &both };
        assert_eq!(show(&numbered(&units(1), &workers, &before)), "0:a0");
    }

    #[test]
    fn workers_of_their_own_units_keep_them_and_never_take_one_that_is_held() {
        let (old, new) = (name("a", 0), name("b", 0));
        let both = shares(&[("a", 1), ("b", 1)]);
        let workers = |ready: Vec<_>| Workers {
            ready: ready.into_iter().collect(),
            lingering: BTreeSet::new(),
            shares: &both,
        };
        let first = own(&workers(vec![&old]), &BTreeMap::new());
        assert_eq!(show(&first), "0:a0");
        let second = own(&workers(vec![&old, &new]), &first);
        assert_eq!(show(&second), "0:a0 1:b0");
        // The old one is told to go and has not let go yet: nobody is given its number.
        assert_eq!(show(&own(&workers(vec![&new]), &second)), "1:b0");
        assert_eq!(show(&own(&workers(vec![&new]), &first)), "1:b0");
    }
}
