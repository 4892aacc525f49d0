//! Told to stop: stop reading, finish what is in hand, commit, answer, release. Nothing lost, nothing doubled.

use model::door::source::Memory;
use model::{Slot, Unit};
use worker::{Ended, Hand, Orders};

use crate::kit::sinks::Taken;
use crate::kit::sources::Outside;
use crate::kit::{Gate, Running, World, maps, numbers, seeds, sinks, source_unit, three, until, vertex};

const COUNT: u64 = 4_000;

#[tokio::test]
async fn vertices_that_are_stopped_and_started_again_come_to_an_exact_total() {
    for memory in [Memory::Position, Memory::Ids, Memory::Opaque] {
        for seed in seeds(2) {
            let mut random = fastrand::Rng::with_seed(seed);
            let world = World::new(seed, three());
            let outside = Outside::new(memory, COUNT);
            let (sink, taken) = sinks::collecting();
            let mut primary = Some(sink);
            let mut rounds = 0;
            while taken.count() < COUNT as usize {
                rounds += 1;
                let source = world.source("in", outside.open(), vec![world.edge("map")]);
                let source = Running::start(source, world.orders(&source_unit()));
                let map = world.map("map", maps::cat().delayed(seed), vec![world.edge("out")]);
                let map = Running::start(map, world.orders(&world.units("map")));
                let (sink, more) = sinks::collecting();
                let sink = primary.take().unwrap_or(sink);
                let setup = world.sink("out", sinks::only(sink));
                let running = Running::start(setup, world.orders(&world.units("out")));
                let goal = outside.given() + random.u64(1..1500);
                until("something was read", async || outside.given() >= goal.min(COUNT)).await;
                source.stop().await;
                let given = outside.given();
                if memory != Memory::Position {
                    assert_eq!(outside.done(), given, "{memory:?} seed {seed}: everything given is answered");
                }
                map.stop().await;
                running.stop().await;
                for unit in world.levels("map").await {
                    assert!(unit.progress.above.is_empty(), "{memory:?} seed {seed}");
                }
                taken.absorb(&more);
                assert!(rounds < 1000, "{memory:?} seed {seed}");
            }
            assert_eq!(taken.values(), numbers(COUNT), "{memory:?} seed {seed}");
        }
    }
}

#[tokio::test]
async fn a_unit_that_is_not_in_the_orders_is_released_and_another_worker_goes_on_at_once() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Position, COUNT).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    let units = world.units("map");
    let gate = Gate::closed();
    let orders = world.orders(&units);
    let first = world.map("map", maps::cat().behind(&gate), vec![world.edge("out")]);
    let first = Running::start(first, orders.clone());
    let filled = world.levels("map").await.iter().filter(|level| level.messages > 0).count();
    until("all units that can have something in hand do", async || {
        let report = first.handle.report();
        report.len() == units.len() && report.iter().filter(|unit| unit.in_hand > 0).count() == filled
    })
    .await;
    let (kept, moved) = units.split_at(4);
    let kept_orders = |unit: &Unit| (*unit, orders.units[unit]);
    first.handle.order(Orders { units: kept.iter().map(kept_orders).collect(), stop: false });
    gate.open();
    until("the moved units are released", async || first.handle.report().len() == kept.len()).await;
    let second = world.map("map", maps::cat(), vec![world.edge("out")]);
    let second = Running::start(second, world.orders(moved));
    until("everything is through", async || world.left("map").await == 0).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(world.values("out").await, numbers(COUNT));
}

/// Two workers of a sink vertex, one sink each, and the orders of each.
struct Pair {
    taken: Vec<Taken>,
    running: Vec<Running>,
    orders: [Orders; 2],
}

impl Pair {
    fn start(world: &World) -> Self {
        let orders = [world.orders(&world.units("out")), Orders::default()];
        let (mut taken, mut running) = (Vec::new(), Vec::new());
        for orders in &orders {
            let (sink, got) = sinks::collecting();
            let mut setup = world.sink("out", sinks::only(sink));
            setup.limits.batch_messages = 10;
            running.push(Running::start(setup, orders.clone()));
            taken.push(got);
        }
        Self { taken, running, orders }
    }

