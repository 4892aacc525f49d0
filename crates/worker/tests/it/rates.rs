//! Rates: no second sees more than it should, and nothing waits for a rate that does not have to. Time is virtual.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use connect::store::Pools;
use connect::store::memory::MemoryStore;
use model::door::sink::Outcome;
use model::door::source::Memory;
use model::verdict::Nack;
use model::{Message, Unit};
use tokio::time::Instant;
use worker::{Hand, Mode, Rate, RateLimit};

use crate::kit::maps::{self, Scripted};
use crate::kit::rates::{Seconds, Silenced, flat, shared, with};
use crate::kit::sources::Outside;
use crate::kit::{Running, World, numbers, sinks, source_unit, three, until};

/// Moments at which messages came by.
#[derive(Clone)]
struct Moments {
    seconds: Seconds,
    all: Arc<Mutex<Vec<Duration>>>,
}

impl Moments {
    fn of(seconds: Seconds) -> Self {
        Self { seconds, all: Arc::default() }
    }

    fn note(&self) {
        self.all.lock().unwrap().push(self.seconds.0.now());
    }

    fn all(&self) -> Vec<Duration> {
        self.all.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.all.lock().unwrap().len()
    }

    /// A sink that notes what it takes.
    fn sink(&self) -> worker::Sinks {
        let moments = self.clone();
        let take = move |_: &Message, _: u32| {
            moments.note();
            Outcome::Done
        };
        sinks::only(sinks::Scripted::new(take).0)
    }

    /// A map that notes what it is given.
    fn map(&self) -> Scripted {
        let moments = self.clone();
        Scripted::new(move |message, _| {
            moments.note();
            maps::pass(message)
        })
    }
}

/// A mono vertex with far more input than it may read.
fn flood(world: &World, limit: RateLimit, replica: u16, moments: &Moments) -> Running {
    let outside = Outside::new(Memory::Opaque, 1_000_000);
    let mut setup = world.mono("mono", outside.open(), moments.sink());
    (setup.rate_limit, setup.replica, setup.buffer) = (Some(limit), replica, None);
    Running::start(setup, world.orders(&source_unit()))
}

#[tokio::test(start_paused = true)]
async fn a_source_gives_as_much_in_every_second_as_the_rate_says() {
    let seconds = Seconds::start();
    let (world, moments) = (World::stepped(1, three()), Moments::of(seconds));
    let running = flood(&world, shared(seconds, &Pools::default(), 0, flat(120)), 0, &moments);
    let from = seconds.pass(1).await;
    let to = seconds.pass(6).await;
    running.stop().await;
    assert_eq!(Seconds::counts(&moments.all(), from, to), [120; 6]);
}

#[tokio::test(start_paused = true)]
async fn a_rate_climbs_its_ramp() {
    let seconds = Seconds::start();
    let (world, moments) = (World::stepped(1, three()), Moments::of(seconds));
    let rate = Rate { max: 110, min: 10, ramp_up: Duration::from_secs(10), mode: Mode::Relaxed };
    let running = flood(&world, shared(seconds, &Pools::default(), 0, rate), 0, &moments);
    let from = seconds.pass(0).await;
    let to = seconds.pass(13).await;
    running.stop().await;
    let expected = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 110, 110];
    assert_eq!(Seconds::counts(&moments.all(), from, to), expected);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_again_goes_on_with_the_ramp_if_it_shall() {
    let seconds = Seconds::start();
    let (world, pools) = (World::stepped(1, three()), Pools::default());
    let rate = Rate { max: 110, min: 10, ramp_up: Duration::from_secs(10), mode: Mode::Relaxed };
    let first_second = async |resumes| {
        let moments = Moments::of(seconds);
        let limit = RateLimit { resumes, ..shared(seconds, &pools, 0, rate.clone()) };
        let running = flood(&world, limit, 0, &moments);
        let from = seconds.pass(0).await;
        let to = seconds.pass(5).await;
        running.stop().await;
        Seconds::counts(&moments.all(), from, to)
    };
    assert_eq!(first_second(true).await, [10, 20, 30, 40, 50]);
    // It may have begun the next second before it was stopped.
    let again = first_second(true).await;
    assert!([50, 60].contains(&again[0]), "{again:?}");
    assert_eq!(again[4], again[0] + 40);
    assert_eq!(first_second(false).await[0], 10);
}

/// A map vertex over slots that hold so many messages.
async fn filled(count: u64) -> World {
    let world = World::stepped(1, three());
    let outside = Outside::new(Memory::Position, count).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    world
}

