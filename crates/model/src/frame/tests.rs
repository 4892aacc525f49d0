//! Frames give back what they were made of, speak protobuf, and end in an error on any damage.

use super::*;
use crate::message::Parts;
use crate::{Slot, Topology};

fn random_origin(random: &mut fastrand::Rng) -> Origin {
    match random.u8(0..3) {
        0 => Origin::Text(SmolStr::new(format!("id-{}", random.u32(..)))),
        1 => Origin::Numbered { number: random.u64(..), partition: random.u16(..) },
        _ => {
            Origin::Buffered { sequence: random.u64(..), position: random.u32(..), partition: random.u16(..) }
        }
    }
}

fn random_message(random: &mut fastrand::Rng) -> Message {
    let mut message = Message::from_source(
        SmolStr::new(if random.bool() { "in" } else { "a-vertex-with-quite-a-long-name" }),
        random_origin(random),
        Bytes::from((0..random.usize(0..300)).map(|_| random.u8(..)).collect::<Vec<_>>()),
        Time::from_nanos(random.i64(-1_000_000_000_000_000_000..2_000_000_000_000_000_000)),
    );
    message.keys = (0..random.usize(0..3)).map(|n| SmolStr::new(format!("key-{n}"))).collect();
    message.id.index = random.u32(..);
    message.id.parent_index = random.bool().then(|| random.u32(..));
    if random.bool() {
        let mut parts = Parts::default();
        parts.headers.insert("X-Numaflow-Id".into(), random.u32(..).to_string());
        parts.user.entry("group".into()).or_default().insert("key".into(), Bytes::from_static(b"\x00\xff"));
        message.attributes =
            Attributes::new(parts).with_system("sink", "retry_count", Bytes::from_static(b"3"));
    }
    if random.u8(0..4) == 0 {
        message.offset = random_origin(random);
        message.redelivery = Some(Box::new(Redelivery {
            attempt: random.u32(..),
            not_before: Time::from_nanos(random.i64(..)),
            deliveries_max: random.bool().then(|| random.u32(..)),
            reason: "later, please".into(),
        }));
    }
    message
}

fn frame_of(messages: &[Message]) -> Bytes {
    packed_frame_of(messages, Codec::None)
}

fn packed_frame_of(messages: &[Message], codec: Codec) -> Bytes {
    let body = Body::encode(messages).packed(codec);
    let writer = Writer {
        vertex: SmolStr::new("in"),
        unit: Unit::Slot(Slot { partition: 1, number: 31 }),
        replica: 7,
        incarnation: Incarnation(u64::MAX),
        epoch: Epoch(12),
    };
    let header = Header::new(&body, writer, Time::from_millis(5), 1_000_000);
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(&body.payload);
    Bytes::from(bytes)
}

#[test]
fn a_frame_gives_back_what_it_was_made_of() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let messages: Vec<_> = (0..random.usize(1..20)).map(|_| random_message(&mut random)).collect();
        let frame = Frame::decode(&frame_of(&messages)).unwrap();
        let read = frame.messages(99, 3).unwrap();
        for (position, (read, mut written)) in read.into_iter().zip(messages).enumerate() {
            if written.redelivery.is_none() {
                written.offset = Origin::Buffered { sequence: 99, position: position as u32, partition: 3 };
            }
            assert_eq!(read, written, "seed {seed}");
        }
        assert_eq!(frame.header.writer.epoch, Epoch(12));
        assert_eq!(frame.header.cumulative, 1_000_000);
    }
}

#[test]
fn packed_frames_are_smaller_and_give_the_same_messages() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut messages: Vec<_> = (0..100).map(|_| random_message(&mut random)).collect();
    for message in &mut messages {
        message.value = Bytes::from(vec![b'a'; 200]);
        message.redelivery = None;
    }
    let plain = frame_of(&messages);
    let expected = Frame::decode(&plain).unwrap().messages(7, 1).unwrap();
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4] {
        let bytes = packed_frame_of(&messages, codec);
        assert!(bytes.len() * 2 < plain.len(), "{codec:?}");
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(frame.header.codec, codec);
        assert_eq!(frame.messages(7, 1).unwrap(), expected, "{codec:?}");
        for bit in (0..frame.payload.len() * 8).step_by(7) {
            let mut damaged = frame.payload.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = Frame { payload: damaged.into(), header: frame.header.clone() }.messages(7, 1);
            assert!(read.is_err() || read.unwrap().len() == 100, "{codec:?}, bit {bit}");
        }
    }
    let noise: Vec<_> = (0..300).map(|_| random.u8(..)).collect();
    messages.truncate(1);
    messages[0].value = Bytes::from(noise);
    assert_eq!(Body::encode(&messages).packed(Codec::Lz4).codec, Codec::None, "noise stays as it is");
}

