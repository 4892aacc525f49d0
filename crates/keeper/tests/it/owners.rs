//! Orders for the workers of a vertex, turn by turn.

use std::collections::{BTreeMap, BTreeSet};

use model::{Epoch, Incarnation, Name, Slot, Time, Unit};
use tidegate_keeper::{Fleet, Orders, Owners, OwnersSettings, Wanted, WorkerReport};

const OLD: Incarnation = Incarnation(1);
const YOUNG: Incarnation = Incarnation(2);

fn vertex() -> Name {
    Name::new("map")
}

fn units() -> BTreeSet<Unit> {
    (0..4).map(|number| Unit::Slot(Slot { partition: 0, number })).collect()
}

fn ready(workers: &[Incarnation]) -> Wanted {
    Wanted::Shared {
        units: units(),
        revisions: vec![Fleet { weight: 1, workers: workers.iter().copied().collect() }],
    }
}

fn turn(owners: &mut Owners, wanted: &Wanted, seconds: i64) {
    owners.turn(&vertex(), wanted, &BTreeSet::new(), at(seconds));
}

fn at(seconds: i64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn orders(owners: &Owners, worker: Incarnation) -> BTreeMap<Unit, Epoch> {
    owners.orders(&vertex(), worker).units
}

/// A worker that has done what it was told.
fn obey(owners: &mut Owners, worker: Incarnation, seconds: i64) {
    let Orders { number, units } = owners.orders(&vertex(), worker);
    owners.hear(&vertex(), worker, WorkerReport { followed: number, units }, at(seconds));
}

/// A worker that still holds what it held, and has heard of nothing.
fn linger(owners: &mut Owners, worker: Incarnation, held: &WorkerReport, seconds: i64) {
    owners.hear(&vertex(), worker, held.clone(), at(seconds));
}

/// The old worker owns everything since second 0.
fn settled() -> (Owners, WorkerReport) {
    let mut owners = Owners::new(Epoch(5), OwnersSettings::default());
    turn(&mut owners, &ready(&[OLD]), 0);
    let all = orders(&owners, OLD);
    assert_eq!(all, units().into_iter().map(|unit| (unit, Epoch(6))).collect());
    obey(&mut owners, OLD, 0);
    turn(&mut owners, &ready(&[OLD]), 0);
    assert!(owners.is_settled(&vertex()));
    (owners, WorkerReport { followed: 1, units: all })
}

#[test]
fn a_worker_that_comes_gets_its_half_once_it_is_released() {
    let (mut owners, held) = settled();
    turn(&mut owners, &ready(&[OLD, YOUNG]), 1);
    assert_eq!((orders(&owners, OLD).len(), orders(&owners, YOUNG).len()), (2, 0));
    linger(&mut owners, OLD, &held, 2);
    obey(&mut owners, YOUNG, 2);
    turn(&mut owners, &ready(&[OLD, YOUNG]), 2);
    assert!(orders(&owners, YOUNG).is_empty());
    assert!(!owners.is_settled(&vertex()));
    obey(&mut owners, OLD, 3);
    turn(&mut owners, &ready(&[OLD, YOUNG]), 3);
    assert_eq!(orders(&owners, YOUNG).values().collect::<Vec<_>>(), [&Epoch(7), &Epoch(7)]);
    assert!(owners.is_settled(&vertex()));
}

#[test]
fn a_worker_that_goes_is_clear_when_it_has_released_everything() {
    let (mut owners, held) = settled();
    turn(&mut owners, &ready(&[YOUNG]), 1);
    linger(&mut owners, OLD, &held, 1);
    assert!(!owners.is_clear(&vertex(), OLD));
    obey(&mut owners, OLD, 2);
    turn(&mut owners, &ready(&[YOUNG]), 2);
    assert!(owners.is_clear(&vertex(), OLD));
    assert_eq!(orders(&owners, YOUNG).len(), 4);
}

#[test]
fn the_units_of_a_silent_worker_are_taken_over() {
    let (mut owners, _) = settled();
    for seconds in 1..5 {
        obey(&mut owners, YOUNG, seconds);
        turn(&mut owners, &ready(&[YOUNG]), seconds);
        assert!(orders(&owners, YOUNG).is_empty(), "second {seconds}");
    }
    obey(&mut owners, YOUNG, 5);
    turn(&mut owners, &ready(&[YOUNG]), 5);
    assert_eq!(orders(&owners, YOUNG).values().collect::<BTreeSet<_>>(), BTreeSet::from([&Epoch(7)]));
}

#[test]
fn the_units_of_a_worker_that_is_known_to_be_gone_are_taken_over_at_once() {
    let (mut owners, _) = settled();
    owners.turn(&vertex(), &ready(&[YOUNG]), &BTreeSet::from([OLD]), at(1));
    assert_eq!(orders(&owners, YOUNG).len(), 4);
    assert!(owners.is_clear(&vertex(), OLD));
}

#[test]
fn a_worker_that_hangs_loses_its_units_after_the_time_for_a_release() {
    let (mut owners, held) = settled();
    let mut taken_over = None;
    for seconds in 1..60 {
        linger(&mut owners, OLD, &held, seconds);
        obey(&mut owners, YOUNG, seconds);
        turn(&mut owners, &ready(&[YOUNG]), seconds);
        if !orders(&owners, YOUNG).is_empty() {
            taken_over = Some(seconds);
            break;
        }
    }
    assert_eq!(taken_over, Some(31));
}

#[test]
fn a_silent_worker_without_anybody_to_go_on_keeps_its_units() {
    let (mut owners, held) = settled();
    turn(&mut owners, &ready(&[]), 100);
    assert_eq!(orders(&owners, OLD), held.units);
    linger(&mut owners, OLD, &held, 101);
    turn(&mut owners, &ready(&[OLD]), 101);
    assert_eq!(orders(&owners, OLD), held.units);
}

#[test]
fn while_nobody_is_ready_everything_stays_as_it_is() {
    let (mut owners, held) = settled();
    obey(&mut owners, OLD, 1);
    turn(&mut owners, &ready(&[]), 1);
    assert_eq!(orders(&owners, OLD), held.units);
    let nothing = Wanted::Shared { units: BTreeSet::new(), revisions: Vec::new() };
    turn(&mut owners, &nothing, 1);
    assert_eq!(orders(&owners, OLD), BTreeMap::new());
    obey(&mut owners, OLD, 2);
    turn(&mut owners, &nothing, 2);
    assert!(owners.is_clear(&vertex(), OLD));
}

#[test]
fn a_bound_unit_follows_its_replica_from_life_to_life() {
    let bound = |zeroth, first| Wanted::Bound([(Unit::Source(0), zeroth), (Unit::Source(1), first)].into());
    let mut owners = Owners::new(Epoch(0), OwnersSettings::default());
    turn(&mut owners, &bound(OLD, YOUNG), 0);
    assert_eq!(orders(&owners, OLD), [(Unit::Source(0), Epoch(1))].into());
    assert_eq!(orders(&owners, YOUNG), [(Unit::Source(1), Epoch(1))].into());
    let reborn = Incarnation(3);
    owners.turn(&vertex(), &bound(reborn, YOUNG), &BTreeSet::from([OLD]), at(1));
    assert_eq!(orders(&owners, reborn), [(Unit::Source(0), Epoch(2))].into());
    assert_eq!(orders(&owners, YOUNG), [(Unit::Source(1), Epoch(1))].into());
}

#[test]
fn a_unit_has_a_holder_until_it_is_released_and_the_vertex_settles_with_that() {
    let nothing = Wanted::Shared { units: BTreeSet::new(), revisions: Vec::new() };
    let unit = *units().first().unwrap();
    let (mut owners, held) = settled();
    assert_eq!(owners.holder(&vertex(), unit), Some(OLD));
    linger(&mut owners, OLD, &held, 1);
    turn(&mut owners, &nothing, 1);
    assert_eq!(owners.holder(&vertex(), unit), Some(OLD), "it is not released");
    assert!(!owners.is_settled(&vertex()));
    obey(&mut owners, OLD, 2);
    turn(&mut owners, &nothing, 2);
    assert_eq!(owners.holder(&vertex(), unit), None);
    assert!(owners.is_settled(&vertex()));
}

#[test]
fn what_nobody_shall_have_is_taken_from_a_worker_that_has_ended() {
    let nothing = Wanted::Shared { units: BTreeSet::new(), revisions: Vec::new() };
    let (mut owners, _) = settled();
    for time in [1, 2] {
        owners.turn(&vertex(), &nothing, &BTreeSet::from([OLD]), at(time));
    }
    assert!(owners.is_settled(&vertex()));
}

#[test]
fn who_had_units_before_anybody_decided_keeps_them_and_followed_orders_of_before_count_for_nothing() {
    let held = |numbers: &[u16], epoch: u64| -> BTreeMap<Unit, Epoch> {
        let unit = |number: &u16| (Unit::Slot(Slot { partition: 0, number: *number }), Epoch(epoch));
        numbers.iter().map(unit).collect()
    };
    let mut owners = Owners::new(Epoch(9), OwnersSettings::default());
    owners.begin_at(1_000);
    owners.adopt(&vertex(), OLD, &held(&[0, 1], 8), at(0));
    owners.adopt(&vertex(), YOUNG, &held(&[2], 9), at(0));
    // What two say that they have belongs to the one with the higher epoch.
    owners.adopt(&vertex(), YOUNG, &held(&[1], 7), at(0));
    assert_eq!(owners.orders(&vertex(), OLD), Orders { number: 1_000, units: held(&[0, 1], 8) });
    for (worker, units) in [(OLD, held(&[0, 1], 8)), (YOUNG, held(&[2], 9))] {
        // The last orders of the former keeper that it followed.
        owners.hear(&vertex(), worker, WorkerReport { followed: 77, units }, at(1));
    }
    turn(&mut owners, &ready(&[OLD, YOUNG]), 1);
    assert_eq!(orders(&owners, OLD), held(&[0, 1], 8), "nothing moves");
    let given = orders(&owners, YOUNG);
    assert_eq!(given.len(), 2);
    assert_eq!(given.get(held(&[2], 9).keys().next().unwrap()), Some(&Epoch(9)), "{given:?}");
    assert_eq!(given.values().max(), Some(&Epoch(10)), "what nobody had is given above every epoch so far");
    obey(&mut owners, OLD, 2);
    obey(&mut owners, YOUNG, 2);
    turn(&mut owners, &ready(&[OLD, YOUNG]), 2);
    assert!(owners.is_settled(&vertex()));
    // Who turns up late with what was given to another has to let go of it.
    owners.adopt(&vertex(), Incarnation(3), &held(&[3], 9), at(3));
    assert!(orders(&owners, Incarnation(3)).is_empty());
}