    fn values(&self) -> Vec<String> {
        let mut values: Vec<_> = self.taken.iter().flat_map(Taken::values).collect();
        values.sort();
        values
    }

    /// Moves random units from one worker to the other; whoever has them lets go first.
    async fn hand_over(&mut self, world: &World, random: &mut fastrand::Rng) {
        let from = random.usize(..2);
        let units: Vec<_> = self.orders[from].units.keys().copied().filter(|_| random.bool()).collect();
        self.orders[from].units.retain(|unit, _| !units.contains(unit));
        self.running[from].handle.order(self.orders[from].clone());
        let released = || !self.running[from].handle.report().iter().any(|unit| units.contains(&unit.unit));
        until("units are released", async || released()).await;
        self.orders[1 - from].units.extend(world.orders(&units).units);
        self.running[1 - from].handle.order(self.orders[1 - from].clone());
    }
}

#[test]
fn what_leaves_through_a_sink_leaves_once_when_units_are_handed_over_in_order() {
    for seed in seeds(12) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut random = fastrand::Rng::with_seed(seed);
            let world = World::stepped(seed, vec![vertex("in", 1, 1), vertex("out", 2, 4)]);
            let outside = Outside::new(Memory::Ids, COUNT).ending().slowly();
            let source = world.source("in", outside.open(), vec![world.edge("out")]);
            let source = Running::start(source, world.orders(&source_unit()));
            let mut pair = Pair::start(&world);
            for step in 1..=8 {
                outside.allow(COUNT * step / 8);
                for _ in 0..random.u32(0..100) {
                    tokio::task::yield_now().await;
                }
                pair.hand_over(&world, &mut random).await;
            }
            source.ended().await.unwrap();
            until("everything is out", async || world.left("out").await == 0).await;
            for running in pair.running.drain(..) {
                running.stop().await;
            }
            assert_eq!(pair.values(), numbers(COUNT), "seed {seed}");
        });
    }
}

#[test]
fn a_sink_worker_that_dies_repeats_at_most_what_was_in_flight_and_loses_nothing() {
    let mut repeated = 0;
    for seed in seeds(12) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        repeated += runtime.block_on(async {
            let mut random = fastrand::Rng::with_seed(seed);
            let world = World::stepped(seed, vec![vertex("in", 1, 1), vertex("out", 2, 4)]);
            let outside = Outside::new(Memory::Ids, COUNT).ending();
            let source = world.source("in", outside.open(), vec![world.edge("out")]);
            Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
            let mut pair = Pair::start(&world);
            let goal = random.usize(1..COUNT as usize);
            // Not at a moment of rest: in the middle of whatever goes on.
            let mut turns = 0;
            while pair.taken[0].count() < goal {
                assert!(turns < 1_000_000, "seed {seed}: nothing goes on");
                turns += 1;
                tokio::task::yield_now().await;
            }
            let dead = pair.running.swap_remove(0);
            let in_flight = dead.in_hand();
            dead.crash().await;
            pair.running[0].handle.order(world.orders(&world.units("out")));
            until("everything is out", async || world.left("out").await == 0).await;
            let mut values = pair.values();
            let all = values.len() as u64;
            values.dedup();
            assert_eq!(values, numbers(COUNT), "seed {seed}");
            assert!(all - COUNT <= in_flight, "seed {seed}: {} of {in_flight} repeated", all - COUNT);
            all - COUNT
        });
    }
    assert!(repeated > 0, "no crash fell between a write and its commit");
}

