//! Load shapes. A vertex under the default settings must follow each without swinging.

use tidegate_plan::scale::{Downstream, Rule};

use super::world::{LOOK, Place, World, at};

const HOUR: u64 = 3600;

/// Messages per second at a second.
type Shape = fn(u64) -> f64;

/// A long time after which nothing may change any more than twice.
const SETTLED: u64 = HOUR / 2;

#[test]
fn constant_load_settles_for_every_rate_speed_and_start_up_time() {
    for place in [Place::Source, Place::Map, Place::MonoVertex] {
        for rate in [5.0, 40.0, 99.0, 130.0, 450.0, 1010.0] {
            for (capacity, start_up) in [(100.0, 0), (100.0, 60), (400.0, 20), (37.0, 10)] {
                let mut world = World::new(place, "");
                (world.capacity, world.start_up) = (capacity, start_up);
                world.run(2 * HOUR, |_| rate);
                let name = format!("{place:?} at {rate}/s, a worker does {capacity}/s after {start_up} s");
                let changes = world.changes(HOUR);
                assert!(changes.len() <= 2, "{name}: {changes:#?}");
                let least = (rate / capacity).ceil() as u32;
                let now = world.replicas();
                assert!(now >= least, "{name}: {now} of {least}");
                assert!(f64::from(now) <= f64::from(least) * 1.5 + 2.0, "{name}: {now} of {least}");
                assert!(world.queue <= rate * 20.0, "{name}: {} wait", world.queue);
            }
        }
    }
}

#[test]
fn load_that_is_constant_but_for_noise_settles_too() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let place = [Place::Source, Place::Map, Place::MonoVertex][rng.usize(..3)];
        let mut world = World::new(place, "");
        world.capacity = 20.0 + 200.0 * rng.f64();
        let rate = 10.0 + 1000.0 * rng.f64();
        for _ in 0..2 * HOUR {
            world.second(rate * (0.5 + rng.f64()), f64::MAX);
        }
        let changes = world.changes(HOUR);
        let name = format!("seed {seed}: {place:?} at {rate}/s, a worker does {}/s", world.capacity);
        assert!(changes.len() <= 2, "{name}: {changes:#?}");
        assert!(f64::from(world.replicas()) * world.capacity >= rate, "{name}: {}", world.replicas());
    }
}

#[test]
fn an_idle_vertex_goes_to_zero_and_stays_there() {
    let mut world = World::new(Place::Map, "");
    world.run(4 * HOUR, |_| 0.0);
    let counts: Vec<u32> = world.changes(0).iter().map(|change| change.1).collect();
    assert_eq!(counts, [0]);
    // A source at zero is woken to look, one at a time, and nothing else.
    let mut world = World::new(Place::Source, "");
    world.run(4 * HOUR, |_| 0.0);
    assert!(world.decisions.iter().all(|(_, decision)| decision.replicas <= 1));
    // With a least count it stays there.
    let mut world = World::new(Place::Source, "min: 3, max: 7");
    world.run(4 * HOUR, |_| 0.0);
    assert_eq!(world.changes(0), []);
    assert_eq!(world.replicas(), 3);
}

#[test]
fn a_step_is_followed_up_and_down_and_the_backlog_is_worked_off() {
    let mut world = World::new(Place::Source, "scaleUpCooldownSeconds: 15, scaleDownCooldownSeconds: 30");
    world.run(600, |_| 80.0);
    assert!(world.replicas() <= 2, "{}", world.replicas());
    let step = world.second;
    while world.second < step + 600 && (world.second < step + 60 || world.queue > 800.0) {
        world.run(LOOK, |_| 800.0);
    }
    // Four steps up of fifteen seconds and the time to start, and three times the target for what has come in since.
    let took = world.second - step;
    assert!(took <= 4 * (15 + 10 + 10) + 2 * 3 * 20, "the backlog took {took} s: {:#?}", world.changes(step));
    world.run(900, |_| 800.0);
    assert!((8..=12).contains(&world.replicas()), "{}", world.replicas());
    world.run(900, |_| 80.0);
    assert!((1..=2).contains(&world.replicas()), "{}", world.replicas());
}

#[test]
fn a_ramp_and_a_sine_are_followed_without_falling_behind() {
    let shapes: [(&str, Shape); 2] = [
        ("ramp", |second| second as f64 / 6.0),
        ("sine", |second| 500.0 + 400.0 * (second as f64 * std::f64::consts::TAU / 3600.0).sin()),
    ];
    for (name, shape) in shapes {
        let mut world = World::new(Place::Map, "");
        let (mut most, mut direction_changes, mut last) = (0.0f64, 0, 1i64);
        world.run(HOUR, shape);
        for _ in 0..HOUR / LOOK {
            let before = i64::from(world.replicas());
            world.run(LOOK, shape);
            if world.second > HOUR + 300 {
                most = most.max(world.queue);
            }
            let moved = (i64::from(world.replicas()) - before).signum();
            if moved != 0 && moved != last {
                (direction_changes, last) = (direction_changes + 1, moved);
            }
        }
        assert!(most <= 24_000.0, "{name}: {most} wait: {:#?}", world.changes(0));
        assert!(direction_changes <= 4, "{name}: {:#?}", world.changes(HOUR));
    }
}

