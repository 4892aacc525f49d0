//! Units that are to be released while user code fails or hangs: what is in hand is given up, and the next owner does it.

use std::time::Duration;

use model::Unit;
use model::door::source::Memory;
use model::verdict::{Nack, Reply};
use tokio::time::Instant;
use worker::{Hand, Orders};

use crate::kit::maps::{self, Scripted};
use crate::kit::sources::Outside;
use crate::kit::{
    Gate, Running, World, call, numbers, seeds, sinks, source_unit, three, until, value, vertex,
};

const COUNT: u64 = 500;
/// What the engine waits for user code that hangs, and some room for the rest.
const RELEASED_WITHIN: Duration = Duration::from_secs(3);

fn paused(seed: u64, case: impl AsyncFnOnce(World)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { case(World::stepped(seed, three())).await });
}

async fn fill(world: &World) {
    let outside = Outside::new(Memory::Position, COUNT).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
}

/// Lets a healthy worker do what is left, and holds everything against what went in.
async fn finish(world: &World, seed: u64) {
    let setup = world.map("map", maps::cat(), vec![world.edge("out")]);
    let next = Running::start(setup, world.orders(&world.units("map")));
    until("everything is through", async || world.left("map").await == 0).await;
    next.stop().await;
    assert_eq!(world.values("out").await, numbers(COUNT), "seed {seed}");
}

fn is_bad(text: &str) -> bool {
    text.ends_with('7')
}

fn failing() -> Scripted {
    Scripted::new(
        |message, _| {
            if is_bad(&value(message)) { maps::failed(message) } else { maps::pass(message) }
        },
    )
}

#[test]
fn units_whose_user_code_fails_are_released_though_it_may_be_called_for_ever() {
    for seed in seeds(8) {
        paused(seed, async |world| {
            fill(&world).await;
            let map = failing();
            let running = world.map("map", map.clone(), vec![world.edge("out")]);
            let running = Running::start(running, world.orders(&world.units("map")));
            until("calls have failed again and again", async || map.seen("7") > 10 + seed as u32).await;
            let told = Instant::now();
            running.stop().await;
            assert!(told.elapsed() < RELEASED_WITHIN, "seed {seed}: it took {:?}", told.elapsed());
            let calls = map.seen("7");
            finish(&world, seed).await;
            assert_eq!(map.seen("7"), calls, "seed {seed}: who has released calls nobody");
        });
    }
}

#[test]
fn units_whose_user_code_hangs_are_released_and_the_others_are_kept() {
    for seed in seeds(8) {
        paused(seed, async |world| {
            fill(&world).await;
            let gate = Gate::closed();
            let units = world.units("map");
            let orders = world.orders(&units);
            let map = world.map("map", maps::cat().behind(&gate), vec![world.edge("out")]);
            let running = Running::start(map, orders.clone());
            until("much is in hand", async || running.in_hand() > 100).await;
            let kept = &units[..3];
            let only_kept = kept.iter().map(|unit: &Unit| (*unit, orders.units[unit])).collect();
            let told = Instant::now();
            running.handle.order(Orders { units: only_kept, stop: false });
            until("the others are released", async || running.handle.report().len() == kept.len()).await;
            assert!(told.elapsed() < RELEASED_WITHIN, "seed {seed}: it took {:?}", told.elapsed());
            gate.open();
            let rest: Vec<_> = units[3..].to_vec();
            let next = world.map("map", maps::cat(), vec![world.edge("out")]);
            let next = Running::start(next, world.orders(&rest));
            until("everything is through", async || world.left("map").await == 0).await;
            next.stop().await;
            running.stop().await;
            assert_eq!(world.values("out").await, numbers(COUNT), "seed {seed}");
        });
    }
}

#[test]
fn what_user_code_answers_in_time_is_committed_and_asked_of_nobody_else() {
    for seed in seeds(8) {
        paused(seed, async |world| {
            fill(&world).await;
            let gate = Gate::closed();
            let map = maps::cat().behind(&gate);
            let running = world.map("map", map.clone(), vec![world.edge("out")]);
            let running = Running::start(running, world.orders(&world.units("map")));
            until("much is in hand", async || running.in_hand() > 100).await;
            running.handle.stop();
            tokio::time::advance(Duration::from_secs(1)).await;
            gate.open();
            running.ended().await.unwrap();
            let calls: u32 = (0..COUNT).map(|number| map.seen(&number.to_string())).sum();
            assert!(calls > 0, "seed {seed}");
            assert_eq!(u64::from(calls), COUNT - world.left("map").await, "seed {seed}");
            finish(&world, seed).await;
        });
    }
}

