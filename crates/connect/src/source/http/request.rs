//! What the headers of a request say about its message. Pure: the time and the id to use when none is given come
//! from the caller.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName};
use model::{Attributes, Parts, Time};
use smol_str::SmolStr;

const ID: HeaderName = HeaderName::from_static("x-numaflow-id");
const EVENT_TIME: HeaderName = HeaderName::from_static("x-numaflow-event-time");
const KEYS: HeaderName = HeaderName::from_static("x-numaflow-keys");

/// The id as it travels with the message, spelled as people write it.
const ID_HEADER: &str = "X-Numaflow-Id";

/// The longest id a caller may give, in bytes.
pub const ID_BYTES_MAX: usize = 1024;

/// All that a message has before its value.
#[derive(Debug, PartialEq)]
pub(super) struct Label {
    pub(super) id: SmolStr,
    pub(super) keys: Vec<SmolStr>,
    pub(super) event_time: Time,
    pub(super) attributes: Attributes,
}

/// A header that says what it cannot say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) header: &'static str,
    pub(super) details: String,
}

impl Label {
    pub(super) fn read(
        headers: &HeaderMap,
        now: Time,
        fresh_id: impl FnOnce() -> SmolStr,
    ) -> Result<Self, Bad> {
        let id = match ascii(headers, &ID, ID_HEADER)? {
            None => fresh_id(),
            Some(id) if (1..=ID_BYTES_MAX).contains(&id.len()) => SmolStr::new(id),
            Some(id) => {
                let details = format!("an id has 1 to {ID_BYTES_MAX} bytes, not {}", id.len());
                return Err(Bad { header: ID_HEADER, details });
            }
        };
        let keys = ascii(headers, &KEYS, "X-Numaflow-Keys")?.unwrap_or_default();
        let keys = keys.split(',').map(str::trim).filter(|key| !key.is_empty()).map(SmolStr::new).collect();
        let event_time = event_time(headers)?.unwrap_or(now);
        let mut passed = BTreeMap::new();
        for (name, value) in headers {
            if let Ok(value) = value.to_str()
                && name != EVENT_TIME
                && name != AUTHORIZATION
            {
                passed.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        passed.insert(ID_HEADER.to_owned(), id.to_string());
        let attributes = Attributes::new(Parts { headers: passed, ..Parts::default() });
        Ok(Self { id, keys, event_time, attributes })
    }
}

/// The last value of a header, which must be visible ASCII.
fn ascii<'a>(headers: &'a HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'a str>, Bad> {
    let Some(value) = headers.get_all(name).iter().next_back() else { return Ok(None) };
    let text = value.to_str();
    text.map(Some)
        .map_err(|_| Bad { header: shown, details: "it has other than visible ASCII characters".into() })
}

fn event_time(headers: &HeaderMap) -> Result<Option<Time>, Bad> {
    const SHOWN: &str = "X-Numaflow-Event-Time";
    let Some(text) = ascii(headers, &EVENT_TIME, SHOWN)? else { return Ok(None) };
    let millis = text.trim().parse().ok();
    // Times far beyond any calendar are nanoseconds sent by mistake.
    let time = millis.map(Time::from_millis).filter(|time| Some(time.millis()) == millis);
    let details = || format!("{text:?} is not a time in milliseconds since 1970");
    time.map(Some).ok_or_else(|| Bad { header: SHOWN, details: details() })
}

/// A UUID of version 7: milliseconds first, so that ids sort by time, and 74 random bits.
pub(super) fn uuid_v7(millis: u64, random: u128) -> SmolStr {
    let millis = u128::from(millis) & 0xffff_ffff_ffff;
    let version = 7 << 76;
    let variant = 0b10 << 62;
    let random = random & ((0xfff << 64) | ((1 << 62) - 1));
    let all = (millis << 80) | version | variant | random;
    let group = |shift: u32| (all >> shift) & 0xffff;
    let (high, node) = (all >> 96, all & 0xffff_ffff_ffff);
    smol_str::format_smolstr!("{high:08x}-{:04x}-{:04x}-{:04x}-{node:012x}", group(80), group(64), group(48))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn label(headers: &[(&'static str, &'static [u8])]) -> Result<Label, Bad> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        Label::read(&map, Time::from_millis(77), || "fresh".into())
    }

    fn shown(label: &Label) -> Vec<String> {
        label.attributes.parts().headers.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn without_headers_there_are_defaults() {
        let label = label(&[]).unwrap();
        assert_eq!(
            (label.id.as_str(), label.keys.len(), label.event_time),
            ("fresh", 0, Time::from_millis(77))
        );
        assert_eq!(shown(&label), ["X-Numaflow-Id=fresh"]);
    }

    #[test]
    fn headers_say_what_the_message_is() {
        let label = label(&[
            ("x-numaflow-id", b"one"),
            ("x-numaflow-keys", b" a, ,b ,"),
            ("x-numaflow-event-time", b"-1500"),
            ("authorization", b"Bearer secret"),
            ("x-twice", b"first"),
            ("x-twice", b"last"),
            ("x-accent", b"caf\xc3\xa9"),
        ])
        .unwrap();
        assert_eq!((label.id.as_str(), label.event_time), ("one", Time::from_millis(-1500)));
        assert_eq!(label.keys, ["a", "b"]);
        assert_eq!(
            shown(&label),
            ["X-Numaflow-Id=one", "x-numaflow-id=one", "x-numaflow-keys= a, ,b ,", "x-twice=last"]
        );
    }

    #[test]
    fn headers_that_make_no_sense_are_named() {
        for (name, value, header, details) in [
            ("x-numaflow-id", &b"\xff"[..], ID_HEADER, "it has other than visible ASCII characters"),
            ("x-numaflow-id", b"", ID_HEADER, "an id has 1 to 1024 bytes, not 0"),
            ("x-numaflow-id", &[b'x'; 1025], ID_HEADER, "an id has 1 to 1024 bytes, not 1025"),
            ("x-numaflow-keys", b"\xff", "X-Numaflow-Keys", "it has other than visible ASCII characters"),
            (
                "x-numaflow-event-time",
                b"soon",
                "X-Numaflow-Event-Time",
                "\"soon\" is not a time in milliseconds since 1970",
            ),
            (
                "x-numaflow-event-time",
                b"1700000000000000000",
                "X-Numaflow-Event-Time",
                "\"1700000000000000000\" is not a time in milliseconds since 1970",
            ),
        ] {
            let bad = label(&[(name, value)]).unwrap_err();
            assert_eq!((bad.header, bad.details.as_str()), (header, details));
        }
    }

    #[test]
    fn fresh_ids_are_version_7_and_sort_by_time() {
        assert_eq!(uuid_v7(0x0123_4567_89ab, u128::MAX), "01234567-89ab-7fff-bfff-ffffffffffff");
        assert_eq!(uuid_v7(0x0123_4567_89ac, 0), "01234567-89ac-7000-8000-000000000000");
    }
}
