//! Tables: for each second in which there is demand, how much may begin and how much does.

use super::*;

const ALONE: Part = Part { members: 1, place: 0 };

/// Ten to 110 within ten seconds: steps of ten.
fn rate(mode: Mode) -> Rate {
    Rate { max: 110, min: 10, ramp_up: Duration::from_secs(10), mode }
}

/// Demand in these seconds (second, messages that begin; none begin beyond what may) gives these allowances.
fn assert_allows(mode: &Mode, seconds: &[(u64, u64)], expected: &[u64]) {
    let mut bucket = Bucket::new(rate(mode.clone()));
    let allowed: Vec<_> = seconds
        .iter()
        .map(|(second, begin)| {
            let allowed = bucket.demand(*second, ALONE);
            bucket.take(*begin);
            allowed
        })
        .collect();
    assert_eq!(allowed, expected, "{mode:?}");
}

#[test]
fn a_scheduled_rate_climbs_with_time_whatever_is_used() {
    let demand = [(1, 10), (2, 0), (3, 5), (9, 0), (12, 0), (13, 110), (14, 0)];
    assert_allows(&Mode::Scheduled, &demand, &[10, 20, 30, 90, 110, 110, 110]);
}

#[test]
fn a_relaxed_rate_climbs_with_every_second_of_demand() {
    let demand = [(1, 10), (2, 0), (3, 5), (9, 0), (12, 0)];
    assert_allows(&Mode::Relaxed, &demand, &[10, 20, 30, 40, 50]);
    let long: Vec<_> = (1..=13).map(|second| (second, 1)).collect();
    let expected = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 110, 110];
    assert_allows(&Mode::Relaxed, &long, &expected);
}

#[test]
fn a_rate_for_those_who_use_it_stands_still_otherwise() {
    let demand = [(1, 5), (2, 9), (3, 10), (4, 0), (9, 30), (10, 0)];
    assert_allows(&Mode::OnlyIfUsed { threshold: 50 }, &demand, &[10, 20, 20, 30, 30, 40]);
    assert_allows(&Mode::OnlyIfUsed { threshold: 100 }, &[(1, 9), (2, 10), (3, 20)], &[10, 10, 20]);
    assert_allows(&Mode::OnlyIfUsed { threshold: 0 }, &[(1, 0), (2, 0)], &[10, 20]);
}

#[test]
fn a_rate_that_goes_back_falls_by_a_step_when_too_little_is_used() {
    let mode = Mode::GoBackN { cool_down: Duration::from_secs(5), ramp_down: 50, threshold: 100 };
    let demand = [(1, 10), (2, 20), (3, 10), (4, 20), (5, 0), (6, 20), (7, 30)];
    assert_allows(&mode, &demand, &[10, 20, 30, 20, 30, 20, 30]);
    // Never below the foot of the ramp.
    assert_allows(&mode, &[(1, 0), (2, 0), (3, 0)], &[10, 10, 10]);
}

#[test]
fn a_rate_that_goes_back_falls_by_the_length_of_a_gap() {
    let mode = Mode::GoBackN { cool_down: Duration::from_secs(5), ramp_down: 50, threshold: 50 };
    // Up to 60; a gap of five seconds costs nothing, one of seven costs half a step for each of six seconds.
    let up: Vec<_> = (1..=6).map(|second| (second, 110)).collect();
    let allowed = |gap: u64| {
        let mut bucket = Bucket::new(rate(mode.clone()));
        for (second, _) in &up {
            let may = bucket.demand(*second, ALONE);
            bucket.take(may);
        }
        bucket.demand(6 + gap, ALONE)
    };
    assert_eq!(allowed(1), 70);
    assert_eq!(allowed(5), 70);
    assert_eq!(allowed(7), 30);
    assert_eq!(allowed(1_000), 10);
}

#[test]
fn a_ramp_of_no_time_is_one_step() {
    let rate = Rate { max: 100, min: 1, ramp_up: Duration::ZERO, mode: Mode::Relaxed };
    let mut bucket = Bucket::new(rate);
    assert_eq!([7, 8, 9].map(|second| bucket.demand(second, ALONE)), [1, 100, 100]);
}

#[test]
fn what_is_not_used_in_a_second_is_lost_and_what_is_used_beyond_is_owed() {
    let flat = Rate { max: 10, min: 10, ramp_up: Duration::from_secs(1), mode: Mode::Relaxed };
    let mut bucket = Bucket::new(flat);
    assert_eq!(bucket.demand(1, ALONE), 10);
    bucket.take(4);
    assert_eq!(bucket.demand(1, ALONE), 6);
    assert_eq!(bucket.demand(2, ALONE), 10);
    bucket.take(25);
    assert_eq!(bucket.demand(2, ALONE), 0);
    assert_eq!(bucket.demand(3, ALONE), 0);
    assert_eq!(bucket.demand(4, ALONE), 5);
    // A clock that goes back gives nothing twice.
    bucket.take(5);
    assert_eq!(bucket.demand(1, ALONE), 0);
}

#[test]
fn a_bucket_begins_where_a_former_one_was_but_within_its_ramp() {
    for (former, expected) in [(0, 10), (50, 50), (5_000, 110)] {
        let mut bucket = Bucket::new(rate(Mode::Relaxed));
        bucket.resume(former);
        assert_eq!(bucket.reached(), expected);
        assert_eq!(bucket.demand(100, ALONE), expected, "{former}");
    }
}

#[test]
fn parts_of_a_second_add_up_and_go_round() {
    for (messages, members) in [(0, 3), (1, 3), (2, 3), (10, 3), (110, 7), (5, 1), (3, 20), (u64::MAX, 2)] {
        let part = |place, second| Part { members, place }.of(messages, second);
        for second in [1_700_000_000, 1_700_000_001] {
            let sum: u128 = (0..members).map(|place| u128::from(part(place, second))).sum();
            assert_eq!(sum, u128::from(messages), "{messages} over {members}");
        }
        let over_time = |place| (0..members).map(|second| u128::from(part(place, second))).sum::<u128>();
        assert!(
            (0..members).all(|place| over_time(place) == u128::from(messages)),
            "{messages} over {members}"
        );
    }
}
