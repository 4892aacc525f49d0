//! Messages that fail, are refused or are sent back: where they go, how often, and that they hold nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::door::sink::{Outcome, Replacement};
use model::door::source::{Answer, Memory};
use model::door::{Class, Error};
use model::verdict::Nack;
use model::{Message, Slot};
use worker::{Call, Exhausted, Setup, Sinks, Strategy, Then};

use crate::kit::maps::{self, Scripted};
use crate::kit::sinks::{self, Taken};
use crate::kit::sources::Outside;
use crate::kit::{Running, World, call, numbers, source_unit, three, until, value, vertex};

const COUNT: u64 = 500;

fn strategy(attempts_max: u32, then: Then) -> Strategy {
    Strategy { attempts_max: Some(attempts_max), then, ..Strategy::default() }
}

fn later(delay_ms: u64) -> Nack {
    Nack { reason: "later".to_owned(), deliveries_max: None, delay: Duration::from_millis(delay_ms) }
}

/// Fills the map's slots with `count` numbers.
async fn filled(count: u64) -> World {
    filled_in(World::new(1, three()), count).await
}

async fn filled_in(world: World, count: u64) -> World {
    let outside = Outside::new(Memory::Position, count).ending();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    world
}

/// Runs a vertex until nothing is left in its slots.
async fn run(world: &World, vertex: &str, setup: Setup) {
    let running = Running::start(setup, world.orders(&world.units(vertex)));
    until("nothing is left to do", async || world.left(vertex).await == 0).await;
    running.stop().await;
}

async fn run_map(world: &World, map: Scripted) {
    let setup = world.map("map", map, vec![world.edge("out")]);
    run(world, "map", setup).await;
}

fn without(count: u64, missing: &[&str]) -> Vec<String> {
    numbers(count).into_iter().filter(|value| !missing.contains(&value.as_str())).collect()
}

#[tokio::test]
async fn failed_calls_are_made_again_until_they_succeed() {
    let world = filled(COUNT).await;
    let map = Scripted::new(|message, times| {
        let number: u64 = value(message).parse().unwrap();
        if number % 10 == 3 && times < 4 { maps::failed(message) } else { maps::pass(message) }
    });
    run_map(&world, map.clone()).await;
    assert_eq!(world.values("out").await, numbers(COUNT));
    assert_eq!((map.seen("13"), map.seen("14")), (4, 1));
    assert_eq!(world.metrics("map").udf_error.get(), 3 * COUNT / 10);
}

#[tokio::test]
async fn calls_that_fail_as_often_as_allowed_are_dropped_and_counted() {
    let world = filled(COUNT).await;
    let map = Scripted::new(
        |message, _| {
            if value(message) == "77" { maps::failed(message) } else { maps::pass(message) }
        },
    );
    let mut setup = world.map("map", map.clone(), vec![world.edge("out")]);
    setup.map = Some(Call { again: strategy(3, Then::Drop), ..call(map.clone()) });
    run(&world, "map", setup).await;
    assert_eq!(world.values("out").await, without(COUNT, &["77"]));
    assert_eq!(map.seen("77"), 3);
    assert_eq!(world.metrics("map").dropped.udf_retries.get(), 1);
}

#[tokio::test]
async fn a_message_that_user_code_refuses_alone_leaves_and_the_rest_goes_on() {
    let world = filled(COUNT).await;
    run_map(&world, maps::cat().refusing("42")).await;
    assert_eq!(world.values("out").await, without(COUNT, &["42"]));
    assert_eq!(world.metrics("map").dropped.exhausted.get(), 1);
}

