//! What a worker says of itself, what it has followed, and sources that are released and claimed again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::door::Error;
use model::door::buffer::Claim;
use model::door::source::{Answer, Answers, Batch, Memory, Opened, Receipt, Source};
use model::{Epoch, Message, Position, Slot, Time, Unit, UnitId};
use worker::{Hand, Handle, Orders, Watermark};

use crate::kit::gated::Gated;
use crate::kit::maps::{self, Scripted};
use crate::kit::sources::Outside;
use crate::kit::{
    Gate, Running, World, call, name, numbers, sinks, source_unit, three, until, value, vertex, within,
};

const COUNT: u64 = 300;

fn held(handle: &Handle) -> Vec<(Unit, Epoch)> {
    handle.report().iter().map(|unit| (unit.unit, unit.epoch)).collect()
}

#[tokio::test]
async fn orders_are_followed_once_every_unit_was_claimed_or_refused() {
    let world = World::new(1, three());
    let units = world.units("map");
    let gate = Gate::closed();
    let mut setup = world.map("map", maps::cat(), vec![world.edge("out")]);
    let (first, second) = (world.orders(&units[..3]).units, world.orders(&units[2..5]).units);
    // Somebody else has one of them under a higher number.
    let refused = UnitId { vertex: name("map"), unit: units[4] };
    let claim = Claim { unit: refused, owner: world.incarnation(), replica: 9, epoch: Epoch(1000) };
    let _other = world.buffer.claim(claim).await.unwrap();
    setup.buffer = Some(Arc::new(Gated { inner: world.buffer.clone(), gate: gate.clone() }));
    let running = Running::start(setup, Orders::default());
    let handle = running.handle.clone();
    assert_eq!(handle.followed(), 0);
    handle.follow(7, first.clone());
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.followed(), 0, "no claim has been answered");
    gate.open();
    until("the claims are answered", async || handle.followed() == 7).await;
    assert_eq!(held(&handle), first.clone().into_iter().collect::<Vec<_>>());
    handle.follow(8, second.clone());
    until("the next orders are followed", async || {
        let (followed, held) = (handle.followed(), held(&handle));
        // What is released late is still there to be seen; what is ordered is there or was refused.
        let claimed = |unit: &Unit| *unit == units[4] || held.contains(&(*unit, second[unit]));
        assert!(followed < 8 || units[2..5].iter().all(claimed), "{followed}: {held:?}");
        followed == 8 && held.len() == 2
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_unit_ordered_under_a_higher_number_is_claimed_again_before_the_orders_count() {
    let world = World::new(1, three());
    let unit = [world.units("map")[0]];
    let map = world.map("map", maps::cat(), vec![world.edge("out")]);
    let running = Running::start(map, Orders::default());
    for number in 1..20 {
        let units = world.orders(&unit).units;
        running.handle.follow(number, units.clone());
        within("the orders are followed", async {
            while running.handle.followed() < number {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(held(&running.handle), units.into_iter().collect::<Vec<_>>());
    }
    running.stop().await;
}

/// Stops and starts a source in one worker, several times while it is read.
async fn paused_and_resumed(memory: Memory) {
    let world = World::new(1, three());
    let outside = Outside::new(memory, COUNT).ending().slowly();
    let mut setup = world.source("in", outside.open(), vec![world.edge("map")]);
    setup.transform = Some(call(maps::cat()));
    let running = Running::start(setup, Orders::default());
    for round in 1..=10 {
        running.handle.follow(2 * round, world.orders(&source_unit()).units);
        outside.allow(COUNT * round / 10 - 1);
        until("something is read", async || outside.given() >= COUNT * round / 10 - 5).await;
        running.handle.follow(2 * round + 1, std::collections::BTreeMap::new());
        until("it is released", async || {
            running.handle.followed() == 2 * round + 1 && running.handle.report().is_empty()
        })
        .await;
        let given = outside.given();
        outside.allow(COUNT * round / 10);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(outside.given(), given, "nobody reads a source that is released");
        assert_eq!(world.left("map").await, given, "what was read is committed");
    }
    running.handle.follow(100, world.orders(&source_unit()).units);
    running.ended().await.unwrap();
    assert_eq!(world.values("map").await, numbers(COUNT));
    if memory == Memory::Position {
        assert_eq!(outside.resumed().len(), 1, "it goes on where it is");
    } else {
        assert_eq!(outside.done(), COUNT);
    }
}

#[tokio::test]
async fn a_source_that_remembers_its_position_is_released_and_claimed_again() {
    paused_and_resumed(Memory::Position).await;
}

#[tokio::test]
async fn a_source_with_ids_is_released_and_claimed_again() {
    paused_and_resumed(Memory::Ids).await;
}

#[tokio::test]
async fn a_source_whose_offsets_mean_nothing_is_released_and_claimed_again() {
    paused_and_resumed(Memory::Opaque).await;
}

#[tokio::test]
async fn a_mono_vertex_without_a_buffer_is_released_and_claimed_again() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Position, COUNT).ending().slowly();
    let (sink, taken) = sinks::collecting();
    let mut setup = world.mono("mono", outside.open(), sinks::only(sink));
    setup.buffer = None;
    let running = Running::start(setup, world.orders(&source_unit()));
    outside.allow(COUNT / 2);
    until("half of it is out", async || taken.count() as u64 == COUNT / 2).await;
    running.handle.follow(1, std::collections::BTreeMap::new());
    until("it is released", async || running.handle.report().is_empty()).await;
    outside.allow(COUNT);
    running.handle.follow(2, world.orders(&source_unit()).units);
    running.ended().await.unwrap();
    assert_eq!(taken.values(), numbers(COUNT));
}

/// Reads for ever and never says how much is left.
struct Mute;

#[async_trait]
impl Source for Mute {
    async fn resume(&mut self, _: Position) -> Result<(), Error> {
        Ok(())
    }

    async fn read(&mut self, _: usize, _: Duration) -> Result<Option<Batch>, Error> {
        std::future::pending().await
    }
}

#[async_trait]
impl Answers for Mute {
    async fn answer(&mut self, _: &[(Receipt, Answer)]) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn pending(&mut self) -> Result<Option<u64>, Error> {
        std::future::pending().await
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_read_never_returns_is_released_at_once() {
    let world = World::stepped(1, three());
    let opened = Opened { source: Box::new(Mute), answers: Box::new(Mute), memory: Memory::Opaque };
    let source = world.source("in", opened, vec![world.edge("map")]);
    let running = Running::start(source, Orders::default());
    for round in 1..5 {
        running.handle.follow(2 * round, world.orders(&source_unit()).units);
        until("it is claimed", async || running.handle.report().len() == 1).await;
        let begun = tokio::time::Instant::now();
        running.handle.follow(2 * round + 1, std::collections::BTreeMap::new());
        until("it is released", async || running.handle.report().is_empty()).await;
        // Time passes only while nobody can do anything.
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    }
    running.stop().await;
}

#[tokio::test]
async fn a_source_reports_the_largest_event_time_that_it_has_committed() {
    let world = World::new(1, three());
    let gate = Gate::opened();
    let outside = Outside::new(Memory::Position, COUNT).slowly();
    let mut setup = world.source("in", outside.open(), vec![world.edge("map")]);
    setup.buffer = Some(Arc::new(Gated { inner: world.buffer.clone(), gate: gate.clone() }));
    // The second half is dropped, and counts all the same.
    setup.transform = Some(call(Scripted::new(|message, _| {
        let number: u64 = value(message).parse().unwrap();
        if number < COUNT / 2 { maps::pass(message) } else { maps::dropped(message) }
    })));
    let running = Running::start(setup, world.orders(&source_unit()));
    until("the source is empty", async || {
        let report = running.handle.report();
        report.first().is_some_and(|unit| unit.empty_at.is_some())
    })
    .await;
    assert_eq!(running.handle.report()[0].latest, None);
    gate.close();
    outside.allow(10);
    until("it is in hand", async || running.in_hand() == 10).await;
    let report = running.handle.report().remove(0);
    assert_eq!((report.latest, report.done), (None, 0), "nothing is stored");
    gate.open();
    until("it is stored", async || running.handle.report()[0].done == 10).await;
    assert_eq!(running.handle.report()[0].latest, Some(Time::from_millis(9)));
    outside.allow(COUNT);
    until("all is done", async || running.handle.report()[0].done == COUNT).await;
    assert_eq!(running.handle.report()[0].latest, Some(Time::from_millis(COUNT as i64 - 1)));
    running.stop().await;
}

#[tokio::test]
async fn stamps_and_user_code_have_the_watermark_that_was_published() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Position, COUNT).slowly();
    let (before, after) = (Time::UNKNOWN, Time::from_millis(77));
    let watermark = Watermark::default();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    let source = Running::start(source, world.orders(&source_unit()));
    let map = maps::cat();
    let mut setup = world.map("map", map.clone(), vec![world.edge("out")]);
    setup.watermark = watermark.clone();
    let running = Running::start(setup, world.orders(&world.units("map")));
    outside.allow(COUNT / 2);
    until("half of it is done", async || world.left("out").await == COUNT / 2).await;
    watermark.publish(after);
    watermark.publish(Time::from_millis(5));
    let calls = map.told().len();
    outside.allow(COUNT);
    until("all of it is done", async || world.left("out").await == COUNT).await;
    let told = map.told();
    assert!(told[..calls].iter().all(|time| *time == before), "{told:?}");
    assert!(told[calls..].iter().all(|time| *time == after), "{told:?}");
    let mut stamps = Vec::new();
    for level in world.levels("out").await.into_iter().filter(|level| level.frames > 0) {
        let unit = UnitId { vertex: name("out"), unit: Unit::Slot(level.place.slot) };
        let claim = Claim { unit, owner: world.incarnation(), replica: 0, epoch: world.epoch() };
        let mut reader = world.buffer.claim(claim).await.unwrap().reader.unwrap();
        let frames = reader.read(1 << 20).await.unwrap();
        stamps.extend(frames.into_iter().map(|stored| stored.frame.header.stamp));
    }
    stamps.sort();
    stamps.dedup();
    assert_eq!(stamps, [before, after]);
    source.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn the_retry_unit_says_until_when_it_rests() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Position, 1).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    let gate = Gate::opened();
    let map = Scripted::new(|message, times| match times {
        1 => maps::nacked(message, None),
        _ => maps::pass(message),
    });
    let mut setup = world.map("map", map.behind(&gate), vec![world.edge("out")]);
    let delay = Duration::from_millis(200);
    setup.redelivery.delay_min = delay;
    let running = Running::start(setup, world.orders(&world.units("map")));
    let retry = || {
        let report = running.handle.report();
        report.into_iter().find(|unit| unit.unit == Unit::Slot(Slot::RETRY))
    };
    until("it waits", async || retry().is_some_and(|unit| unit.rests_until.is_some())).await;
    gate.close();
    let unit = retry().unwrap();
    assert_eq!(unit.in_hand, 1);
    assert!(unit.rests_until.unwrap() > Time::from_millis(1_600_000_000_000), "by the wall clock");
    until("it is tried", async || retry().is_some_and(|unit| unit.rests_until.is_none())).await;
    assert_eq!(retry().unwrap().in_hand, 1, "it is due and not done");
    gate.open();
    until("it is done", async || retry().is_some_and(|unit| unit.in_hand == 0 && unit.done == 1)).await;
    running.stop().await;
}

#[tokio::test]
async fn signals_are_of_one_worker_alone() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Position, COUNT).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    let source = Running::start(source, Orders::default());
    let handle = source.handle.clone();
    handle.order(world.orders(&source_unit()));
    source.ended().await.unwrap();
    let signals = handle.signals();
    assert_eq!((signals.read, signals.done, signals.written, signals.frames_read), (COUNT, COUNT, COUNT, 0));
    let units = world.units("map");
    let map = Scripted::new(|message: &Message, times| match (value(message).as_str(), times) {
        ("1", 1) => maps::nacked(message, None),
        ("2", 1) => maps::failed(message),
        ("3", _) => maps::dropped(message),
        _ => maps::pass(message),
    });
    let start = |units: &[Unit]| {
        let setup = world.map("map", map.clone(), vec![world.edge("out")]);
        Running::start(setup, world.orders(units))
    };
    let (one, two) = (start(&units[..4]), start(&units[4..]));
    until("nothing is left", async || world.left("map").await == 0).await;
    until("it is counted", async || one.in_hand() + two.in_hand() == 0).await;
    let (left, right) = (one.handle.signals(), two.handle.signals());
    assert!(left.read > 0 && right.read > 0);
    assert_eq!(left.read + right.read, COUNT + 1, "one of them twice");
    assert_eq!(world.metrics("map").read.get(), COUNT * 2 + 1 - COUNT, "the family has both");
    assert_eq!(left.written + right.written, COUNT - 1);
    assert_eq!(left.done + right.done, COUNT + 1, "one of them was sent back the first time");
    let sum = |get: fn(&worker::Signals) -> u64| get(&left) + get(&right);
    let counts = (sum(|all| all.nacks), sum(|all| all.user_code_errors), sum(|all| all.user_code_drops));
    assert_eq!(counts, (1, 1, 1));
    assert!(left.frames_read > 0 && left.frames_read <= left.read);
    let latency = left.latency.and(&right.latency);
    assert!(latency.count() > 0 && latency.quantile(0.5) <= latency.quantile(0.99));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn many_partitions_are_not_taken_for_kept_order() {
    let world = World::new(1, vec![vertex("in", 1, 1), vertex("map", 40, 1), vertex("out", 1, 1)]);
    let outside = Outside::new(Memory::Position, 80).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    let map = Scripted::new(|message, times| match times {
        1 if value(message) == "7" => maps::nacked(message, None),
        _ => maps::pass(message),
    });
    let mut setup = world.map("map", map, vec![world.edge("out")]);
    setup.ordered = false;
    let slots: Vec<_> =
        world.units("map").into_iter().filter(|unit| *unit != Unit::Slot(Slot::RETRY)).collect();
    let running = Running::start(setup, world.orders(&slots));
    until("the rest is done", async || world.left("out").await == 79).await;
    let survey = world.buffer.survey().await.unwrap();
    let retry = survey.slot(&model::Place { vertex: name("map"), slot: Slot::RETRY }).unwrap();
    assert_eq!(retry.level.messages, 1, "what was sent back waits in the retry slot");
    running.stop().await;
}
