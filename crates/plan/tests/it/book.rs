//! Handing units over: never two owners unless the former one is fenced, and everything arrives in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_plan::{Book, Fleet, Holding, Orders, Seen, assign};

type Holdings = BTreeMap<u32, u64>;
/// A worker, the orders it followed, and what it holds.
type Said<'a> = (u32, u64, &'a [(u32, u64)]);

fn target(pairs: &[(u32, u32)]) -> BTreeMap<u32, u32> {
    pairs.iter().copied().collect()
}

fn seen(workers: &[Said<'_>]) -> Seen<u32, u32> {
    let holding = |(worker, followed, units): &Said<'_>| {
        (*worker, Holding { followed: *followed, units: units.iter().copied().collect() })
    };
    Seen { workers: workers.iter().map(holding).collect(), ..Seen::default() }
}

fn orders(book: &Book<u32, u32>, worker: u32) -> Vec<(u32, u64)> {
    book.orders(&worker).units.into_iter().collect()
}

#[test]
fn a_unit_is_given_on_only_after_its_owner_has_released_it() {
    let book = Book::new(7).turn(&target(&[(1, 10)]), &Seen::default());
    assert_eq!((book.orders(&10).number, orders(&book, 10)), (1, vec![(1, 8)]));
    // Not even heard yet: the order may still be carried out, so nobody else gets the unit.
    let moving = book.turn(&target(&[(1, 11)]), &seen(&[(10, 0, &[])]));
    assert_eq!((orders(&moving, 10), orders(&moving, 11)), (vec![], vec![]));
    assert_eq!(moving.taken(), target(&[(1, 10)]));
    let held = moving.turn(&target(&[(1, 11)]), &seen(&[(10, 1, &[(1, 8)])]));
    assert_eq!(held, moving);
    let finishing = held.turn(&target(&[(1, 11)]), &seen(&[(10, 2, &[(1, 8)])]));
    assert_eq!(finishing, moving);
    let released = finishing.turn(&target(&[(1, 11)]), &seen(&[(10, 2, &[])]));
    assert_eq!((orders(&released, 10), orders(&released, 11)), (vec![], vec![(1, 9)]));
    assert_eq!(released.given(), target(&[(1, 11)]));
}

#[test]
fn the_units_of_the_dead_are_given_on_at_once_under_a_higher_epoch() {
    let book = Book::new(0).turn(&target(&[(1, 10)]), &Seen::default());
    let dead = Seen { dead: BTreeSet::from([10]), ..seen(&[(10, 1, &[(1, 1)])]) };
    let after = book.turn(&target(&[(1, 11)]), &dead);
    assert_eq!((orders(&after, 10), orders(&after, 11)), (vec![], vec![(1, 2)]));
}

#[test]
fn with_nobody_to_go_on_the_dead_keep_what_they_have() {
    let book = Book::new(0).turn(&target(&[(1, 10)]), &Seen::default());
    let dead = Seen { dead: BTreeSet::from([10, 11]), ..Seen::default() };
    assert_eq!(book.turn(&target(&[(1, 10)]), &dead), book);
    assert_eq!(book.turn(&target(&[(1, 11)]), &dead), book);
}

#[test]
fn a_unit_of_the_dead_that_nobody_is_to_own_becomes_free() {
    let book = Book::new(0).turn(&target(&[(1, 10)]), &Seen::default());
    let dead = Seen { dead: BTreeSet::from([10]), ..Seen::default() };
    let taken = book.turn(&target(&[]), &dead);
    assert_eq!((taken.given(), taken.taken()), (target(&[]), target(&[(1, 10)])));
    let free = taken.turn(&target(&[]), &dead);
    assert_eq!((free.given(), free.taken()), (target(&[]), target(&[])));
    assert_eq!(orders(&free.turn(&target(&[(1, 11)]), &dead), 11), [(1, 2)]);
}

#[test]
fn a_unit_kept_for_too_long_is_taken_over() {
    let book = Book::new(0).turn(&target(&[(1, 10)]), &Seen::default());
    let taken = book.turn(&target(&[(1, 11)]), &seen(&[(10, 1, &[(1, 1)])]));
    let overdue = Seen { overdue: BTreeSet::from([1]), ..seen(&[(10, 2, &[(1, 1)])]) };
    assert_eq!(orders(&taken.turn(&target(&[(1, 11)]), &overdue), 11), [(1, 2)]);
}

#[test]
fn a_refused_owner_gets_the_unit_again_above_every_epoch_that_is_known() {
    let book = Book::new(0).turn(&target(&[(1, 10)]), &Seen::default());
    let waiting = seen(&[(10, 0, &[])]);
    assert_eq!(book.turn(&target(&[(1, 10)]), &waiting), book, "it has not heard of it yet");
    let refused = seen(&[(10, 1, &[]), (99, 0, &[(1, 6)])]);
    assert_eq!(orders(&book.turn(&target(&[(1, 10)]), &refused), 10), [(1, 7)]);
}

#[test]
fn a_unit_that_is_not_wanted_is_released_and_comes_back_under_a_higher_epoch() {
    let book = Book::new(0).turn(&target(&[(1, 10)]), &Seen::default());
    let unwanted = book.turn(&target(&[]), &seen(&[(10, 1, &[(1, 1)])]));
    assert_eq!((orders(&unwanted, 10), unwanted.taken()), (vec![], target(&[(1, 10)])));
    let free = unwanted.turn(&target(&[]), &seen(&[(10, 2, &[])]));
    assert_eq!((free.given(), free.taken()), (target(&[]), target(&[])));
    assert_eq!(orders(&free.turn(&target(&[(1, 10)]), &Seen::default()), 10), [(1, 2)]);
}