#[tokio::test]
async fn messages_sent_back_are_tried_again_later_and_keep_their_ids() {
    let world = filled(COUNT).await;
    let map = Scripted::new(|message, times| {
        let number: u64 = value(message).parse().unwrap();
        assert_eq!(message.redelivery.as_ref().map_or(1, |redelivery| redelivery.attempt), times);
        if number.is_multiple_of(7) && times < 4 {
            maps::nacked(message, Some(later(20)))
        } else {
            maps::pass(message)
        }
    });
    run_map(&world, map.clone()).await;
    assert_eq!(world.values("out").await, numbers(COUNT));
    let times = map.times("7");
    assert_eq!(times.len(), 4);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(20)));
    assert_eq!(world.metrics("map").nack.get(), 3 * COUNT.div_ceil(7));
    // The id speaks of the place where the message first lay, not of the retry slot.
    let content = world.content("out").await;
    let all: Vec<_> = content.values().flatten().collect();
    assert!(all.iter().all(|message| message.redelivery.is_none()));
    let ids: std::collections::BTreeSet<_> = all.iter().map(|message| message.id.to_string()).collect();
    assert_eq!(ids.len() as u64, COUNT);
}

#[tokio::test]
async fn user_code_and_the_vertex_bound_deliveries() {
    let world = filled(COUNT).await;
    let map = Scripted::new(|message, _| match value(message).as_str() {
        "5" => maps::nacked(message, Some(Nack { deliveries_max: Some(2), ..Nack::default() })),
        "6" => maps::nacked(message, None),
        _ => maps::pass(message),
    });
    let mut setup = world.map("map", map.clone(), vec![world.edge("out")]);
    setup.redelivery.deliveries_max = Some(4);
    run(&world, "map", setup).await;
    assert_eq!((map.seen("5"), map.seen("6")), (2, 4));
    assert_eq!(world.values("out").await, without(COUNT, &["5", "6"]));
    assert_eq!(world.metrics("map").dropped.exhausted.get(), 2);
}

#[tokio::test]
async fn a_poison_message_holds_nobody() {
    let world = filled(COUNT).await;
    let map =
        Scripted::new(
            |message, _| {
                if value(message) == "0" { maps::nacked(message, None) } else { maps::pass(message) }
            },
        );
    let setup = world.map("map", map.clone(), vec![world.edge("out")]);
    let running = Running::start(setup, world.orders(&world.units("map")));
    until("all others are through", async || world.left("out").await == COUNT - 1).await;
    until("it is tried many times", async || map.seen("0") > 20).await;
    running.stop().await;
    let level = world.levels("map").await.into_iter().find(|level| level.place.slot == Slot::RETRY).unwrap();
    assert_eq!((level.messages, world.left("map").await), (1, 1));
    assert_eq!(world.values("out").await, without(COUNT, &["0"]));
}

#[tokio::test]
async fn thousands_of_retries_pass_one_that_waits_for_an_hour() {
    const MANY: u64 = 6_000;
    let world = filled(MANY).await;
    let map = Scripted::new(|message, times| match (value(message).as_str(), times) {
        ("0", _) => maps::nacked(message, Some(later(3_600_000))),
        (_, 1) => maps::nacked(message, None),
        _ => maps::pass(message),
    });
    let setup = world.map("map", map.clone(), vec![world.edge("out")]);
    let running = Running::start(setup, world.orders(&world.units("map")));
    until("all others are through", async || world.left("out").await == MANY - 1).await;
    running.stop().await;
    assert_eq!((map.seen("0"), world.left("map").await), (1, 1));
    assert_eq!(world.values("out").await, without(MANY, &["0"]));
}

#[tokio::test]
async fn what_a_source_can_take_back_goes_back_to_it() {
    for memory in [Memory::Ids, Memory::Opaque] {
        let world = World::new(1, three());
        let outside = Outside::new(memory, COUNT).ending();
        let map = Scripted::new(|message, times| {
            if value(message) == "9" && times < 3 {
                maps::nacked(message, Some(later(5)))
            } else {
                maps::pass(message)
            }
        });
        let mut setup = world.source("in", outside.open(), vec![world.edge("map")]);
        setup.transform = Some(call(map));
        Running::start(setup, world.orders(&source_unit())).ended().await.unwrap();
        let nack = Answer::Nack(later(5));
        assert_eq!(outside.answers(9), [nack.clone(), nack, Answer::Done]);
        assert_eq!(world.values("map").await, numbers(COUNT));
        assert_eq!((world.metrics("in").nack.get(), world.metrics("in").ack.get()), (2, COUNT));
    }
}

