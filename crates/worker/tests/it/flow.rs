//! Messages through source, map and sink vertices: exact output, routing, order, room.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::door::buffer::WhenFull;
use model::door::source::Memory;
use model::verdict::Condition;
use model::{Slot, Topology};
use smol_str::SmolStr;

use crate::kit::maps::{self, Scripted};
use crate::kit::sources::Outside;
use crate::kit::{Gate, Running, World, numbers, sinks, source_unit, three, until, value, vertex};

const COUNT: u64 = 5_000;

fn memories() -> [Memory; 3] {
    [Memory::Position, Memory::Ids, Memory::Opaque]
}

#[tokio::test]
async fn what_goes_in_comes_out_once_through_three_workers() {
    for memory in memories() {
        let world = World::new(1, three());
        let outside = Outside::new(memory, COUNT).ending();
        let (sink, taken) = sinks::collecting();
        let source = world.source("in", outside.open(), vec![world.edge("map")]);
        let map = world.map("map", maps::cat(), vec![world.edge("out")]);
        let sink = world.sink("out", sinks::only(sink));
        let source = Running::start(source, world.orders(&source_unit()));
        let map = Running::start(map, world.orders(&world.units("map")));
        let sink = Running::start(sink, world.orders(&world.units("out")));
        assert_eq!(source.ended().await.unwrap(), worker::Ended::Exhausted);
        until("everything is out", async || taken.count() as u64 >= COUNT).await;
        map.stop().await;
        sink.stop().await;
        assert_eq!(taken.values(), numbers(COUNT), "{memory:?}");
        assert!(taken.is_closed());
        assert_eq!((world.left("map").await, world.left("out").await), (0, 0));
        if memory != Memory::Position {
            assert_eq!(outside.done(), COUNT);
        }
    }
}

#[tokio::test]
async fn a_mono_vertex_needs_no_buffer() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Opaque, COUNT).ending();
    let (sink, taken) = sinks::collecting();
    let mut setup = world.mono("mono", outside.open(), sinks::only(sink));
    setup.buffer = None;
    setup.map = Some(crate::kit::call(Scripted::new(|message, _| maps::several(message, 2))));
    let mono = Running::start(setup, world.orders(&source_unit()));
    assert_eq!(mono.ended().await.unwrap(), worker::Ended::Exhausted);
    assert_eq!(taken.count() as u64, 2 * COUNT);
    let distinct: HashSet<_> = taken.messages().iter().map(value).collect();
    assert_eq!(distinct.len() as u64, 2 * COUNT);
    assert_eq!(outside.done(), COUNT);
}

