//! How units change hands: which orders bring what is owned nearer to what [`assign`](crate::assign) wants, without
//! two workers ever being told to own the same unit. Whoever keeps a [`Book`] makes it known and learns what workers
//! hold; nothing of that is here. Invariant: a book names at most one owner for a unit, and each time a unit is given
//! it is given under a higher epoch.

use std::collections::{BTreeMap, BTreeSet};

/// What has been given to whom.
///
/// Orders are numbered, because a worker that does not hold a unit may have released it, or may not have heard yet that
/// it should claim it. Only a worker that has *followed* the orders in question has released what it does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book<U, W> {
    number: u64,
    floor: u64,
    units: BTreeMap<U, Ownership<W>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ownership<W> {
    /// The epoch under which the unit was given last.
    epoch: u64,
    hold: Hold<W>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hold<W> {
    /// Given to a worker by the orders with number `since`; 0 when it had the unit before there was this book.
    Given { to: W, since: u64 },
    /// Not in the orders of its former owner from number `at` on.
    Taken { from: W, at: u64 },
    /// Nobody's.
    Free,
}

/// What one worker is to own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders<U> {
    /// Grows with every change of the book.
    pub number: u64,
    /// Units with the epochs of their ownership. Whatever else the worker has it finishes and releases.
    pub units: BTreeMap<U, u64>,
}

/// What one worker says that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding<U> {
    /// The number of the last orders that it has followed: it has tried to claim every unit in them. It was read
    /// before `units`.
    pub followed: u64,
    /// The units that it has claimed and not released, with their epochs.
    pub units: BTreeMap<U, u64>,
}

/// What is seen of the workers of one vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<U, W> {
    /// What each worker said last. One that said nothing yet is not in it.
    pub workers: BTreeMap<W, Holding<U>>,
    /// Workers that are gone or count as gone. Their units are taken over at once.
    pub dead: BTreeSet<W>,
    /// Units that their owners were told to release and have kept for too long. They are taken over at once too.
    pub overdue: BTreeSet<U>,
}

impl<U, W> Default for Seen<U, W> {
    fn default() -> Self {
        Self { workers: BTreeMap::new(), dead: BTreeSet::new(), overdue: BTreeSet::new() }
    }
}

impl<U: Ord + Clone, W: Ord + Clone> Book<U, W> {
    /// A book in which nobody owns anything. Everything it gives has an epoch above `floor`, the highest epoch that any
    /// unit was ever owned under.
    pub fn new(floor: u64) -> Self {
        Self { number: 0, floor, units: BTreeMap::new() }
    }

    /// The same book with the numbers of its orders from here on, which must be above those of any book whose orders
    /// somebody may still follow.
    #[must_use]
    pub fn numbered_from(self, number: u64) -> Self {
        Self { number: self.number.max(number), ..self }
    }

    /// Notes that a worker has a unit since before there was this book; it goes on as if it had been given here. Gives
    /// false when the book knows better: the unit was given here, or somebody has it under a higher epoch.
    pub fn adopt(&mut self, unit: &U, worker: &W, epoch: u64) -> bool {
        let is_known = self.units.get(unit).is_some_and(|known| match &known.hold {
            Hold::Given { to: _, since } => *since > 0 || known.epoch >= epoch,
            Hold::Taken { .. } => true,
            Hold::Free => known.epoch > epoch.max(self.floor),
        });
        if !is_known {
            let hold = Hold::Given { to: worker.clone(), since: 0 };
            self.units.insert(unit.clone(), Ownership { epoch, hold });
        }
        !is_known
    }

