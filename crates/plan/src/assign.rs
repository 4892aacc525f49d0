//! Who should own which unit: a pure function of the ready workers, the weights of their fleets and the owners so
//! far. How units change hands is for [`Book`](crate::Book). Invariant: while anybody is ready every unit has exactly
//! one owner, and no other division that is as even moves fewer units.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The workers of one version of a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet<W> {
    /// Its share of the units, relative to the weights of the other fleets.
    pub weight: u32,
    /// Its workers that are ready to own units.
    pub workers: BTreeSet<W>,
}

/// Divides `units` among the ready workers.
///
/// * A fleet owns its share of the units by weight, rounded down or up; shares of fleets without a ready worker
///   go to the others. When only fleets of weight zero have ready workers they count as equals: somebody who is
///   ready is better than nobody. A set that must own nothing whatever happens is left out.
/// * Within a fleet no worker owns two units more than another.
/// * Among all divisions with these properties it is one that leaves the most units with their owner, and when several
///   do, always the same one. Dividing what is divided already moves nothing.
///
/// `owners` is the division so far: best the last result of this function, so that units on their way from one worker
/// to another do not turn round. It may name workers that are not ready and units that are not wanted. Without a ready
/// worker the result is empty.
///
/// # Panics
/// When a worker is in two fleets.
pub fn assign<U: Ord + Clone, W: Ord + Clone>(
    units: &BTreeSet<U>,
    fleets: &[Fleet<W>],
    owners: &BTreeMap<U, W>,
) -> BTreeMap<U, W> {
    let mut held: BTreeMap<&W, u64> = BTreeMap::new();
    for worker in fleets.iter().flat_map(|fleet| &fleet.workers) {
        assert!(held.insert(worker, 0).is_none(), "a worker belongs to one fleet");
    }
    for unit in units {
        if let Some(count) = owners.get(unit).and_then(|owner| held.get_mut(owner)) {
            *count += 1;
        }
    }
    let serving: Vec<Group<'_, W>> = fleets
        .iter()
        .filter(|fleet| !fleet.workers.is_empty())
        .map(|fleet| Group::of(fleet, &held))
        .collect();
    let mut room = BTreeMap::new();
    for (group, share) in serving.iter().zip(shares(units.len() as u64, &serving)) {
        room.extend(group.divide(share));
    }
    hand_out(units, owners, room)
}

/// A fleet that serves, with what its workers hold so far, the most laden first.
struct Group<'a, W> {
    weight: u128,
    workers: Vec<(&'a W, u64)>,
}

impl<'a, W: Ord> Group<'a, W> {
    fn of(fleet: &'a Fleet<W>, held: &BTreeMap<&'a W, u64>) -> Self {
        let mut workers: Vec<_> = fleet.workers.iter().map(|worker| (worker, held[worker])).collect();
        workers.sort_by_key(|(worker, held)| (Reverse(*held), *worker));
        Self { weight: u128::from(fleet.weight), workers }
    }

    /// How many units each worker is to own when the fleet owns `share`. Who holds most gets what is left over,
    /// since only they can keep one unit more.
    fn divide(&self, share: u64) -> impl Iterator<Item = (&'a W, u64)> {
        let count = self.workers.len() as u64;
        let (base, over) = (share / count, share % count);
        self.workers
            .iter()
            .enumerate()
            .map(move |(place, (worker, _))| (*worker, base + u64::from((place as u64) < over)))
    }

    /// How many units stay with their owner when the fleet owns `share`.
    fn kept(&self, share: u64) -> u64 {
        self.divide(share).zip(&self.workers).map(|((_, target), (_, held))| target.min(*held)).sum()
    }
}

/// How many units each fleet owns: its exact share rounded down, and one more for as many as it takes to own all,
/// first where that keeps a unit in its place, then where the share was rounded down most.
fn shares<W: Ord>(units: u64, groups: &[Group<'_, W>]) -> Vec<u64> {
    let total: u128 = groups.iter().map(|group| group.weight).sum();
    let weight = |group: &Group<'_, W>| if total == 0 { 1 } else { group.weight };
    let total = if total == 0 { groups.len() as u128 } else { total };
    let mut shares = Vec::with_capacity(groups.len());
    let mut rounded = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let exact = u128::from(units) * weight(group);
        let share = u64::try_from(exact / total).expect("a share is not more than everything");
        shares.push(share);
        if exact % total > 0 {
            let gain = group.kept(share + 1) - group.kept(share);
            rounded.push((Reverse(gain), Reverse(exact % total), place));
        }
    }
    rounded.sort_unstable();
    let left = units - if groups.is_empty() { units } else { shares.iter().sum::<u64>() };
    assert!(left <= rounded.len() as u64, "rounding down loses less than one unit for each fleet");
    for (_, _, place) in rounded.into_iter().take(left as usize) {
        shares[place] += 1;
    }
    shares
}

/// Leaves units with their owner while it has room, and deals the others out in turn, so that neighbours, which lie in
/// different partitions, come to different workers.
fn hand_out<U: Ord + Clone, W: Ord + Clone>(
    units: &BTreeSet<U>,
    owners: &BTreeMap<U, W>,
    mut room: BTreeMap<&W, u64>,
) -> BTreeMap<U, W> {
    let mut assigned = BTreeMap::new();
    let mut moving = Vec::new();
    for unit in units {
        let owner = owners.get(unit);
        match owner.and_then(|owner| Some((owner, room.get_mut(owner).filter(|room| **room > 0)?))) {
            Some((owner, room)) => {
                *room -= 1;
                assigned.insert(unit.clone(), owner.clone());
            }
            None => moving.push(unit),
        }
    }
    let mut takers: VecDeque<_> = room.into_iter().filter(|(_, room)| *room > 0).collect();
    for unit in moving {
        let Some((worker, room)) = takers.pop_front() else { break };
        assigned.insert(unit.clone(), worker.clone());
        if room > 1 {
            takers.push_back((worker, room - 1));
        }
    }
    assigned
}