#[test]
fn a_burst_in_a_trickle_is_no_reason_to_grow() {
    // One message a second, and two thousand at once every ten minutes: a worker does a hundred a second.
    let mut world = World::new(Place::Map, "min: 1");
    world.run(2 * HOUR, |second| if second % 600 == 300 { 2000.0 } else { 1.0 });
    let most = world.decisions.iter().map(|(_, decision)| decision.replicas).max();
    assert!(most <= Some(2), "{:#?}", world.changes(0));
}

#[test]
fn silence_after_load_goes_to_zero_and_the_first_message_wakes_at_once() {
    let mut world = World::new(Place::Map, "");
    world.run(HOUR, |_| 300.0);
    assert!(world.replicas() >= 3);
    world.run(HOUR, |_| 0.0);
    assert_eq!(world.replicas(), 0);
    world.run(LOOK, |_| 1.0);
    assert_eq!(world.replicas(), 1);
    let (_, decision) = world.decisions.last().unwrap();
    assert_eq!(decision.reason, "woken: 5 messages are pending");
}

#[test]
fn a_source_before_a_slow_sink_does_not_grow_and_does_not_swing() {
    let mut world = World::new(Place::Source, "");
    world.queue = 1e6;
    // The sink takes 250 a second, and its buffer holds 24 000.
    let mut buffer = 0.0f64;
    for _ in 0..2 * HOUR {
        buffer += world.second(300.0, 24_000.0 - buffer);
        buffer -= buffer.min(250.0);
        world.downstream = vec![Downstream {
            vertex: "out".to_owned(),
            direct: true,
            drops: false,
            used_percent: buffer / 240.0,
            at: at(world.second),
        }];
    }
    let changes = world.changes(HOUR);
    assert!(changes.len() <= 2, "{changes:#?}");
    assert!((2..=4).contains(&world.replicas()), "{}: {changes:#?}", world.replicas());
    assert!(buffer > 20_000.0, "the sink has enough to do: {buffer}");
}

#[test]
fn more_workers_that_do_not_do_more_are_taken_back() {
    let mut world = World::new(Place::Source, "");
    // Something outside lets 250 a second through, however many there are.
    world.ceiling = 250.0;
    world.run(HOUR, |_| 400.0);
    let most = world.decisions.iter().map(|(_, decision)| decision.replicas).max();
    assert!(most <= Some(7), "{:#?}", world.changes(0));
    assert!((3..=5).contains(&world.replicas()), "{:#?}", world.changes(0));
    assert!(world.changes(SETTLED).len() <= 2, "{:#?}", world.changes(SETTLED));
}

#[test]
fn missed_looks_and_flapping_readiness_change_nothing() {
    let mut world = World::new(Place::Map, "");
    world.run(HOUR, |_| 430.0);
    let before = world.replicas();
    for _ in 0..HOUR / 20 {
        world.missed = world.second % 60 < 20;
        world.unready = usize::from(world.second % 100 >= 80);
        world.run(20, |_| 430.0);
    }
    let changes = world.changes(HOUR);
    assert!(changes.len() <= 2, "from {before}: {changes:#?}");
    assert!((5..=8).contains(&world.replicas()), "{}", world.replicas());
}

#[test]
fn ten_minutes_without_any_look_hold_and_say_so() {
    let mut world = World::new(Place::Map, "");
    world.run(HOUR, |_| 430.0);
    let (before, at) = (world.replicas(), world.second);
    world.second += 600;
    let decision = world.decide();
    assert_eq!(decision.replicas, before);
    assert_eq!(decision.warning, Some(format!("stays at {before}: nothing was observed for 600 s")), "{at}");
}

#[test]
fn min_and_max_of_zero_never_wake() {
    for place in [Place::Source, Place::Map, Place::MonoVertex] {
        let mut world = World::new(place, "min: 0, max: 0");
        world.run(24 * HOUR, |second| f64::from(u8::from(second == 7)));
        assert!(
            world
                .decisions
                .iter()
                .all(|(_, decision)| decision.replicas == 0 && decision.rule == Rule::Bounds)
        );
        let warning = world.decisions.last().unwrap().1.warning.clone();
        let expected = "1 messages wait, and `scale` allows no worker: raise its `max`";
        assert_eq!(warning.as_deref(), Some(expected));
    }
}

#[test]
fn four_records_of_seven_minutes_need_no_more_than_four_workers() {
    let mut world = World::new(Place::Map, "min: 1");
    world.capacity = 1.0 / 420.0;
    world.run(60, |_| 0.0);
    world.queue = 4.0;
    world.run(HOUR, |_| 0.0);
    let most = world.decisions.iter().map(|(_, decision)| decision.replicas).max();
    assert!(most <= Some(4), "{:#?}", world.changes(0));
}