#[tokio::test(start_paused = true)]
async fn slots_give_as_much_in_every_second_as_the_rate_says_and_each_has_its_turn() {
    let seconds = Seconds::start();
    let (world, moments) = (filled(2_000).await, Moments::of(seconds));
    let slots = world.units("map").len() - 1;
    let mut setup = world.map("map", moments.map(), vec![world.edge("out")]);
    // Fewer than there are slots.
    setup.rate_limit = Some(shared(seconds, &Pools::default(), 0, flat(slots as u64 - 3)));
    let running = Running::start(setup, world.orders(&world.units("map")));
    let from = seconds.pass(1).await;
    let done = |running: &Running| {
        let report = running.handle.report();
        report.into_iter().map(|unit| (unit.unit, unit.done)).collect::<Vec<_>>()
    };
    let before = done(&running);
    let to = seconds.pass(slots as u64 * 2).await;
    assert_eq!(Seconds::counts(&moments.all(), from, to), vec![slots as u64 - 3; slots * 2]);
    for ((unit, before), (_, after)) in before.into_iter().zip(done(&running)) {
        let done = after - before;
        // Twice as many rounds as there are slots, each without three of them.
        let expected = if unit == Unit::Slot(model::Slot::RETRY) { 0 } else { 2 * slots as u64 - 6 };
        assert!(done.abs_diff(expected) <= 2, "{unit:?} has done {done}, not about {expected}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn everything_comes_through_a_rate_once_whoever_stops_and_starts() {
    let seconds = Seconds::start();
    let world = filled(500).await;
    let mut rounds = 0;
    while world.left("map").await > 0 {
        let mut setup = world.map("map", maps::cat(), vec![world.edge("out")]);
        setup.rate_limit = Some(shared(seconds, &Pools::default(), 0, flat(70)));
        let running = Running::start(setup, world.orders(&world.units("map")));
        seconds.pass(2).await;
        running.stop().await;
        rounds += 1;
        assert!(rounds < 20, "{} are left", world.left("map").await);
    }
    assert!(rounds > 1, "batches were cut");
    assert_eq!(world.values("out").await, numbers(500));
}

#[tokio::test(start_paused = true)]
async fn workers_share_a_rate_and_whoever_is_left_has_all_of_it() {
    let seconds = Seconds::start();
    let (world, pools) = (World::stepped(1, three()), Pools::default());
    let all = [Moments::of(seconds), Moments::of(seconds), Moments::of(seconds)];
    let start = |replica: u16| {
        flood(&world, shared(seconds, &pools, replica, flat(100)), replica, &all[usize::from(replica)])
    };
    let first = start(0);
    let (second, third) = (start(1), start(2));
    let from = seconds.pass(3).await;
    let to = seconds.pass(6).await;
    let counts = |from, to| all.each_ref().map(|moments| Seconds::counts(&moments.all(), from, to));
    let of_each = counts(from, to);
    let sum = |of_each: &[Vec<u64>; 3]| -> Vec<u64> {
        (0..of_each[0].len()).map(|second| of_each.iter().map(|counts| counts[second]).sum()).collect()
    };
    assert_eq!(sum(&of_each), [100; 6]);
    assert!(of_each.iter().flatten().all(|count| [33, 34].contains(count)), "{of_each:?}");

    second.stop().await;
    third.stop().await;
    let from = seconds.pass(2).await;
    let to = seconds.pass(4).await;
    assert_eq!(counts(from, to)[0], [100; 4]);
    first.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_makes_no_second_see_more_than_the_rate() {
    let seconds = Seconds::start();
    let (world, pools) = (World::stepped(1, three()), Pools::default());
    let all = [Moments::of(seconds), Moments::of(seconds)];
    let first = flood(&world, shared(seconds, &pools, 0, flat(100)), 0, &all[0]);
    let from = seconds.pass(2).await;
    // In the middle of a second.
    seconds.pass_part(Duration::from_millis(400)).await;
    let second = flood(&world, shared(seconds, &pools, 1, flat(100)), 1, &all[1]);
    let to = seconds.pass(5).await;
    let counts = |moments: &Moments| Seconds::counts(&moments.all(), from, to);
    let sums: Vec<_> = counts(&all[0]).iter().zip(counts(&all[1])).map(|(one, other)| one + other).collect();
    assert_eq!(sums, [100; 5]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_silent_everybody_goes_on_with_the_part_it_had() {
    let seconds = Seconds::start();
    let (world, pools) = (World::stepped(1, three()), Pools::default());
    let all = [Moments::of(seconds), Moments::of(seconds)];
    let store = |replica| {
        let seat = MemoryStore::open(pools.memory("pool"), pools.seat("pool", "v", replica));
        Silenced::new(Arc::new(seat), false)
    };
    let stores = [store(0), store(1)];
    let running = [0u16, 1].map(|replica| {
        let at = usize::from(replica);
        let limit = with(seconds, Arc::new(stores[at].clone()), flat(100));
        flood(&world, RateLimit { ttl: Duration::from_secs(10), ..limit }, replica, &all[at])
    });
    seconds.pass(3).await;
    for store in &stores {
        store.silence(true);
    }
    let from = seconds.pass(1).await;
    let to = seconds.pass(30).await;
    for moments in &all {
        assert!(Seconds::counts(&moments.all(), from, to).iter().all(|count| *count == 50));
    }
    // When it speaks again both are known to it, though neither was heard of for longer than its time to live.
    for store in &stores {
        store.silence(false);
    }
    let from = seconds.pass(5).await;
    let to = seconds.pass(3).await;
    for moments in &all {
        assert_eq!(Seconds::counts(&moments.all(), from, to), [50; 3]);
    }
    for running in running {
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_never_reached_holds_nobody_up_for_long() {
    let seconds = Seconds::start();
    let (world, pools, moments) = (World::stepped(1, three()), Pools::default(), Moments::of(seconds));
    let seat = MemoryStore::open(pools.memory("pool"), pools.seat("pool", "v", 3));
    let store = Silenced::new(Arc::new(seat), true);
    let running = flood(&world, with(seconds, Arc::new(store.clone()), flat(100)), 3, &moments);
    seconds.pass(1).await;
    assert_eq!(moments.count(), 0, "it may yet be agreed upon");
    let from = seconds.pass(4).await;
    let to = seconds.pass(4).await;
    // There are at least four workers where one has the number three.
    assert_eq!(Seconds::counts(&moments.all(), from, to), [25; 4]);
    store.silence(false);
    let from = seconds.pass(4).await;
    let to = seconds.pass(2).await;
    assert_eq!(Seconds::counts(&moments.all(), from, to), [100; 2]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_and_cutting_wait_for_no_rate() {
    let seconds = Seconds::start();
    for cuts in [false, true] {
        let (world, moments) = (filled(300).await, Moments::of(seconds));
        let mut setup = world.map("map", moments.map(), vec![world.edge("out")]);
        setup.rate_limit = Some(shared(seconds, &Pools::default(), 0, flat(2)));
        let map = Running::start(setup, world.orders(&world.units("map")));
        let source = flood(&world, shared(seconds, &Pools::default(), 0, flat(1)), 0, &Moments::of(seconds));
        seconds.pass(3).await;
        let began = Instant::now();
        if cuts {
            map.handle.cut();
            source.handle.cut();
        }
        map.stop().await;
        source.stop().await;
        assert!(began.elapsed() < Duration::from_millis(500), "it took {:?}", began.elapsed());
        assert_eq!(world.left("map").await + moments.count() as u64, 300);
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_waits_for_the_rate_says_until_when() {
    let seconds = Seconds::start();
    let world = filled(300).await;
    let mut setup = world.map("map", maps::cat(), vec![world.edge("out")]);
    setup.rate_limit = Some(shared(seconds, &Pools::default(), 0, flat(1)));
    let running = Running::start(setup, world.orders(&world.units("map")));
    let next = seconds.pass(2).await + 1;
    let counted = world.metrics("map").throttled.get();
    assert!(counted > 0, "{}", world.text());
    seconds.pass_part(Duration::from_millis(500)).await;
    let report = running.handle.report();
    let waiting: Vec<_> = report.iter().filter(|unit| unit.in_hand > 0).collect();
    assert!(waiting.len() > 3, "{report:?}");
    for unit in waiting {
        assert_eq!(unit.rests_until.map(|time| time.nanos() / 1_000_000_000), Some(next as i64), "{unit:?}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_back_and_tried_again_counts_as_well() {
    let seconds = Seconds::start();
    let (world, moments) = (filled(20).await, Moments::of(seconds));
    let noted = moments.clone();
    let map = Scripted::new(move |message, _| {
        noted.note();
        let nack = Nack { reason: "no".to_owned(), deliveries_max: None, delay: Duration::ZERO };
        maps::nacked(message, Some(nack))
    });
    let mut setup = world.map("map", map, vec![world.edge("out")]);
    setup.rate_limit = Some(shared(seconds, &Pools::default(), 0, flat(5)));
    let running = Running::start(setup, world.orders(&world.units("map")));
    let from = seconds.pass(1).await;
    until("everything was tried several times", async || moments.count() > 60).await;
    let to = seconds.pass(0).await;
    let counts = Seconds::counts(&moments.all(), from, to);
    assert!(counts.iter().all(|count| *count <= 5), "{counts:?}");
    running.stop().await;
}
