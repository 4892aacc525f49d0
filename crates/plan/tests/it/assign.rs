//! Dividing units among workers: even, by weight, and with as few moves as there can be.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_plan::{Fleet, assign};

type Units = BTreeSet<u32>;
type Owners = BTreeMap<u32, u32>;

fn units(count: u32) -> Units {
    (0..count).collect()
}

fn fleet(weight: u32, workers: &[u32]) -> Fleet<u32> {
    Fleet { weight, workers: workers.iter().copied().collect() }
}

fn moves(before: &Owners, after: &Owners) -> usize {
    before.iter().filter(|(unit, owner)| after.get(unit).is_some_and(|next| next != *owner)).count()
}

fn owned_by(assigned: &Owners, worker: u32) -> usize {
    assigned.values().filter(|owner| **owner == worker).count()
}

/// What is wrong with a division, if anything.
fn wrong(units: &Units, fleets: &[Fleet<u32>], assigned: &Owners) -> Option<String> {
    let serving: Vec<_> = fleets.iter().filter(|fleet| !fleet.workers.is_empty()).collect();
    if serving.is_empty() {
        return (!assigned.is_empty()).then(|| "somebody owns something".to_owned());
    }
    if assigned.keys().copied().collect::<Units>() != *units {
        return Some("not every unit is owned".to_owned());
    }
    let total: u64 = serving.iter().map(|fleet| u64::from(fleet.weight)).sum();
    let mut accounted = 0;
    for fleet in &serving {
        let counts: Vec<_> = fleet.workers.iter().map(|worker| owned_by(assigned, *worker)).collect();
        let share = counts.iter().sum::<usize>();
        accounted += share;
        if counts.iter().max() > counts.iter().map(|count| count + 1).min().as_ref() {
            return Some(format!("uneven: {counts:?}"));
        }
        let (weight, total) =
            if total == 0 { (1, serving.len() as u64) } else { (u64::from(fleet.weight), total) };
        let exact = units.len() as u64 * weight;
        let (down, up) = ((exact / total) as usize, exact.div_ceil(total) as usize);
        if share < down || share > up {
            return Some(format!("a share of {share} is not between {down} and {up}"));
        }
    }
    (accounted != assigned.len()).then(|| "somebody owns a unit who is not ready".to_owned())
}

/// The fewest moves of any division that is right, by trying all of them.
fn fewest_moves(units: &Units, fleets: &[Fleet<u32>], owners: &Owners) -> usize {
    let workers: Vec<u32> = fleets.iter().flat_map(|fleet| fleet.workers.clone()).collect();
    let count = units.len() as u32;
    (0..(workers.len() as u64).pow(count))
        .filter_map(|code| {
            let mut code = code;
            let mut division = Owners::new();
            for unit in units {
                division.insert(*unit, workers[(code % workers.len() as u64) as usize]);
                code /= workers.len() as u64;
            }
            wrong(units, fleets, &division).is_none().then(|| moves(owners, &division))
        })
        .min()
        .expect("some division is right")
}

struct Case {
    units: Units,
    fleets: Vec<Fleet<u32>>,
    owners: Owners,
}

/// A random case with at most so many units, workers and fleets; owners may be gone, unwanted or missing.
fn random_case(random: &mut fastrand::Rng, most: (u32, u32, u32)) -> Case {
    let (units_max, workers_max, revisions_max) = most;
    let units = (0..units_max).filter(|_| random.u8(..) < 220).collect();
    let mut fleets: Vec<_> = (0..random.u32(1..=revisions_max))
        .map(|_| Fleet { weight: [0, 1, 2, 10, 90, 100][random.usize(..6)], workers: BTreeSet::new() })
        .collect();
    for worker in 0..random.u32(0..=workers_max) {
        let at = random.usize(..fleets.len());
        fleets[at].workers.insert(worker);
    }
    let owned: Units = (0..=units_max).filter(|_| random.u8(..) < 200).collect();
    let owners = owned.into_iter().map(|unit| (unit, random.u32(0..=workers_max))).collect();
    Case { units, fleets, owners }
}