    /// The book that brings what is owned one step nearer to `target`; equal to this one when nothing is to be done.
    ///
    /// A unit in the wrong hands is taken from its owner first, and given to the next one once the owner has released
    /// it. It is given at once when the owner is dead or keeps it for too long: then the higher epoch is what stops
    /// the former owner. An owner that followed its orders and does not hold the unit was refused, and gets it again
    /// under a higher epoch. Targets that are dead count as none, but that a unit of the dead which is meant for the dead
    /// stays as it is: should the owner be alive after all, it may go on.
    #[must_use]
    pub fn turn(&self, target: &BTreeMap<U, W>, seen: &Seen<U, W>) -> Self {
        let mut next = self.clone();
        next.number += 1;
        let unknown = target.keys().filter(|unit| !self.units.contains_key(unit));
        for unit in unknown {
            next.units.insert(unit.clone(), Ownership { epoch: self.floor, hold: Hold::Free });
        }
        let mut changed = false;
        for (unit, ownership) in &mut next.units {
            if let Some(hold) = step(unit, &ownership.hold, target.get(unit), seen, next.number) {
                if matches!(hold, Hold::Given { .. }) {
                    ownership.epoch = ownership.epoch.max(self.floor).max(reported(unit, seen)) + 1;
                }
                ownership.hold = hold;
                changed = true;
            }
        }
        if changed { next } else { self.clone() }
    }

    /// What this worker is to own.
    pub fn orders(&self, worker: &W) -> Orders<U> {
        let given = |(unit, ownership): (&U, &Ownership<W>)| match &ownership.hold {
            Hold::Given { to, since: _ } if to == worker => Some((unit.clone(), ownership.epoch)),
            Hold::Given { .. } | Hold::Taken { .. } | Hold::Free => None,
        };
        Orders { number: self.number, units: self.units.iter().filter_map(given).collect() }
    }

    /// Everything that is given, with its owner; what is on its way from one owner to another is not in it.
    pub fn given(&self) -> BTreeMap<U, W> {
        self.collect(|hold| match hold {
            Hold::Given { to, since: _ } => Some(to),
            Hold::Taken { .. } | Hold::Free => None,
        })
    }

    /// Units that were taken and not released yet, with the owners that are to release them.
    pub fn taken(&self) -> BTreeMap<U, W> {
        self.collect(|hold| match hold {
            Hold::Taken { from, at: _ } => Some(from),
            Hold::Given { .. } | Hold::Free => None,
        })
    }

    fn collect(&self, owner: impl Fn(&Hold<W>) -> Option<&W>) -> BTreeMap<U, W> {
        let named =
            |(unit, ownership): (&U, &Ownership<W>)| Some((unit.clone(), owner(&ownership.hold)?.clone()));
        self.units.iter().filter_map(named).collect()
    }
}

/// What becomes of one unit; none when nothing does.
fn step<U: Ord, W: Ord + Clone>(
    unit: &U,
    hold: &Hold<W>,
    target: Option<&W>,
    seen: &Seen<U, W>,
    number: u64,
) -> Option<Hold<W>> {
    let wanted = target.filter(|worker| !seen.dead.contains(worker));
    let give = |to: &W| Hold::Given { to: to.clone(), since: number };
    // Whoever followed these orders and does not hold the unit will not claim it any more.
    let without = |worker: &W, orders: u64| {
        let holding = seen.workers.get(worker);
        holding.is_some_and(|holding| holding.followed >= orders && !holding.units.contains_key(unit))
    };
    match hold {
        Hold::Free => wanted.map(give),
        // Nobody is there to go on instead: should the owner be alive after all, it may.
        Hold::Given { to, since: _ } if seen.dead.contains(to) && target.is_some() => wanted.map(give),
        Hold::Given { to, since } if Some(to) == wanted => without(to, *since).then(|| give(to)),
        Hold::Given { to, since: _ } => Some(Hold::Taken { from: to.clone(), at: number }),
        Hold::Taken { from, at } => {
            let over = seen.dead.contains(from) || seen.overdue.contains(unit) || without(from, *at);
            over.then(|| wanted.map_or(Hold::Free, give))
        }
    }
}

/// The highest epoch that anybody says the unit has.
fn reported<U: Ord, W>(unit: &U, seen: &Seen<U, W>) -> u64 {
    seen.workers.values().filter_map(|holding| holding.units.get(unit)).copied().max().unwrap_or(0)
}