/// Runs a source and one or more maps in a row to the end and gives the content of the vertex behind them.
async fn through(world: &World, maps: Vec<(&str, Scripted, Vec<worker::Edge>)>, count: u64) {
    let outside = Outside::new(Memory::Position, count).ending();
    let first = maps[0].0;
    let source = world.source("in", outside.open(), vec![world.edge(first)]);
    let source = Running::start(source, world.orders(&source_unit()));
    source.ended().await.unwrap();
    for (vertex, map, edges) in maps {
        let running = Running::start(world.map(vertex, map, edges), world.orders(&world.units(vertex)));
        until("the map has read everything", async || world.left(vertex).await == 0).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn ids_of_a_tree_of_results_are_unique() {
    for seed in 0..5 {
        let several = move || {
            Scripted::new(move |message, _| {
                let mut random = fastrand::Rng::with_seed(seed ^ message.event_time.nanos() as u64);
                maps::several(message, random.u32(0..4))
            })
        };
        let mut vertices = three();
        vertices.push(vertex("map2", 1, 3));
        let world = World::new(seed, vertices);
        let maps =
            vec![("map", several(), vec![world.edge("map2")]), ("map2", several(), vec![world.edge("out")])];
        through(&world, maps, 500).await;
        let content = world.content("out").await;
        let all: Vec<_> = content.values().flatten().collect();
        let ids: BTreeSet<_> = all.iter().map(|message| message.id.to_string()).collect();
        assert!(all.len() > 500, "seed {seed}");
        assert_eq!(ids.len(), all.len(), "seed {seed}");
    }
}

fn tags(list: &[&str]) -> Vec<SmolStr> {
    list.iter().map(SmolStr::new).collect()
}

#[tokio::test]
async fn tags_choose_edges_with_and_or_and_not() {
    let mut vertices = three();
    vertices.extend([vertex("and", 1, 2), vertex("or", 1, 2), vertex("not", 1, 2)]);
    let world = World::new(1, vertices);
    let map = Scripted::new(|message, _| {
        let number: u64 = value(message).parse().unwrap();
        match number % 5 {
            0 => maps::tagged(message, &["a", "b"]),
            1 => maps::tagged(message, &["a"]),
            2 => maps::tagged(message, &["b"]),
            3 => maps::tagged(message, &["c"]),
            _ => maps::tagged(message, &["c", "d"]),
        }
    });
    let conditions = [
        ("and", Condition::All(tags(&["a", "b"]))),
        ("or", Condition::Any(tags(&["a", "b"]))),
        ("not", Condition::None(tags(&["a", "b", "d"]))),
    ];
    let edges = conditions.map(|(to, condition)| worker::Edge { condition, ..world.edge(to) }).to_vec();
    through(&world, vec![("map", map, edges)], 100).await;
    let rests = async |to: &str| -> BTreeMap<u64, usize> {
        let mut rests = BTreeMap::new();
        for value in world.values(to).await {
            *rests.entry(value.parse::<u64>().unwrap() % 5).or_default() += 1;
        }
        rests
    };
    assert_eq!(rests("and").await, BTreeMap::from([(0, 20)]));
    assert_eq!(rests("or").await, BTreeMap::from([(0, 20), (1, 20), (2, 20)]));
    assert_eq!(rests("not").await, BTreeMap::from([(3, 20)]));
    assert_eq!(world.metrics("map").dropped.unmatched.get(), 20);
    assert_eq!(world.metrics("map").write.get(), 100);
    assert!(world.content("or").await.values().flatten().all(|message| message.tags.is_empty()));
}

#[tokio::test]
async fn results_tagged_to_drop_are_done_with() {
    let world = World::new(1, three());
    let map = Scripted::new(|message, _| {
        if value(message).ends_with('7') { maps::dropped(message) } else { maps::pass(message) }
    });
    through(&world, vec![("map", map, vec![world.edge("out")])], 1000).await;
    let expected: Vec<_> = numbers(1000).into_iter().filter(|value| !value.ends_with('7')).collect();
    assert_eq!(world.values("out").await, expected);
    assert_eq!(world.metrics("map").udf_drop.get(), 100);
}

#[tokio::test]
async fn order_is_kept_within_each_slot_from_end_to_end() {
    let world = World::new(1, three());
    let map = Scripted::new(|message, _| maps::several(message, 2)).delayed(7);
    through(&world, vec![("map", map, vec![world.edge("out")])], COUNT).await;
    let content = world.content("out").await;
    let slots: Vec<_> = content.values().filter(|messages| !messages.is_empty()).collect();
    assert!(slots.len() > 1, "the source spreads frames over slots");
    for messages in slots {
        let order: Vec<_> = messages.iter().map(|message| (message.event_time, value(message))).collect();
        let times: Vec<_> = order.iter().map(|(time, _)| *time).collect();
        assert!(times.is_sorted());
        assert!(order.chunks(2).all(|pair| pair[0].1.ends_with('a') && pair[1].1.ends_with('b')));
    }
}

#[tokio::test]
async fn equal_keys_meet_in_one_slot() {
    let mut vertices = three();
    vertices.push(vertex("sum", 4, 1));
    let world = World::new(1, vertices);
    let map = Scripted::new(|message, _| {
        let mut reply = maps::pass(message);
        let number: u64 = value(message).parse().unwrap();
        reply.outputs[0].keys = vec![SmolStr::new(format!("key-{}", number % 20))];
        reply
    });
    let edge = worker::Edge { keyed: true, ..world.edge("sum") };
    through(&world, vec![("map", map, vec![edge])], 1000).await;
    let mut slot_of: BTreeMap<SmolStr, BTreeSet<Slot>> = BTreeMap::new();
    for (slot, messages) in world.content("sum").await {
        for message in messages {
            slot_of.entry(message.keys[0].clone()).or_default().insert(slot);
        }
    }
    assert_eq!(slot_of.len(), 20);
    assert!(slot_of.values().all(|slots| slots.len() == 1));
}

#[tokio::test]
async fn a_full_vertex_discards_only_where_the_edge_says_so_and_counts_it() {
    let mut vertices = three();
    vertices.push(vertex("small", 1, 1));
    vertices[3].messages_max = 300;
    let world = World::new(1, vertices);
    let discards = worker::Edge { when_full: WhenFull::Discard, ..world.edge("small") };
    through(&world, vec![("map", maps::cat(), vec![discards, world.edge("out")])], COUNT).await;
    let (kept, dropped) = (world.left("small").await, world.metrics("map").dropped.full.get());
    assert!(kept >= 300);
    assert!(dropped > 0);
    assert_eq!(kept + dropped, COUNT);
    assert_eq!(world.values("out").await, numbers(COUNT));
}

#[tokio::test]
async fn a_slow_reader_stops_the_source_and_memory_stays_bounded() {
    let mut vertices = three();
    for vertex in &mut vertices[1..] {
        vertex.topology = Topology { partitions: 1, slots_per_partition: 4 };
        vertex.messages_max = 1000;
    }
    let world = World::new(1, vertices);
    let outside = Outside::new(Memory::Ids, 1_000_000);
    let gate = Gate::closed();
    let (sink, taken) = sinks::collecting();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    let source = Running::start(source, world.orders(&source_unit()));
    let map = world.map("map", maps::cat(), vec![world.edge("out")]);
    let map = Running::start(map, world.orders(&world.units("map")));
    let sink = world.sink("out", sinks::only(sink.behind(&gate)));
    let sink = Running::start(sink, world.orders(&world.units("out")));
    let mut last = (0, 0);
    until("reading stops", async || {
        // Stopped is: nothing more was read during many turns of everybody else.
        let given = outside.given();
        last = if given == last.0 { (given, last.1 + 1) } else { (given, 0) };
        given > 2000 && last.1 > 300
    })
    .await;
    let given = outside.given();
    let held = source.in_hand() + map.in_hand() + sink.in_hand();
    assert!(held < 20_000, "{held} messages in hand");
    assert!(given < 40_000, "{given} messages read");
    // Four batches with user code, 64 that are ready, as many in the commit that waits, and one just read.
    assert!(source.in_hand() <= 133 * 50, "{} messages in hand of the source", source.in_hand());
    gate.open();
    until("it goes on", async || taken.count() as u64 > given).await;
    assert!(outside.given() > given);
    source.stop().await;
    until("everything is out", async || taken.count() as u64 == outside.done()).await;
    map.stop().await;
    sink.stop().await;
    let distinct: HashSet<_> = taken.messages().iter().map(value).collect();
    assert_eq!(distinct.len(), taken.count());
}

#[tokio::test]
async fn results_larger_than_a_commit_are_committed_in_parts() {
    const SIZE: usize = 100_000;
    let world = World::new(1, three());
    let map = Scripted::new(|message, _| {
        let mut reply = maps::several(message, 2);
        for output in &mut reply.outputs {
            let mut large = value(output).into_bytes();
            large.resize(SIZE, b'.');
            output.value = large.into();
        }
        reply
    });
    through(&world, vec![("map", map, vec![world.edge("out")])], 200).await;
    let mut values: Vec<_> =
        world.values("out").await.into_iter().map(|value| value.trim_end_matches('.').to_owned()).collect();
    values.sort();
    let mut expected: Vec<_> =
        numbers(200).into_iter().flat_map(|number| [format!("{number}a"), format!("{number}b")]).collect();
    expected.sort();
    assert_eq!(values, expected);
}

#[tokio::test]
async fn a_message_that_fits_no_frame_is_dropped_and_counted() {
    let world = World::new(1, three());
    let map = Scripted::new(|message, _| {
        let mut reply = maps::pass(message);
        if value(message) == "13" {
            reply.outputs[0].value = vec![b'x'; 600 * 1024].into();
        }
        reply
    });
    through(&world, vec![("map", map, vec![world.edge("out")])], 50).await;
    let expected: Vec<_> = numbers(50).into_iter().filter(|value| value != "13").collect();
    assert_eq!(world.values("out").await, expected);
    assert_eq!(world.metrics("map").dropped.oversized.get(), 1);
    assert_eq!(world.metrics("map").critical.get(), 1);
}

#[tokio::test]
async fn repetitions_from_outside_are_recognised() {
    for seed in 0..10 {
        let world = World::new(seed, three());
        let outside = Outside::new(Memory::Ids, 1000).repeating(3, seed).refusing(2).ending();
        let mut setup = world.source("in", outside.open(), vec![world.edge("map")]);
        setup.transform = Some(crate::kit::call(Scripted::new(|message, _| maps::several(message, 2))));
        Running::start(setup, world.orders(&source_unit())).ended().await.unwrap();
        let mut expected: Vec<_> = numbers(1000)
            .into_iter()
            .flat_map(|number| [format!("{number}a"), format!("{number}b")])
            .collect();
        expected.sort();
        assert_eq!(world.values("map").await, expected, "seed {seed}");
        let metrics = world.metrics("in");
        assert!(metrics.dropped.repeated.get() > 100, "seed {seed}");
        assert_eq!(metrics.read.get(), 1000 + metrics.dropped.repeated.get(), "seed {seed}");
        assert_eq!(outside.done(), 1000, "seed {seed}");
    }
}

#[tokio::test]
async fn a_source_goes_on_where_its_unit_ended() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Position, COUNT);
    let gate = Gate::closed();
    let mut first = world.source("in", outside.open(), vec![world.edge("map")]);
    first.transform = Some(crate::kit::call(maps::cat().behind(&gate)));
    let first = Running::start(first, world.orders(&source_unit()));
    until("something was read", async || outside.given() >= 50).await;
    gate.open();
    first.stop().await;
    let outside = outside.ending();
    let second = world.source("in", outside.open(), vec![world.edge("map")]);
    Running::start(second, world.orders(&source_unit())).ended().await.unwrap();
    assert_eq!(world.values("map").await, numbers(COUNT));
    let resumed = outside.resumed();
    assert_eq!(resumed.len(), 2);
    assert!(resumed[1].sequence > 0);
    assert_eq!(outside.given(), COUNT);
}