#[test]
fn small_divisions_are_right_and_move_as_little_as_any_other() {
    for seed in 0..4000 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let case = random_case(random, (5, 4, 3));
        let after = assign(&case.units, &case.fleets, &case.owners);
        assert_eq!(wrong(&case.units, &case.fleets, &after), None, "seed {seed}");
        if after.is_empty() {
            continue;
        }
        let fewest = fewest_moves(&case.units, &case.fleets, &case.owners);
        assert_eq!(moves(&case.owners, &after), fewest, "seed {seed}");
    }
}

#[test]
fn large_divisions_are_right_and_dividing_again_moves_nothing() {
    for seed in 0..1500 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let case = random_case(random, (300, 40, 3));
        let after = assign(&case.units, &case.fleets, &case.owners);
        assert_eq!(wrong(&case.units, &case.fleets, &after), None, "seed {seed}");
        assert_eq!(assign(&case.units, &case.fleets, &after), after, "seed {seed}");
        assert_eq!(assign(&case.units, &case.fleets, &case.owners), after, "seed {seed}");
    }
}

#[test]
fn a_worker_that_comes_takes_its_share_and_nothing_else_moves() {
    for seed in 0..1000 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let (count, workers) = (random.u32(1..400), random.u32(1..40));
        let all: Vec<u32> = (0..=workers).collect();
        let before = assign(&units(count), &[fleet(1, &all[1..])], &Owners::new());
        let after = assign(&units(count), &[fleet(1, &all)], &before);
        assert!(moves(&before, &after) <= count.div_ceil(workers + 1) as usize, "seed {seed}");
        assert_eq!(moves(&before, &after), owned_by(&after, 0), "seed {seed}");
    }
}

#[test]
fn when_a_worker_goes_only_its_units_move() {
    for seed in 0..1000 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let (count, workers) = (random.u32(1..400), random.u32(2..40));
        let all: Vec<u32> = (0..workers).collect();
        let before = assign(&units(count), &[fleet(1, &all)], &Owners::new());
        let after = assign(&units(count), &[fleet(1, &all[1..])], &before);
        assert_eq!(moves(&before, &after), owned_by(&before, 0), "seed {seed}");
    }
}

#[test]
fn a_canary_takes_its_weight_and_gives_it_back() {
    let stable = [1, 2, 3];
    let before = assign(&units(64), &[fleet(100, &stable)], &Owners::new());
    let canary = assign(&units(64), &[fleet(90, &stable), fleet(10, &[9])], &before);
    // A tenth of 64 is 6.4, and rounding up moves more than rounding down.
    assert_eq!((owned_by(&canary, 9), moves(&before, &canary)), (6, 6));
    let half = assign(&units(64), &[fleet(50, &stable), fleet(50, &[9])], &canary);
    assert_eq!((owned_by(&half, 9), moves(&canary, &half)), (32, 26));
    let back = assign(&units(64), &[fleet(100, &stable), fleet(0, &[9])], &canary);
    assert_eq!((owned_by(&back, 9), moves(&canary, &back)), (0, 6));
}

#[test]
fn a_share_that_nobody_can_serve_goes_to_the_others() {
    let alone = assign(&units(10), &[fleet(90, &[]), fleet(10, &[5])], &Owners::new());
    assert_eq!(owned_by(&alone, 5), 10);
    let weightless = assign(&units(10), &[fleet(100, &[]), fleet(0, &[5])], &Owners::new());
    assert_eq!(owned_by(&weightless, 5), 10);
    assert_eq!(assign(&units(10), &[fleet(100, &[])], &alone), Owners::new());
}

#[test]
fn neighbours_come_to_different_workers() {
    let fresh = assign(&units(8), &[fleet(1, &[0, 1])], &Owners::new());
    assert_eq!(fresh.values().copied().collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1, 0, 1]);
}