#[tokio::test]
async fn a_unit_taken_under_a_higher_number_is_let_go_and_the_others_are_kept() {
    let world = World::new(1, three());
    let units = world.units("map");
    let first = world.map("map", maps::cat(), vec![world.edge("out")]);
    let first = Running::start(first, world.orders(&units));
    until("all units run", async || first.handle.report().len() == units.len()).await;
    let taken = [units[2], Unit::Slot(Slot::RETRY)];
    let second = world.map("map", maps::cat(), vec![world.edge("out")]);
    let second = Running::start(second, world.orders(&taken));
    until("the former owner has noticed", async || first.handle.report().len() == units.len() - 2).await;
    let again = world.orders(&taken);
    first.handle.order(Orders { units: again.units.clone(), stop: false });
    until("ordered under a higher number it takes them back", async || {
        let report = first.handle.report();
        report.len() == 2 && report.iter().all(|unit| unit.epoch == again.units[&unit.unit])
    })
    .await;
    until("the other has noticed", async || second.handle.report().is_empty()).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_worker_that_nobody_can_tell_anything_ends_in_order() {
    let world = World::new(1, three());
    let (sink, taken) = sinks::collecting();
    let setup = world.sink("out", sinks::only(sink));
    let running = Running::start(setup, world.orders(&world.units("out")));
    until("all units run", async || running.handle.report().len() == 9).await;
    assert_eq!(running.abandoned().await.unwrap(), Ended::Stopped);
    assert!(taken.is_closed());
}

#[tokio::test]
async fn a_worker_without_orders_stops_at_once() {
    let world = World::new(1, three());
    let map = world.map("map", maps::cat(), vec![world.edge("out")]);
    Running::start(map, Orders::default()).stop().await;
}

#[tokio::test]
async fn reports_say_how_far_units_are() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Position, COUNT);
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    let orders = world.orders(&source_unit());
    let source = Running::start(source, orders.clone());
    until("all is committed and nothing more comes", async || {
        source.handle.report().first().is_some_and(|unit| unit.done == COUNT && unit.empty_at.is_some())
    })
    .await;
    let report = source.handle.report().remove(0);
    assert_eq!(report.unit, source_unit()[0]);
    assert_eq!(report.epoch, orders.units[&report.unit]);
    assert_eq!((report.sequence, report.in_hand), (COUNT, 0));
    source.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_cut_off_finishes_the_write_under_way_and_leaves_the_rest_for_the_next() {
    for seed in 0..20 {
        let world = World::new(seed, three());
        let outside = Outside::new(Memory::Position, 2_000).ending();
        let source = world.source("in", outside.open(), vec![world.edge("out")]);
        Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
        let gate = Gate::opened();
        let (sink, taken) = sinks::collecting();
        let mut setup = world.sink("out", sinks::only(sink.behind(&gate)));
        setup.limits.batch_messages = 1 + (seed as usize % 7);
        let first = Running::start(setup, world.orders(&world.units("out")));
        until("something was written", async || taken.count() > 100 + seed as usize * 13).await;
        gate.close();
        until("much is in hand", async || first.in_hand() > 100).await;
        first.handle.cut();
        let before = taken.count();
        gate.open();
        assert_eq!(first.ended().await.unwrap(), Ended::Stopped, "seed {seed}");
        let more = taken.count() - before;
        assert!(
            more <= 2 * (1 + seed as usize % 7),
            "seed {seed}: {more} messages were written after the cut"
        );
        assert_eq!(
            world.left("out").await,
            2_000 - taken.count() as u64,
            "seed {seed}: what was written is settled"
        );
        let (sink, rest) = sinks::collecting();
        let second = Running::start(world.sink("out", sinks::only(sink)), world.orders(&world.units("out")));
        until("everything is through", async || world.left("out").await == 0).await;
        second.stop().await;
        taken.absorb(&rest);
        assert_eq!(taken.values(), numbers(2_000), "seed {seed}");
    }
}

#[tokio::test]
async fn user_code_that_hangs_does_not_hold_a_worker_that_is_cut_off() {
    let world = World::new(3, three());
    let outside = Outside::new(Memory::Position, 500).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    let gate = Gate::closed();
    let map = world.map("map", maps::cat().behind(&gate), vec![world.edge("out")]);
    let map = Running::start(map, world.orders(&world.units("map")));
    until("much is in hand", async || map.in_hand() > 100).await;
    map.handle.cut();
    assert_eq!(map.ended().await.unwrap(), Ended::Stopped);
    assert_eq!(world.left("map").await, 500);
}