#[test]
fn a_payload_is_never_larger_than_its_messages_say() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let messages: Vec<_> = (0..random.usize(1..20)).map(|_| random_message(&mut random)).collect();
        let most: usize = messages.iter().map(Body::size_max).sum();
        let payload = Body::encode(&messages).payload.len();
        assert!(payload <= most, "seed {seed}: {payload} bytes of at most {most}");
        assert!(most <= payload + 200 * messages.len(), "seed {seed}: {payload} bytes of at most {most}");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_ends_in_a_value_or_an_error() {
    let mut random = fastrand::Rng::with_seed(1);
    let messages: Vec<_> = (0..4).map(|_| random_message(&mut random)).collect();
    let bytes = frame_of(&messages);
    let mut refused = 0;
    for cut in 0..bytes.len() {
        let read = Frame::decode(&bytes.slice(..cut)).and_then(|frame| frame.messages(1, 0));
        assert!(read.is_err(), "cut at {cut} went unnoticed");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        refused +=
            usize::from(Frame::decode(&damaged.into()).and_then(|frame| frame.messages(1, 0)).is_err());
    }
    assert!(refused > 0, "damage to lengths is noticed");
}

/// The message of docs/format/frame.md as a generated reader would have it.
#[derive(Clone, PartialEq, prost::Message)]
struct Mirror {
    #[prost(bytes = "bytes", tag = "1")]
    value: Bytes,
    #[prost(string, repeated, tag = "2")]
    keys: Vec<String>,
    #[prost(int64, tag = "3")]
    time: i64,
    #[prost(string, tag = "4")]
    text: String,
    #[prost(sint64, optional, tag = "5")]
    number: Option<i64>,
    #[prost(sint64, optional, tag = "6")]
    sequence: Option<i64>,
    #[prost(uint32, tag = "7")]
    place: u32,
    #[prost(uint32, tag = "8")]
    partition: u32,
    #[prost(uint32, optional, tag = "9")]
    parent_index: Option<u32>,
    #[prost(uint32, tag = "10")]
    index: u32,
}

#[test]
fn the_payload_is_protobuf() {
    use prost::Message as _;
    let mut first = Message::from_source(
        SmolStr::new("in"),
        Origin::Numbered { number: 1000, partition: 2 },
        Bytes::from_static(b"hello"),
        Time::from_nanos(50),
    );
    first.keys = vec![SmolStr::new("k")];
    let second =
        Message { offset: Origin::Buffered { sequence: 990, position: 4, partition: 1 }, ..first.clone() }
            .child(&SmolStr::new("in"), 6, Bytes::from_static(b"x"));
    let second = Message { event_time: Time::from_nanos(70), ..second };
    let body = Body::encode(&[first, second]);
    let mut rest = body.payload.clone();
    let one = Mirror::decode_length_delimited(&mut rest).unwrap();
    assert_eq!(one.value, "hello");
    assert_eq!((one.keys, one.time, one.number, one.partition), (vec!["k".to_owned()], 0, Some(0), 2));
    let two = Mirror::decode_length_delimited(&mut rest).unwrap();
    assert_eq!((two.time, two.sequence, two.place, two.partition), (20, Some(-10), 4, 1));
    assert_eq!((two.parent_index, two.index), (Some(0), 6));
    assert!(rest.is_empty());
}

#[test]
fn a_later_format_is_refused_by_name() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut bytes = frame_of(&[random_message(&mut random)]).to_vec();
    let version = 1 + usize::from(bytes[0] >= 0x80) + 1;
    assert_eq!(bytes[version], 1);
    bytes[version] = 2;
    let error = Frame::decode(&bytes.into()).unwrap_err();
    assert_eq!(error.to_string(), "frame has format version 2, this version reads up to 1");
}

#[test]
fn ids_of_random_flat_map_trees_are_unique() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut layer: Vec<Message> = (0..5)
            .map(|number| {
                let origin = Origin::Numbered { number, partition: 0 };
                Message::from_source(SmolStr::new("in"), origin, Bytes::new(), Time::MIN)
            })
            .collect();
        let mut seen = std::collections::HashSet::new();
        for depth in 0..4 {
            let vertex = SmolStr::new(format!("map-{depth}"));
            let buffered = depth == 0 || random.bool();
            let mut next = Vec::new();
            for (place, message) in layer.iter_mut().enumerate() {
                if buffered {
                    message.offset = Origin::Buffered {
                        sequence: place as u64 / 3,
                        position: place as u32 % 3,
                        partition: 0,
                    };
                }
                next.extend((0..random.u32(0..4)).map(|index| message.child(&vertex, index, Bytes::new())));
            }
            if !buffered {
                continue;
            }
            for message in &next {
                assert!(seen.insert(message.id.to_string()), "seed {seed}: {} twice", message.id);
            }
            layer = next;
        }
    }
}

#[test]
fn slots_are_numbered_both_ways() {
    for partitions in [1, 2, 3, 5, 64, 100] {
        let topology = Topology::of(partitions, false);
        for number in 0..u64::from(topology.slots()) {
            assert_eq!(topology.number(topology.slot(number)), number);
        }
    }
}
