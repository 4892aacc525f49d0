//! Who owns which unit of the fake world, by the same functions as everywhere: [`plan::assign`] and [`plan::Book`].
//! Invariant: the keeper sees what is true, a little late, and never makes a worker up.

use std::collections::{BTreeMap, BTreeSet};

use plan::seen::{WorkerName, WorkerState};
use plan::{Fleet, Holding, Seen, Time, assign};

use super::world::{Place, World};

/// How long a unit may stay with an owner that was told to release it.
const PATIENCE_MS: u128 = 3_000;

impl World {
    /// One turn of the keeper, and of the workers that follow it.
    pub(super) fn keep(&mut self) {
        let now = self.now;
        for place in self.places.values_mut() {
            turn(place, now);
            follow(place, now);
        }
    }
}

/// Who should own what.
pub(super) fn target(place: &Place) -> BTreeMap<u32, WorkerName> {
    let stopped = place.kind == api::resolve::VertexKind::Source && !place.reading.0;
    if stopped {
        return BTreeMap::new();
    }
    let is_ready = |name: &&WorkerName| place.workers[*name].state == WorkerState::Ready;
    let ready = || place.workers.keys().filter(is_ready);
    let owners = place.book.given();
    if place.bound {
        let by_number = |unit: &u32| {
            let fits = |name: &&WorkerName| {
                name.replica == *unit && place.shares.get(&name.revision).is_some_and(|share| *share > 0)
            };
            let owner = owners.get(unit).filter(|owner| ready().any(|name| name == *owner)).filter(fits);
            Some((*unit, owner.or_else(|| ready().find(fits))?.clone()))
        };
        return (0..place.partitions).filter_map(|unit| by_number(&unit)).collect();
    }
    let fleets: Vec<Fleet<WorkerName>> = place
        .shares
        .iter()
        .map(|(revision, weight)| Fleet {
            weight: *weight,
            workers: ready().filter(|name| name.revision == *revision).cloned().collect(),
        })
        .collect();
    assign(&(0..place.waiting.len() as u32).collect::<BTreeSet<_>>(), &fleets, &owners)
}

fn turn(place: &mut Place, now: Time) {
    let target = target(place);
    let taken = place.book.taken();
    place.taken_since.retain(|unit, _| taken.contains_key(unit));
    for unit in taken.keys() {
        place.taken_since.entry(*unit).or_insert(now);
    }
    let overdue =
        |(unit, since): (&u32, &Time)| (now.since(*since).as_millis() > PATIENCE_MS).then_some(*unit);
    let named: BTreeSet<WorkerName> = place.book.given().into_values().chain(taken.into_values()).collect();
    let seen = Seen {
        workers: place
            .workers
            .iter()
            .map(|(name, body)| {
                let units = body.holds.iter().map(|(unit, (epoch, _))| (*unit, *epoch)).collect();
                (name.clone(), Holding { followed: body.followed, units })
            })
            .collect(),
        dead: named.into_iter().filter(|name| !place.workers.contains_key(name)).collect(),
        overdue: place.taken_since.iter().filter_map(overdue).collect(),
    };
    // A unit that nobody is to own is sealed against an owner that does not let go.
    let sealed: Vec<u32> = seen.overdue.iter().filter(|unit| !target.contains_key(unit)).copied().collect();
    place.book = place.book.turn(&target, &seen);
    for unit in sealed {
        let stale: u64 = place
            .workers
            .values()
            .filter_map(|body| body.holds.get(&unit))
            .filter(|(epoch, _)| *epoch == place.fence[unit as usize])
            .map(|(_, in_hand)| in_hand)
            .sum();
        place.waiting[unit as usize] += stale;
        place.fence[unit as usize] += 1;
    }
}

/// Workers claim what they were given and release what they were not.
fn follow(place: &mut Place, now: Time) {
    let names: Vec<WorkerName> = place.workers.keys().cloned().collect();
    for name in names {
        let orders = place.book.orders(&name);
        let body = &place.workers[&name];
        let hears =
            matches!(body.state, WorkerState::Ready | WorkerState::Stopping) && body.hangs_until <= now;
        if !hears || body.followed == orders.number {
            if hears {
                release(place, &name, &orders.units);
            }
            continue;
        }
        release(place, &name, &orders.units);
        for (unit, epoch) in &orders.units {
            let fence = place.fence[*unit as usize];
            let held = place.workers[&name].holds.contains_key(unit);
            if *epoch > fence {
                // Whoever had it before is refused from here on; what that one had in hand is unread again.
                let lost: u64 = place
                    .workers
                    .values()
                    .filter_map(|body| body.holds.get(unit))
                    .filter(|(old, _)| *old == fence)
                    .map(|(_, in_hand)| in_hand)
                    .sum();
                place.waiting[*unit as usize] += lost;
                place.fence[*unit as usize] = *epoch;
                place.workers.get_mut(&name).expect("it follows").holds.insert(*unit, (*epoch, 0));
            } else if !held && *epoch == fence {
                place.workers.get_mut(&name).expect("it follows").holds.insert(*unit, (*epoch, 0));
            }
        }
        place.workers.get_mut(&name).expect("it follows").followed = orders.number;
    }
}

/// Lets go of units that are not the worker's and of which it has nothing in hand.
fn release(place: &mut Place, name: &WorkerName, units: &BTreeMap<u32, u64>) {
    let body = place.workers.get_mut(name).expect("it follows");
    body.holds.retain(|unit, (_, in_hand)| units.contains_key(unit) || *in_hand > 0);
}
