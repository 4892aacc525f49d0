//! Counters after a run, as a scraper sees them.

use model::door::source::Memory;

use crate::kit::maps::{self, Scripted};
use crate::kit::sources::Outside;
use crate::kit::{Running, World, call, sinks, source_unit, three, until, value};

const COUNT: u64 = 200;

/// The value of the sample whose name and labels these are; `labels` in any order.
fn sample(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let matches = |line: &&str| {
        let Some(rest) = line.strip_prefix(name) else { return false };
        let labelled = labels.iter().all(|(key, value)| rest.contains(&format!("{key}=\"{value}\"")));
        rest.starts_with('{') && labelled
    };
    let line = text.lines().find(matches)?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn a_pipeline_counts_under_the_names_of_the_reference() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Ids, COUNT).repeating(4, 1).ending();
    let (sink, taken) = sinks::collecting();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    let map = Scripted::new(|message, times| match (value(message).as_str(), times) {
        ("1", 1) => maps::nacked(message, None),
        ("2", 1) => maps::failed(message),
        ("3", _) => maps::dropped(message),
        _ => maps::pass(message),
    });
    let map = world.map("map", map, vec![world.edge("out")]);
    Running::start(source, world.orders(&source_unit())).ended().await.unwrap();
    let map = Running::start(map, world.orders(&world.units("map")));
    let sink = Running::start(world.sink("out", sinks::only(sink)), world.orders(&world.units("out")));
    until("everything is out", async || taken.count() as u64 == COUNT - 1).await;
    map.stop().await;
    sink.stop().await;
    let text = world.text();
    let of = |vertex: &'static str, name: &str| {
        let labels = [("pipeline", "p"), ("vertex", vertex), ("replica", "0"), ("partition_name", vertex)];
        sample(&text, name, &labels).unwrap_or_else(|| panic!("{name} of {vertex} in:\n{text}"))
    };
    let repeated = world.metrics("in").dropped.repeated.get();
    let bytes = |count: u64| (0..count).map(|number| number.to_string().len() as u64).sum::<u64>();
    assert!(repeated > 0);
    assert_eq!(of("in", "forwarder_data_read_total"), COUNT + repeated);
    assert_eq!(of("in", "forwarder_read_total"), COUNT + repeated);
    assert!(of("in", "forwarder_data_read_bytes_total") > bytes(COUNT));
    assert_eq!(of("in", "forwarder_write_total"), COUNT);
    assert_eq!(of("in", "forwarder_ack_total"), COUNT + repeated);
    let duplicate = [("vertex", "in"), ("reason", "duplicate-id")];
    assert_eq!(sample(&text, "forwarder_drop_total", &duplicate), Some(repeated));
    assert_eq!(of("map", "forwarder_data_read_total"), COUNT + 1);
    assert_eq!(of("map", "forwarder_write_total"), COUNT - 1);
    assert_eq!(of("map", "forwarder_nack_total"), 1);
    assert_eq!(of("map", "forwarder_ack_total"), COUNT);
    let common = [("pipeline", "p"), ("vertex", "map"), ("vertex_type", "MapUDF"), ("replica", "0")];
    assert_eq!(sample(&text, "forwarder_udf_error_total", &common), Some(1));
    assert_eq!(sample(&text, "forwarder_ud_drop_total", &common), Some(1));
    assert!(sample(&text, "forwarder_udf_processing_time_count", &common).is_some_and(|count| count > 0));
    assert!(of("map", "forwarder_processing_time_count") > 0);
    assert!(of("map", "forwarder_write_processing_time_count") > 0);
    assert!(of("map", "forwarder_read_batch_size") > 0);
    assert_eq!(of("out", "forwarder_write_total"), COUNT - 1);
    assert_eq!(of("out", "forwarder_data_read_total"), COUNT - 1);
    assert_eq!(of("out", "forwarder_write_error_total"), 0);
}

#[tokio::test]
async fn a_mono_vertex_counts_under_the_names_of_the_reference() {
    let world = World::new(1, three());
    let outside = Outside::new(Memory::Ids, COUNT).ending();
    let (sink, _) = sinks::Scripted::new(|message, times| match (value(message).as_str(), times) {
        ("1", 1) => model::door::sink::Outcome::Failed("no".to_owned()),
        ("2", _) => model::door::sink::Outcome::Fallback,
        _ => model::door::sink::Outcome::Done,
    });
    let (fallback, _) = sinks::collecting();
    let mut setup = world.mono("mono", outside.open(), sinks::with_fallback(sink, fallback));
    setup.buffer = None;
    setup.map = Some(call(maps::cat()));
    Running::start(setup, world.orders(&source_unit())).ended().await.unwrap();
    let text = world.text();
    let of = |name: &str| sample(&text, name, &[("mvtx_name", "mono"), ("mvtx_replica", "0")]);
    assert_eq!(of("monovtx_read_total"), Some(COUNT));
    assert_eq!(of("monovtx_ack_total"), Some(COUNT));
    assert_eq!(of("monovtx_nack_total"), Some(0));
    assert_eq!(of("monovtx_sink_write_total"), Some(COUNT - 1));
    assert_eq!(of("monovtx_sink_write_errors_total"), Some(1));
    assert_eq!(of("monovtx_fallback_sink_write_total"), Some(1));
    assert_eq!(of("monovtx_onsuccess_sink_write_total"), Some(0));
    assert_eq!(of("monovtx_udf_error_total"), Some(0));
    assert!(of("monovtx_sink_time_count").is_some_and(|count| count > 0));
    assert!(of("monovtx_udf_time_count").is_some_and(|count| count > 0));
    assert!(of("monovtx_processing_time_count").is_some_and(|count| count > 0));
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_can_tell_is_asked_every_few_seconds_how_much_waits() {
    let world = World::stepped(1, three());
    let outside = Outside::new(Memory::Ids, COUNT).slowly();
    let source = world.source("in", outside.open(), vec![world.edge("map")]);
    let pending = world.metrics("in").pending.clone();
    let source = Running::start(source, world.orders(&source_unit()));
    until("all waits outside", async || pending.get() == COUNT as i64).await;
    outside.allow(COUNT / 2);
    until("half of it was read", async || pending.get() == COUNT as i64 / 2).await;
    source.stop().await;
    let counted = Outside::new(Memory::Position, COUNT);
    let source = world.source("in", counted.open(), vec![world.edge("map")]);
    let source = Running::start(source, world.orders(&source_unit()));
    until("nobody knows", async || pending.get() == -1).await;
    source.stop().await;
}
