//! Conditions, keys, rotation and cutting, case by case.

use bytes::Bytes;
use model::door::buffer::WhenFull;
use model::frame::{Frame, Header, Writer};
use model::{Epoch, Incarnation, Name, Origin, Time, Topology, Unit};
use smol_str::SmolStr;

use super::*;

const BOUNDS: Bounds = Bounds { frame_bytes_max: 1000, commit_bytes_max: 10_000, lone_frame_bytes: None };

fn message(number: u64, key: &str, tags: &[&str], size: usize) -> Message {
    let origin = Origin::Numbered { number, partition: 0 };
    let mut message = Message::from_source(Name::new("in"), origin, Bytes::from(vec![b'x'; size]), Time::MIN);
    message.keys = if key.is_empty() { vec![] } else { vec![SmolStr::new(key)] };
    message.tags = tags.iter().map(SmolStr::new).collect();
    message
}

fn edge(to: &str, condition: Condition) -> Edge {
    let topology = Topology::of(2, false);
    Edge {
        to: Name::new(to),
        topology,
        condition,
        when_full: WhenFull::Wait,
        keyed: false,
        back: false,
        codec: model::frame::Codec::None,
    }
}

fn numbers(output: &Output) -> Vec<u64> {
    let writer = Writer {
        vertex: Name::new("in"),
        unit: Unit::Source(0),
        replica: 0,
        incarnation: Incarnation(1),
        epoch: Epoch(1),
    };
    let header = Header::new(&output.body, writer, Time::MIN, 0);
    let frame = Frame { header, payload: output.body.payload.clone() };
    let numbered = |message: Message| match message.id.origin {
        Origin::Numbered { number, .. } => number,
        other => panic!("unexpected {other}"),
    };
    frame.messages(1, 0).unwrap().into_iter().map(numbered).collect()
}

fn any(tags: &[&str]) -> Condition {
    Condition::Any(tags.iter().map(SmolStr::new).collect())
}

#[test]
fn conditions_choose_edges_and_what_none_takes_is_counted() {
    let edges = [edge("even", any(&["even"])), edge("all", any(&["even", "odd"]))];
    let messages = [
        message(1, "", &["odd"], 1),
        message(2, "", &["even"], 1),
        message(3, "", &["other"], 1),
        message(4, "", &[], 1),
    ];
    let routed = route(&messages, &edges, &mut Spread::Own(5), BOUNDS);
    assert_eq!(routed.unmatched, 2);
    assert_eq!(numbers(&routed.outputs[0]), [2]);
    assert_eq!(numbers(&routed.outputs[1]), [1, 2]);
    assert_eq!(routed.outputs[0].to.slot, edges[0].topology.slot(5));
}

#[test]
fn a_source_rotates_frames_over_all_slots() {
    let edges = [edge("map", Condition::Always)];
    let mut spread = Spread::rotate(1, 0);
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..64 {
        let routed = route(&[message(number, "", &[], 1)], &edges, &mut spread, BOUNDS);
        seen.insert(routed.outputs[0].to.slot);
    }
    assert_eq!(seen.len(), 64);
}

#[test]
fn each_edge_rotates_over_all_of_its_slots() {
    let edges = [edge("one", Condition::Always), edge("two", Condition::Always)];
    let mut spread = Spread::rotate(2, 0);
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..64 {
        for output in route(&[message(number, "", &[], 1)], &edges, &mut spread, BOUNDS).outputs {
            seen.insert(output.to);
        }
    }
    assert_eq!(seen.len(), 128);
}

#[test]
fn equal_keys_share_a_slot_in_order() {
    let mut edges = [edge("sum", Condition::Always)];
    edges[0].keyed = true;
    edges[0].topology = Topology::of(5, true);
    let messages: Vec<_> = (0..50).map(|n| message(n, &format!("key-{}", n % 10), &[], 1)).collect();
    let routed = route(&messages, &edges, &mut Spread::rotate(1, 0), BOUNDS);
    assert!(routed.outputs.len() > 1);
    let mut slot_of = std::collections::BTreeMap::new();
    for output in &routed.outputs {
        let numbers = numbers(output);
        assert!(numbers.is_sorted());
        for number in numbers {
            assert_eq!(*slot_of.entry(number % 10).or_insert(output.to.slot), output.to.slot);
        }
    }
    assert_eq!(slot_of.len(), 10);
}

#[test]
fn frames_keep_their_bounds_and_a_message_that_fits_none_is_named() {
    let edges = [edge("map", Condition::Always)];
    let messages: Vec<_> = (0..20).map(|n| message(n, "", &[], if n == 7 { 2000 } else { 200 })).collect();
    let routed = route(&messages, &edges, &mut Spread::rotate(1, 0), BOUNDS);
    assert_eq!(routed.oversized.len(), 1);
    let all: Vec<_> = routed.outputs.iter().flat_map(numbers).collect();
    assert_eq!(all, (0..20).filter(|n| *n != 7).collect::<Vec<_>>());
    assert!(routed.outputs.iter().all(|output| output.body.payload.len() <= 1000));
    let many: Vec<_> = (0..=FRAME_MESSAGES_MAX as u64).map(|n| message(n, "", &[], 0)).collect();
    let wide = Bounds { frame_bytes_max: 1 << 20, ..BOUNDS };
    assert_eq!(route(&many, &edges, &mut Spread::rotate(1, 0), wide).outputs.len(), 2);
}

#[test]
fn the_key_hash_is_that_of_the_contract() {
    // SipHash-1-3 with zero keys, fixed by an independent implementation (`std`'s default hasher).
    #[expect(deprecated, reason = "an independent implementation of the same hash")]
    let mut other = std::hash::SipHasher::new();
    other.write(b"a:b");
    let mut two = message(1, "a", &[], 0);
    two.keys.push(SmolStr::new("b"));
    let mut one = message(1, "a:b", &[], 0);
    one.keys.truncate(1);
    assert_eq!(key_hash(&two), key_hash(&one));
    assert_ne!(key_hash(&two), other.finish(), "std's SipHasher is SipHash-2-4");
    let mut default = std::collections::hash_map::DefaultHasher::new();
    default.write(b"a:b");
    assert_eq!(key_hash(&two), default.finish());
}