#[test]
fn a_message_that_is_sent_back_in_an_ordered_slot_does_not_hold_its_release() {
    for seed in seeds(8) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let vertices = vec![vertex("in", 1, 1), vertex("map", 2, 1), vertex("out", 2, 4)];
            let world = World::stepped(seed, vertices);
            fill(&world).await;
            let back = |message: &model::Message| -> Reply {
                let nack = Nack {
                    reason: "not yet".to_owned(),
                    deliveries_max: None,
                    delay: Duration::from_hours(1),
                };
                maps::nacked(message, Some(nack))
            };
            let map =
                Scripted::new(
                    move |message, _| {
                        if is_bad(&value(message)) { back(message) } else { maps::pass(message) }
                    },
                );
            let running = world.map("map", map.clone(), vec![world.edge("out")]);
            let running = Running::start(running, world.orders(&world.units("map")));
            until("one is sent back", async || map.seen("7") + map.seen("17") > 0).await;
            let told = Instant::now();
            running.stop().await;
            assert!(told.elapsed() < RELEASED_WITHIN, "seed {seed}: it took {:?}", told.elapsed());
            finish(&world, seed).await;
        });
    }
}

#[test]
fn a_message_in_the_retry_slot_that_fails_again_stays_there() {
    for seed in seeds(8) {
        paused(seed, async |world| {
            fill(&world).await;
            let map = Scripted::new(|message, _| match &message.redelivery {
                None if is_bad(&value(message)) => maps::nacked(message, None),
                Some(_) => maps::failed(message),
                None => maps::pass(message),
            });
            let running = world.map("map", map.clone(), vec![world.edge("out")]);
            let running = Running::start(running, world.orders(&world.units("map")));
            until("only what fails is left", async || {
                world.left("map").await == COUNT / 10 && map.seen("7") > 3
            })
            .await;
            let told = Instant::now();
            running.stop().await;
            assert!(told.elapsed() < RELEASED_WITHIN, "seed {seed}: it took {:?}", told.elapsed());
            assert_eq!(world.left("map").await, COUNT / 10, "seed {seed}");
            finish(&world, seed).await;
        });
    }
}

#[test]
fn a_write_under_way_comes_to_its_end_and_what_it_wrote_is_answered_though_user_code_fails() {
    for memory in [Memory::Opaque, Memory::Ids] {
        for seed in seeds(8) {
            paused(seed, async |world| {
                let outside = Outside::new(memory, COUNT);
                let gate = Gate::closed();
                let (sink, taken) = sinks::collecting();
                let map = failing();
                let mut setup = world.mono("in", outside.open(), sinks::only(sink.behind(&gate)));
                setup.map = Some(call(map.clone()));
                // Some batches without a message that fails come before and behind some with one.
                setup.limits.batch_messages = 3 + seed as usize;
                let running = Running::start(setup, world.orders(&source_unit()));
                until("a call has failed", async || map.seen("7") > 1).await;
                running.handle.stop();
                // Longer than user code is waited for.
                tokio::time::advance(2 * RELEASED_WITHIN).await;
                assert_eq!(taken.count(), 0, "{memory:?} seed {seed}");
                gate.open();
                running.ended().await.unwrap();
                assert_eq!(
                    outside.done(),
                    taken.count() as u64,
                    "{memory:?} seed {seed}: what is written is answered, and nothing else"
                );
                let (sink, rest) = sinks::collecting();
                let mut setup = world.mono("in", outside.open(), sinks::only(sink));
                setup.map = Some(call(maps::cat()));
                let next = Running::start(setup, world.orders(&source_unit()));
                until("everything is answered", async || outside.done() == COUNT).await;
                next.stop().await;
                taken.absorb(&rest);
                assert_eq!(taken.values(), numbers(COUNT), "{memory:?} seed {seed}: each once");
            });
        }
    }
}

#[test]
fn a_source_that_counts_goes_on_behind_what_was_committed_before_it_was_given_up() {
    for seed in seeds(8) {
        paused(seed, async |world| {
            let outside = Outside::new(Memory::Position, COUNT).ending();
            let map = failing();
            let mut setup = world.source("in", outside.open(), vec![world.edge("map")]);
            setup.transform = Some(call(map.clone()));
            setup.limits.batch_messages = 3 + seed as usize;
            let running = Running::start(setup, world.orders(&source_unit()));
            until("a call has failed", async || map.seen("7") > 1).await;
            let told = Instant::now();
            running.stop().await;
            assert!(told.elapsed() < RELEASED_WITHIN, "seed {seed}: it took {:?}", told.elapsed());
            let source = world.source("in", outside.open(), vec![world.edge("map")]);
            Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
            assert_eq!(world.values("map").await, numbers(COUNT), "seed {seed}");
        });
    }
}
