//! Field numbers and wire types, held against bytes written by hand.
//!
//! Only messages whose numbering is easy to get wrong have a test. Invariant: the bytes are the reference's.

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Bytes;
use tidegate_proto::{
    accumulator, daemon, map, metadata, reduce, session_reduce, sink, source, source_transform,
};

#[test]
fn append_has_another_number_in_each_window_protocol() {
    use accumulator::accumulator_request::window_operation::Event as Accumulate;
    use reduce::reduce_request::window_operation::Event as Reduce;
    use session_reduce::session_reduce_request::window_operation::Event as Session;
    assert_eq!([Reduce::Open as i32, Reduce::Close as i32, Reduce::Append as i32], [0, 1, 4]);
    assert_eq!([Session::Expand as i32, Session::Merge as i32, Session::Append as i32], [2, 3, 4]);
    assert_eq!([Accumulate::Open as i32, Accumulate::Close as i32, Accumulate::Append as i32], [0, 1, 2]);
}

#[test]
fn sink_statuses_keep_their_numbers() {
    use sink::Status::{Failure, Fallback, Nack, OnSuccess, Serve, Success};
    let numbers = [Success, Failure, Fallback, Serve, OnSuccess, Nack].map(|status| status as i32);
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_map_request_has_its_id_beside_the_request() {
    let request = map::MapRequest {
        request: Some(map::map_request::Request {
            keys: vec!["k".to_owned()],
            value: Bytes::from_static(b"v"),
            headers: BTreeMap::from([("h".to_owned(), "x".to_owned())]),
            ..Default::default()
        }),
        id: "7".to_owned(),
        handshake: Some(map::Handshake { sot: true }),
        status: Some(map::TransmissionStatus { eot: true }),
    };
    let bytes =
        b"\x0a\x0e\x0a\x01k\x12\x01v\x2a\x06\x0a\x01h\x12\x01x\x12\x017\x1a\x02\x08\x01\x22\x02\x08\x01";
    assert_eq!(request.encode_to_vec(), bytes);
    assert_eq!(map::MapRequest::decode(&bytes[..]).unwrap(), request);
}

#[test]
fn a_transform_result_carries_its_event_time_before_its_tags() {
    let result = source_transform::source_transform_response::Result {
        event_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        tags: vec!["t".to_owned()],
        ..Default::default()
    };
    assert_eq!(result.encode_to_vec(), b"\x1a\x02\x08\x01\x22\x01t");
}

#[test]
fn a_sink_request_has_its_id_inside_the_request() {
    let request = sink::SinkRequest {
        request: Some(sink::sink_request::Request { id: "7".to_owned(), ..Default::default() }),
        status: Some(sink::TransmissionStatus { eot: false }),
        handshake: None,
    };
    assert_eq!(request.encode_to_vec(), b"\x0a\x03\x2a\x017\x12\x00");
}

#[test]
fn a_refusal_of_one_group_reads_the_same_whether_repeated_or_single() {
    let refusal = source::NackRequest {
        request: vec![source::nack_request::Request {
            offsets: vec![source::Offset { offset: Bytes::from_static(b"o"), partition_id: 3 }],
            nack_options: None,
        }],
    };
    assert_eq!(refusal.encode_to_vec(), b"\x0a\x07\x0a\x05\x0a\x01o\x10\x03");
}

#[test]
fn an_accumulator_message_has_its_id_before_its_headers() {
    let payload = accumulator::Payload {
        id: "7".to_owned(),
        headers: BTreeMap::from([("h".to_owned(), "x".to_owned())]),
        metadata: Some(metadata::Metadata { previous_vertex: "in".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(payload.encode_to_vec(), b"\x2a\x017\x32\x06\x0a\x01h\x12\x01x\x3a\x04\x0a\x02in");
}

#[test]
fn a_request_for_the_metrics_of_a_vertex_begins_with_field_two() {
    let request = daemon::GetVertexMetricsRequest { pipeline: "p".to_owned(), vertex: "v".to_owned() };
    assert_eq!(request.encode_to_vec(), b"\x12\x01p\x1a\x01v");
}

#[test]
fn counts_of_buffers_are_wrapped_so_that_zero_is_not_unknown() {
    let buffer = daemon::BufferInfo {
        buffer_name: "b".to_owned(),
        pending_count: Some(0),
        ack_pending_count: Some(2),
        buffer_usage: Some(0.5),
        is_full: Some(false),
        ..Default::default()
    };
    assert_eq!(
        buffer.encode_to_vec(),
        b"\x12\x01b\x1a\x00\x22\x02\x08\x02\x42\x09\x09\x00\x00\x00\x00\x00\x00\xe0\x3f\x4a\x00"
    );
    let watermarks = daemon::EdgeWatermark {
        watermarks: vec![-1],
        is_watermark_enabled: Some(true),
        from: "a".to_owned(),
        to: "b".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        watermarks.encode_to_vec(),
        b"\x1a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x22\x02\x08\x01\x2a\x01a\x32\x01b"
    );
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let bytes = b"\x08\x05\xa2\x06\x03abc";
    let result = source::pending_response::Result::decode(&bytes[..]).unwrap();
    assert_eq!(result.count, 5);
}