/// Workers that carry out orders some time after they were given and say so some time later.
struct World {
    random: fastrand::Rng,
    fence: Holdings,
    workers: BTreeMap<u32, Worker>,
    dead: BTreeSet<u32>,
}

#[derive(Default)]
struct Worker {
    inbox: VecDeque<Orders<u32>>,
    orders: Option<Orders<u32>>,
    followed: u64,
    holds: Holdings,
    finishing: BTreeSet<u32>,
    said: VecDeque<Holding<u32>>,
    /// Declared dead, and does not know.
    zombie: bool,
}

impl World {
    fn act(&mut self, id: u32) {
        let worker = self.workers.get_mut(&id).expect("the worker exists");
        match self.random.u8(..4) {
            0 => {
                // Only the latest orders count, and some are never seen.
                let skip = self.random.usize(..=worker.inbox.len());
                worker.orders = worker.inbox.drain(..skip).next_back().or(worker.orders.take());
                let Some(orders) = &worker.orders else { return };
                for (unit, epoch) in &worker.holds {
                    if orders.units.get(unit) != Some(epoch) {
                        worker.finishing.insert(*unit);
                    }
                }
                for (unit, epoch) in &orders.units {
                    let fence = self.fence.entry(*unit).or_default();
                    if !worker.holds.contains_key(unit) && *epoch > *fence {
                        *fence = *epoch;
                        worker.holds.insert(*unit, *epoch);
                    }
                }
                worker.followed = orders.number;
            }
            1 => {
                if let Some(unit) = worker.finishing.pop_first() {
                    worker.holds.remove(&unit);
                }
            }
            2 => worker.said.push_back(Holding { followed: worker.followed, units: worker.holds.clone() }),
            // A report is lost.
            _ => drop(worker.said.pop_front()),
        }
        // Who was fenced notices when it next commits.
        let fence = &self.fence;
        if self.random.u8(..) < 40 {
            worker.holds.retain(|unit, epoch| fence[unit] == *epoch);
            worker.finishing.retain(|unit| worker.holds.contains_key(unit));
        }
    }

    /// Two workers hold the same unit only when the lower epoch is that of a zombie.
    fn check(&self, seed: u64) {
        for (id, worker) in self.workers.iter().filter(|(_, worker)| !worker.zombie) {
            for (unit, epoch) in &worker.holds {
                let others = self.workers.iter().filter(|(other, worker)| *other != id && !worker.zombie);
                let also = others.filter(|(_, other)| other.holds.contains_key(unit)).count();
                assert_eq!(also, 0, "seed {seed}: unit {unit} has two owners, one under epoch {epoch}");
            }
        }
    }
}

#[test]
fn units_arrive_where_they_belong_and_never_have_two_living_owners() {
    for seed in 0..1500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let all: BTreeSet<u32> = (0..random.u32(1..12)).collect();
        let workers = random.u32(1..6);
        let mut world = World {
            random,
            fence: Holdings::new(),
            workers: (0..workers).map(|id| (id, Worker::default())).collect(),
            dead: BTreeSet::new(),
        };
        let mut book = Book::new(0);
        let mut seen = Seen::default();
        let mut wanted = BTreeMap::new();
        let mut epochs = Holdings::new();
        for round in 0..160 {
            let quiet = round >= 60;
            let change = !quiet && world.random.u8(..) < 20;
            if round == 0 || round == 60 || change {
                let ready: BTreeSet<u32> = (0..workers)
                    .filter(|id| !world.dead.contains(id) && (quiet || world.random.bool()))
                    .collect();
                wanted = assign(&all, &[Fleet { weight: 1, workers: ready }], &wanted);
            }
            if change && world.random.u8(..) < 60 && world.dead.len() + 1 < workers as usize {
                let id = world.random.u32(..workers);
                world.dead.insert(id);
                world.workers.get_mut(&id).unwrap().zombie = true;
                seen.dead = world.dead.clone();
                let left = (0..workers).filter(|id| !world.dead.contains(id)).collect();
                wanted = assign(&all, &[Fleet { weight: 1, workers: left }], &wanted);
            }
            let next = book.turn(&wanted, &seen);
            for id in 0..workers {
                let orders = next.orders(&id);
                for (unit, epoch) in &orders.units {
                    let known = epochs.insert(*unit, *epoch).unwrap_or(0);
                    let same = book.orders(&id).units.get(unit) == Some(epoch);
                    assert!(
                        *epoch > known || (same && *epoch == known),
                        "seed {seed}: an epoch did not grow"
                    );
                }
                if next != book {
                    world.workers.get_mut(&id).unwrap().inbox.push_back(orders);
                }
            }
            book = next;
            for _ in 0..workers * 3 {
                let id = world.random.u32(..workers);
                world.act(id);
                world.check(seed);
                if let Some(holding) = world.workers.get_mut(&id).unwrap().said.pop_front() {
                    seen.workers.insert(id, holding);
                }
            }
        }
        assert_eq!(book.given(), wanted, "seed {seed}");
        for (unit, owner) in &wanted {
            assert!(world.workers[owner].holds.contains_key(unit), "seed {seed}: unit {unit} is not held");
        }
    }
}
