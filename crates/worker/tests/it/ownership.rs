//! Units that change hands in the middle of a flood: in order, by force, while their owner is suspended, and after it
//! has died. Whatever happens, everything is there once. Every run follows from a seed, on one thread and with time
//! that passes only when nobody has anything to do.

use model::door::source::Memory;
use worker::Hand;

use crate::kit::fleet::Fleet;
use crate::kit::maps::{self, Scripted};
use crate::kit::sources::Outside;
use crate::kit::{World, seeds, three, until, value};

const COUNT: u64 = 400;

/// None to three results, as the number says.
fn results(number: u64) -> u32 {
    (number % 4) as u32
}

fn expected() -> Vec<String> {
    let of = |number: u64| {
        (0..results(number)).map(move |index| format!("{number}{}", char::from(b'a' + index as u8)))
    };
    let mut all: Vec<_> = (0..COUNT).flat_map(of).collect();
    all.sort();
    all
}

/// Fails, sends back and drops; in the end each number has its results.
fn capricious(seed: u64) -> Scripted {
    Scripted::new(move |message, times| {
        let number: u64 = value(message).parse().unwrap();
        let mood = fastrand::Rng::with_seed(seed ^ (number << 8) ^ u64::from(times)).u8(0..40);
        match mood {
            0 => maps::failed(message),
            1 | 2 if times < 5 => maps::nacked(message, None),
            _ if results(number) == 0 => maps::dropped(message),
            _ => maps::several(message, results(number)),
        }
    })
    .delayed(seed)
}

/// Runs one seed in a world of its own.
fn run(seed: u64, memory: Memory, power_cuts: bool) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut vertices = three();
        if random.bool() {
            // So small that writers wait for readers all the time.
            vertices[1].messages_max = 60;
        }
        let world = World::stepped(seed, vertices);
        let outside = Outside::new(memory, COUNT).repeating(5, seed).ending().slowly();
        let mut fleet = Fleet::start(world, outside, capricious(seed), random.fork());
        fleet.outside.allow(COUNT / 8);
        let steps = random.u64(4..12);
        for step in 1..=steps {
            fleet.turns().await;
            fleet.outside.allow(COUNT * step / steps);
            fleet.turns().await;
            match random.u8(0..if power_cuts { 8 } else { 7 }) {
                0 | 1 => fleet.move_in_order().await,
                2 => fleet.take_away().await,
                3 => fleet.suspend().await,
                4 => fleet.crash().await,
                5 => fleet.crash_source().await,
                6 => fleet.suspend_source().await,
                _ => fleet.crash_all().await,
            }
        }
        let source = fleet.sources.pop().unwrap();
        source.running.ended().await.unwrap();
        until("everything is through", async || fleet.world.left("map").await == 0).await;
        check(&fleet, memory).await;
        // Whoever was suspended and everybody else ends in order.
        for member in fleet.maps.drain(..).chain(fleet.sources.drain(..)) {
            member.running.handle.stop();
            member.running.ended().await.unwrap();
        }
    });
}

async fn check(fleet: &Fleet, memory: Memory) {
    let content = fleet.world.content("out").await;
    let mut values: Vec<_> = content.values().flatten().map(value).collect();
    values.sort();
    assert_eq!(values, expected());
    let mut ids: Vec<_> = content.values().flatten().map(|message| message.id.to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), values.len(), "ids are unique");
    if memory == Memory::Ids {
        assert_eq!(fleet.outside.done(), COUNT);
    }
}

/// Seeds of each test that the test command runs.
const SEEDS: u64 = 25;

/// Runs seeds and says which one failed.
fn run_all(test: &str, memory: Memory, power_cuts: bool) {
    for seed in seeds(SEEDS) {
        let failed = std::panic::catch_unwind(|| run(seed, memory, power_cuts)).is_err();
        let only = format!("{seed}..{}", seed + 1);
        assert!(
            !failed,
            "seed {seed} failed; again with: TIDEGATE_SEEDS={only} cargo test -p tidegate-worker --test it {test}"
        );
    }
}

#[test]
fn moving_units_lose_and_double_nothing_behind_a_source_with_positions() {
    run_all("moving_units_lose_and_double_nothing_behind_a_source_with_positions", Memory::Position, false);
}

#[test]
fn moving_units_lose_and_double_nothing_behind_a_source_with_ids() {
    run_all("moving_units_lose_and_double_nothing_behind_a_source_with_ids", Memory::Ids, false);
}

#[test]
fn the_end_of_the_process_loses_and_doubles_nothing_behind_a_source_with_positions() {
    run_all(
        "the_end_of_the_process_loses_and_doubles_nothing_behind_a_source_with_positions",
        Memory::Position,
        true,
    );
}

#[test]
fn the_end_of_the_process_loses_and_doubles_nothing_behind_a_source_with_ids() {
    run_all("the_end_of_the_process_loses_and_doubles_nothing_behind_a_source_with_ids", Memory::Ids, true);
}