/// The order of everything that came of an input in which some were sent back.
async fn order_after(world: &World, vertex: &str) -> Vec<u64> {
    let content: BTreeMap<Slot, Vec<Message>> = world.content(vertex).await;
    content.values().flatten().map(|message| value(message).parse().unwrap()).collect()
}

fn sometimes_nacked() -> Scripted {
    Scripted::new(|message, times| {
        let number: u32 = value(message).parse().unwrap();
        if times <= number % 4 { maps::nacked(message, None) } else { maps::pass(message) }
    })
}

#[tokio::test]
async fn a_source_that_is_read_by_position_keeps_its_order_over_retries() {
    let world = World::new(1, vec![vertex("in", 1, 1), vertex("map", 1, 1)]);
    let outside = Outside::new(Memory::Position, COUNT).ending();
    let mut setup = world.source("in", outside.open(), vec![world.edge("map")]);
    setup.transform = Some(call(sometimes_nacked()));
    Running::start(setup, world.orders(&source_unit())).ended().await.unwrap();
    assert_eq!(order_after(&world, "map").await, (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_ordered_partition_keeps_its_order_over_retries() {
    let world = World::new(1, vec![vertex("in", 1, 1), vertex("map", 1, 1), vertex("out", 1, 1)]);
    let world = filled_in(world, COUNT).await;
    run_map(&world, sometimes_nacked()).await;
    assert_eq!(order_after(&world, "out").await, (0..COUNT).collect::<Vec<_>>());
}

/// Fills a sink vertex and runs it until nothing is left.
async fn run_sinks(sinks: Sinks, change: impl FnOnce(&mut Setup)) -> World {
    let world = World::new(1, vec![vertex("in", 1, 1), vertex("map", 2, 4)]);
    let world = filled_in(world, COUNT).await;
    let mut setup = world.sink("map", sinks);
    change(&mut setup);
    run(&world, "map", setup).await;
    world
}

fn failing_often() -> (sinks::Scripted, Taken) {
    sinks::Scripted::new(|message, times| {
        if value(message) == "30" || (value(message) == "31" && times < 3) {
            Outcome::Failed("no".to_owned())
        } else {
            Outcome::Done
        }
    })
}

#[tokio::test]
async fn a_sink_is_asked_again_and_told_how_often() {
    let (sink, taken) = sinks::Scripted::new(|message, times| {
        let number: u32 = value(message).parse().unwrap();
        if times <= number % 3 { Outcome::Failed("no".to_owned()) } else { Outcome::Done }
    });
    let world = run_sinks(sinks::only(sink), |_| {}).await;
    assert_eq!(taken.values(), numbers(COUNT));
    for message in taken.messages() {
        let number: u32 = value(&message).parse().unwrap();
        let count = message.attributes.parts().system.get("sink").map(|group| group["retry_count"].clone());
        let expected = (!number.is_multiple_of(3)).then(|| Bytes::from((number % 3).to_string()));
        assert_eq!(count, expected, "message {number}");
    }
    assert_eq!(world.metrics("map").write.get(), COUNT);
    let failures: u64 = (0..COUNT).map(|number| number % 3).sum();
    assert_eq!(world.metrics("map").write_error.get(), failures);
}

#[tokio::test]
async fn what_a_sink_never_takes_is_dropped_when_the_strategy_says_so() {
    let (sink, taken) = failing_often();
    let sinks = Sinks { again: strategy(4, Then::Drop), ..sinks::only(sink) };
    let world = run_sinks(sinks, |_| {}).await;
    assert_eq!(taken.values(), without(COUNT, &["30"]));
    assert_eq!(world.metrics("map").dropped.sink_retries.get(), 1);
    assert_eq!(world.metrics("map").write.get(), COUNT - 1);
}

#[tokio::test]
async fn what_a_sink_never_takes_goes_to_the_fallback_when_the_strategy_says_so() {
    let (sink, taken) = failing_often();
    let (fallback, rescued) = sinks::collecting();
    let sinks = Sinks { again: strategy(4, Then::Fallback), ..sinks::with_fallback(sink, fallback) };
    let world = run_sinks(sinks, |_| {}).await;
    assert_eq!(taken.values(), without(COUNT, &["30"]));
    assert_eq!(rescued.values(), ["30"]);
    let metrics = world.metrics("map");
    assert_eq!((metrics.write.get(), metrics.write_fallback.get()), (COUNT - 1, 1));
}

#[tokio::test]
async fn a_sink_refers_messages_to_the_other_sinks() {
    let (sink, taken) = sinks::Scripted::new(|message, _| match value(message).as_str() {
        "1" => Outcome::Fallback,
        "2" => Outcome::OnSuccess(None),
        "3" => Outcome::OnSuccess(Some(Box::new(Replacement {
            value: Bytes::from_static(b"three"),
            keys: vec!["key".into()],
            user: BTreeMap::new(),
        }))),
        _ => Outcome::Done,
    });
    // Both fail at first and are asked again.
    let fails_once =
        |_: &Message, times| if times == 1 { Outcome::Failed("no".to_owned()) } else { Outcome::Done };
    let (fallback, rescued) = sinks::Scripted::new(fails_once);
    let (on_success, told) = sinks::Scripted::new(fails_once);
    let sinks = Sinks { on_success: Some(Box::new(on_success)), ..sinks::with_fallback(sink, fallback) };
    let world = run_sinks(sinks, |_| {}).await;
    assert_eq!(taken.values(), without(COUNT, &["1"]));
    assert_eq!(rescued.values(), ["1"]);
    assert_eq!(told.values(), ["2", "three"]);
    let metrics = world.metrics("map");
    assert_eq!(
        (metrics.write.get(), metrics.write_fallback.get(), metrics.write_on_success.get()),
        (COUNT - 1, 1, 2)
    );
}

#[tokio::test]
async fn a_message_that_any_sink_sends_back_comes_again() {
    let first = |message: &Message, times| match (value(message).as_str(), times) {
        ("1", _) => Outcome::Fallback,
        ("2", 1) => Outcome::Nack(Nack::default()),
        _ => Outcome::Done,
    };
    let (sink, taken) = sinks::Scripted::new(first);
    let (fallback, rescued) =
        sinks::Scripted::new(
            |_, times| {
                if times < 3 { Outcome::Nack(Nack::default()) } else { Outcome::Done }
            },
        );
    let world = run_sinks(sinks::with_fallback(sink, fallback), |_| {}).await;
    assert_eq!(taken.values(), without(COUNT, &["1"]));
    assert_eq!(rescued.values(), ["1"]);
    assert_eq!(world.metrics("map").nack.get(), 3);
}

#[tokio::test]
async fn exhausted_messages_of_a_sink_go_to_the_fallback() {
    let (sink, taken) = sinks::Scripted::new(|message, _| {
        if value(message) == "8" { Outcome::Nack(Nack::default()) } else { Outcome::Done }
    });
    let (fallback, rescued) =
        sinks::Scripted::new(
            |_, times| {
                if times == 1 { Outcome::Nack(Nack::default()) } else { Outcome::Done }
            },
        );
    let change = |setup: &mut Setup| {
        setup.redelivery.deliveries_max = Some(3);
        setup.redelivery.exhausted = Exhausted::Fallback;
    };
    let world = run_sinks(sinks::with_fallback(sink, fallback), change).await;
    assert_eq!(taken.values(), without(COUNT, &["8"]));
    assert_eq!(rescued.values(), ["8"]);
    assert_eq!(world.metrics("map").dropped.exhausted.get(), 0);
}

#[tokio::test]
async fn a_write_of_which_nothing_is_known_is_made_again() {
    let (sink, taken) = sinks::collecting();
    let error = || Error::new(Class::Retry, "write: the outside is away");
    let world = run_sinks(sinks::only(sink.failing(vec![error(), error()])), |_| {}).await;
    assert_eq!(taken.values(), numbers(COUNT));
    assert!(world.metrics("map").write_error.get() > 0);
}

#[tokio::test]
async fn a_sink_that_fails_for_good_ends_the_worker_with_its_own_error() {
    let (sink, taken) = sinks::collecting();
    let error = Error::new(Class::Fatal, "write: the outside is gone");
    let world = World::new(1, vec![vertex("in", 1, 1), vertex("map", 2, 4)]);
    let world = filled_in(world, COUNT).await;
    let setup = world.sink("map", sinks::only(sink.failing(vec![error])));
    let running = Running::start(setup, world.orders(&world.units("map")));
    let error = running.ended().await.unwrap_err();
    assert_eq!((error.class(), error.chain().as_str()), (Class::Fatal, "write: the outside is gone"));
    assert_eq!((taken.count(), world.left("map").await), (0, COUNT));
}

#[tokio::test]
async fn a_bypass_takes_messages_straight_to_a_sink() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Ids, COUNT).ending();
    let tag = |message: &Message, _| match value(message).as_str() {
        "1" => maps::tagged(message, &["primary"]),
        "2" => maps::tagged(message, &["fallback"]),
        "3" => maps::tagged(message, &["success"]),
        _ => maps::pass(message),
    };
    let ((sink, taken), (fallback, rescued), (on_success, told)) =
        (sinks::collecting(), sinks::collecting(), sinks::collecting());
    let mut sinks = Sinks { on_success: Some(Box::new(on_success)), ..sinks::with_fallback(sink, fallback) };
    let any = |tag: &str| Some(model::verdict::Condition::Any(vec![tag.into()]));
    sinks.bypass.sink = any("primary");
    sinks.bypass.fallback = any("fallback");
    sinks.bypass.on_success = any("success");
    let mut setup = world.mono("mono", outside.open(), sinks);
    setup.buffer = None;
    setup.transform = Some(call(Scripted::new(tag)));
    let map = maps::cat();
    setup.map = Some(call(map.clone()));
    Running::start(setup, world.orders(&source_unit())).ended().await.unwrap();
    assert_eq!(
        (taken.values(), rescued.values(), told.values()),
        (vec!["1".to_owned()], vec!["2".to_owned()], vec!["3".to_owned()])
    );
    assert_eq!((map.seen("1"), map.seen("4")), (0, 1));
    assert_eq!(world.mono_metrics("mono").dropped.bypassed.get(), COUNT - 3);
    assert_eq!(outside.done(), COUNT);
}

#[tokio::test]
async fn siblings_of_a_message_that_is_sent_back_do_not_go_on_without_it() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Ids, 100).ending();
    let mut setup = world.source("in", outside.open(), vec![world.edge("map")]);
    setup.transform = Some(call(Scripted::new(|message, _| maps::several(message, 2))));
    setup.map = Some(call(Scripted::new(|message, times| {
        if value(message) == "50b" && times == 1 { maps::nacked(message, None) } else { maps::pass(message) }
    })));
    Running::start(setup, world.orders(&source_unit())).ended().await.unwrap();
    let mut expected: Vec<_> =
        numbers(100).into_iter().flat_map(|number| [format!("{number}a"), format!("{number}b")]).collect();
    expected.sort();
    assert_eq!(world.values("map").await, expected);
}
