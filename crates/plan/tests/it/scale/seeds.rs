//! Random runs under a judge that knows nothing of how the count is computed, only what must never happen.

use std::time::Duration;

use api::resolve::{Lifecycle, VertexKind, VertexSettings};
use fastrand::Rng;
use tidegate_plan::Time;
use tidegate_plan::scale::{Decision, Downstream, Hand, Memory, Phase, Rule};

use super::world::{LOOK, Place, World, at, settings};

const SEEDS: u64 = 3000;
const LOOKS: u64 = 120;

/// What a user wrote.
struct Written {
    min: u32,
    max: u32,
    step: u32,
    cooldown: u64,
    lookback: u64,
}

/// A vertex at random, made from one that has the defaults.
fn world(rng: &mut Rng, defaults: &[(VertexSettings, Lifecycle)]) -> (World, Written) {
    let min = rng.u32(..4);
    let written = Written {
        min,
        max: min + rng.u32(..8),
        step: rng.u32(..4),
        cooldown: rng.u64(..60),
        lookback: 10 + rng.u64(..100),
    };
    let cooldown = Duration::from_secs(written.cooldown);
    let (mut settings, lifecycle) = defaults[rng.usize(..defaults.len())].clone();
    let scale = &mut settings.scale;
    (scale.min, scale.max) = (written.min, written.max);
    (scale.step_up, scale.step_down) = (written.step, written.step);
    (scale.cooldown_up, scale.cooldown_down) = (cooldown, cooldown);
    scale.lookback = Duration::from_secs(written.lookback);
    scale.zero_replica_sleep = Duration::from_secs(20);
    settings.replicas = 1u32.clamp(written.min, written.max);
    let mut world = World::with(settings, lifecycle);
    world.start_up = rng.u64(..40);
    world.capacity = 10f64.powf(rng.f64() * 6.0 - 2.0);
    (world, written)
}

fn defaults() -> Vec<(VertexSettings, Lifecycle)> {
    [Place::Source, Place::Map, Place::MonoVertex].map(|place| settings(place, "", "")).to_vec()
}

/// What happens in the time between two looks.
fn stir(world: &mut World, rng: &mut Rng) {
    if rng.u32(..10) == 0 {
        world.phase = [Phase::Running, Phase::Running, Phase::Draining { wake: rng.bool() }, Phase::Stopped]
            [rng.usize(..4)];
    }
    if rng.u32(..20) == 0 {
        let number = world.hand.map_or(0, |hand| hand.number) + 1;
        world.hand = Some(Hand { replicas: rng.u32(..12), number });
    }
    world.missed = rng.u32(..8) == 0;
    world.unready = if rng.u32(..8) == 0 { rng.usize(..3) } else { 0 };
    if rng.u32(..10) == 0 {
        let used_percent = [0.0, 50.0, 95.0, f64::NAN, f64::MAX][rng.usize(..5)];
        let at = at(world.second.saturating_sub(rng.u64(..100)));
        let (direct, drops) = (rng.bool(), rng.bool());
        world.downstream = vec![Downstream { vertex: "out".to_owned(), direct, drops, used_percent, at }];
    }
    if rng.u32(..40) == 0 {
        world.queue = [0.0, 1e3, 1e15, 1e19][rng.usize(..4)];
    }
}

/// What is wrong with a decision, if anything.
fn wrong(
    world: &World,
    written: &Written,
    before: &Memory,
    decision: &Decision,
    now: Time,
) -> Option<String> {
    let (from, to) = (before.replicas.unwrap_or(0), decision.replicas);
    let waits = world.queue as u64 > 0;
    match world.phase {
        Phase::Stopped => return (to != 0).then(|| "somebody works although it is stopped".to_owned()),
        Phase::Draining { wake } => {
            let is_source = world.settings.kind == VertexKind::Source;
            if (waits && !is_source || wake) && to == 0 && written.max > 0 {
                return Some("nobody drains it".to_owned());
            }
            return (to < from).then(|| "a worker is taken away while it drains".to_owned());
        }
        Phase::Running => {}
    }
    if !(written.min..=written.max).contains(&to) {
        return Some("the bounds do not hold".to_owned());
    }
    if to == 0
        && waits
        && written.max > 0
        && from == 0
        && before.replicas.is_some()
        && decision.rule == Rule::Load
    {
        return Some("nobody is woken for what waits".to_owned());
    }
    if decision.rule != Rule::Load || from == to || before.replicas.is_none() {
        return None;
    }
    if from > 0 && from.abs_diff(to) > written.step && !decision.reason.contains("one less was not enough") {
        return Some("a step is too big".to_owned());
    }
    let changed = before.changed();
    let elapsed = changed.map_or(Duration::MAX, |changed| now.since(changed));
    let undone = decision.reason.contains("one less was not enough");
    if from > 0 && !undone && elapsed < Duration::from_secs(written.cooldown) {
        return Some(format!("a step {elapsed:?} after the last one"));
    }
    if to > from && from > 0 && !waits {
        return Some("more workers for nothing".to_owned());
    }
    (to == 0 && waits).then(|| "everybody leaves although something waits".to_owned())
}

#[test]
fn whatever_happens_nothing_happens_that_must_not() {
    let defaults = defaults();
    let mut ups = 0;
    let mut downs = 0;
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let (mut world, written) = world(&mut rng, &defaults);
        let rate = if rng.u32(..4) == 0 { 0.0 } else { world.capacity * rng.f64() * 6.0 };
        for _ in 0..LOOKS {
            stir(&mut world, &mut rng);
            let before = world.memory.clone();
            let burst = if rng.u32(..10) == 0 { 10.0 } else { rng.f64() };
            world.run(LOOK, |_| rate * burst);
            let (second, decision) = world.decisions.last().unwrap();
            let now = at(*second);
            let complaint = wrong(&world, &written, &before, decision, now);
            let scale = (written.min, written.max, written.step, written.cooldown, written.lookback);
            assert_eq!(
                complaint, None,
                "seed {seed}, after {second} s, {:?}, {scale:?}: from {before:#?} to {decision:#?}",
                world.phase
            );
            if decision.rule == Rule::Load {
                ups += u64::from(decision.replicas > before.replicas.unwrap_or(0));
                downs += u64::from(decision.replicas < before.replicas.unwrap_or(0));
            }
        }
    }
    assert!(ups > SEEDS, "the runs show something: {ups} steps up");
    assert!(downs > SEEDS / 4, "the runs show something: {downs} steps down");
}

#[test]
fn the_same_run_gives_the_same_answers() {
    let defaults = defaults();
    let run = || {
        let mut rng = Rng::with_seed(7);
        let (mut world, _) = world(&mut rng, &defaults);
        for _ in 0..LOOKS {
            stir(&mut world, &mut rng);
            world.run(LOOK, |_| 50.0);
        }
        format!("{:?}", world.decisions)
    };
    assert_eq!(run(), run());
}
