//! What travels beside the payload: the fence of a publish, and the protocol's own bytes in one header, which readers
//! of headers alone get too. The one invariant: bytes that were put in come out the same.

use async_nats::HeaderMap;
use async_nats::header::HeaderName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use lane::broker::{Expect, Failure};

/// The sequence that has to be the last one.
const EXPECTED_LAST: HeaderName = HeaderName::from_static("Nats-Expected-Last-Subject-Sequence");
/// The subjects over which it has to be the last one.
const EXPECTED_OVER: HeaderName = HeaderName::from_static("Nats-Expected-Last-Subject-Sequence-Subject");
/// The last number that a consumer was given.
const LAST_CONSUMER: HeaderName = HeaderName::from_static("Nats-Last-Consumer");
/// The protocol's own bytes, in base64.
const META: &str = "Tidegate-Meta";

/// The protocol's own bytes may be so many: the server takes 64 KiB of headers, and base64 makes four bytes of three.
pub(super) const META_BYTES_MAX: usize = 48 * 1024 - 1024;
/// What the headers of a publish may have beyond the protocol's own bytes as they are: what base64 adds, names, and
/// the fence.
pub(super) const OVERHEAD_BYTES_MAX: usize = META_BYTES_MAX / 3 + 1024;

/// The headers of a publish.
pub(super) fn of_publish(expect: Option<&Expect>, meta: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(Expect { filter, last }) = expect {
        headers.insert(EXPECTED_LAST, last.to_string());
        headers.insert(EXPECTED_OVER, filter.as_str());
    }
    if !meta.is_empty() {
        headers.insert(HeaderName::from_static(META), STANDARD_NO_PAD.encode(meta));
    }
    headers
}

/// The protocol's own bytes; none of a message that has none.
pub(super) fn meta(headers: Option<&HeaderMap>) -> Result<Bytes, Failure> {
    let value = headers.and_then(|headers| headers.get(HeaderName::from_static(META)));
    value.map_or(Ok(Bytes::new()), |value| decode(value.as_str()))
}

/// The protocol's own bytes out of the block of headers as the server keeps it.
pub(super) fn meta_in_block(block: &[u8]) -> Result<Bytes, Failure> {
    let text = String::from_utf8_lossy(block);
    for line in text.split("\r\n") {
        if let Some((name, value)) = line.split_once(':')
            && name == META
        {
            return decode(value.trim());
        }
    }
    Ok(Bytes::new())
}

fn decode(value: &str) -> Result<Bytes, Failure> {
    let bytes = STANDARD_NO_PAD.decode(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| Failure::Denied(format!("the header {META} cannot be read: {error}")))
}

/// The last number of a consumer, in a sign of life.
pub(super) fn last_consumer(headers: Option<&HeaderMap>) -> Option<u64> {
    headers?.get(LAST_CONSUMER)?.as_str().trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_bytes_come_out_the_same() {
        for meta_bytes in [vec![], vec![0], vec![13, 10, 0, 255], (0..=255).collect::<Vec<u8>>()] {
            let headers = of_publish(None, &meta_bytes);
            assert_eq!(meta(Some(&headers)).unwrap(), meta_bytes);
            let block =
                format!("NATS/1.0\r\nA: b\r\n{META}: {}\r\n\r\n", STANDARD_NO_PAD.encode(&meta_bytes));
            assert_eq!(meta_in_block(block.as_bytes()).unwrap(), meta_bytes);
        }
        assert_eq!(meta(None).unwrap(), Bytes::new());
        assert_eq!(meta_in_block(b"NATS/1.0\r\n\r\n").unwrap(), Bytes::new());
    }

    #[test]
    fn the_largest_headers_fit_the_server() {
        let meta_bytes = vec![0; META_BYTES_MAX];
        let encoded = STANDARD_NO_PAD.encode(&meta_bytes).len() + 512;
        assert!(encoded < 64 * 1024, "{encoded}");
        assert!(encoded <= META_BYTES_MAX + OVERHEAD_BYTES_MAX, "{encoded}");
    }
}
