//! Fixed bytes: whoever changes the format changes these, the version and docs/format/journal.md together.

use super::*;

const SPOT: Spot = Spot { identity: 0x0102_0304_0506_0708, segment: 3, offset: 64 };

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).expect("four bits");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        identity: SPOT.identity,
        segment: 3,
        first_record: 17,
        durable: 16,
        previous_length: 4096,
    }
}

fn record_header() -> RecordHeader {
    let (meta_length, meta_crc, payload_length) = (26, 0x1122_3344, 11);
    RecordHeader { record: 17, durable: 16, first_sequence: 40, meta_length, meta_crc, payload_length }
}

#[test]
fn the_bytes_of_a_segment_header_are_these() {
    let bytes = segment_header().encode();
    let expected = concat!(
        "54474a524e534547", // magic
        "01000000",         // version
        "42d070d4",         // checksum
        "0807060504030201", // identity
        "0300000000000000", // segment
        "1100000000000000", // first record
        "1000000000000000", // durable
        "0010000000000000", // length of the segment before
        "0000000000000000",
    );
    assert_eq!(hex(&bytes), expected);
    assert_eq!(SegmentHeader::decode(&bytes), SegmentStart::Good(segment_header()));
}

#[test]
fn the_bytes_of_a_record_header_are_these() {
    let bytes = record_header().encode(SPOT);
    let expected = concat!(
        "54477231",         // magic
        "8f79185a",         // checksum
        "1100000000000000", // record
        "1000000000000000", // durable
        "2800000000000000", // first sequence
        "1a000000",         // length of the meta section
        "44332211",         // its checksum
        "0b000000",         // length of the payload
        "00000000",
    );
    assert_eq!(hex(&bytes), expected);
    assert_eq!(RecordHeader::decode(&bytes, SPOT), Some(record_header()));
    assert_eq!(record_header().total(), 88);
}

#[test]
fn the_bytes_of_the_parts_are_these() {
    let parts = [
        (Op::Append { log: 2, length: 5, crc: 6 }, "01020000000500000006000000"),
        (Op::SettleThrough { log: 2, sequence: 9 }, "02020000000900000000000000"),
        (Op::SettleOne { log: 2, sequence: 9 }, "03020000000900000000000000"),
        (Op::Put { key: b"k", value: b"vw" }, "0401006b020000007677"),
        (Op::Delete { key: b"k" }, "0501006b"),
        (Op::Name { log: 2, name: "ab" }, "0602000000026162"),
        (Op::Move { log: 2, sequence: 9, length: 5, crc: 6 }, "070200000009000000000000000500000006000000"),
    ];
    let mut all = Vec::new();
    for (op, expected) in &parts {
        let mut one = Vec::new();
        put_op(&mut one, op);
        assert_eq!(hex(&one), *expected);
        all.extend_from_slice(&one);
    }
    let read: Vec<Op<'_>> = Ops::new(&all).map(|op| op.expect("a known part")).collect();
    assert_eq!(read, parts.map(|(op, _)| op));
}

#[test]
fn a_record_is_one_at_its_own_place_only() {
    let bytes = record_header().encode(SPOT);
    for spot in [
        Spot { offset: 72, ..SPOT },
        Spot { segment: 4, ..SPOT },
        Spot { identity: SPOT.identity + 1, ..SPOT },
    ] {
        assert_eq!(RecordHeader::decode(&bytes, spot), None);
    }
}

#[test]
fn no_single_bit_of_a_header_can_flip_unnoticed() {
    let record = record_header().encode(SPOT);
    for bit in 0..record.len() * 8 {
        let mut flipped = record;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(RecordHeader::decode(&flipped, SPOT), None, "bit {bit} of a record");
    }
    let segment = segment_header().encode();
    for bit in 0..segment.len() * 8 {
        let mut flipped = segment;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(SegmentHeader::decode(&flipped), SegmentStart::Bad, "bit {bit} of a segment");
    }
}

#[test]
fn another_version_is_told_from_damage() {
    let mut bytes = segment_header().encode();
    bytes[8] = 9;
    let crc = segment_header_crc(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), SegmentStart::OtherVersion(9));
}

#[test]
fn a_meta_section_that_ends_early_or_has_unknown_parts_is_unreadable() {
    let mut meta = Vec::new();
    put_op(&mut meta, &Op::Put { key: b"key", value: b"value" });
    for length in 1..meta.len() {
        assert_eq!(Ops::new(&meta[..length]).collect::<Vec<_>>(), [Err(Unreadable)]);
    }
    assert_eq!(Ops::new(&[99, 0, 0]).collect::<Vec<_>>(), [Err(Unreadable)]);
}
