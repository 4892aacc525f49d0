//! The bytes of generated messages: all payloads of a read lie in one buffer and are slices of it.
//!
//! This is the hottest part of a generator. The shape is
//! `{"id":"<number>-<replica>","value":<value>,"padding":[<bytes>]}`. Where neighbours differ only in their numbers,
//! which is the rule, a payload is a copy of its neighbour with the numbers counted up in place.

use std::sync::LazyLock;

use bytes::Bytes;
use model::Time;

/// Each byte as JSON shows it, with a comma after it, and how long that is.
static BYTES: LazyLock<Vec<([u8; 4], usize)>> = LazyLock::new(|| {
    let shown = (0..=u8::MAX).map(|byte| format!("{byte},"));
    let padded = shown.map(|text| {
        let mut cell = [b' '; 4];
        cell[..text.len()].copy_from_slice(text.as_bytes());
        (cell, text.len())
    });
    padded.collect()
});

pub(super) struct Payloads {
    /// What stands between the number and the value: the replica, mostly.
    middle: String,
    value: Option<u64>,
    fixed: Option<Bytes>,
    padding_bytes: usize,
    ends: Vec<usize>,
}

/// The event times of the messages of one read.
pub(super) enum Times<'a> {
    /// One nanosecond apart, beginning with this one.
    From(Time),
    /// Each its own.
    Each(&'a [Time]),
}

impl Times<'_> {
    pub(super) fn get(&self, index: usize) -> Time {
        match self {
            Self::From(first) => Time::from_nanos(first.nanos() + index as i64),
            Self::Each(times) => times[index],
        }
    }
}

const HEAD: &[u8] = br#"{"id":""#;

impl Payloads {
    pub(super) fn new(replica: u16, value: Option<u64>, fixed: Option<Bytes>, padding_bytes: usize) -> Self {
        let middle = format!(r#"-{replica}","value":"#);
        Self { middle, value, fixed, padding_bytes, ends: Vec::new() }
    }

    /// About how many bytes one payload takes; at least 1.
    pub(super) fn size_hint(&self) -> usize {
        let own = self.fixed.as_ref().map(Bytes::len);
        own.unwrap_or(72 + self.padding_bytes * 18 / 5).max(1)
    }

    /// Payloads for `count` messages, numbered from `first` on and with the event times given.
    pub(super) fn make(
        &mut self,
        first: u64,
        count: usize,
        times: &Times<'_>,
    ) -> impl Iterator<Item = Bytes> + '_ {
        self.ends.clear();
        let mut all = Vec::new();
        if self.fixed.is_none() {
            all.reserve(count * self.size_hint());
            if self.counts_up(first, count, times) {
                self.write_counting(&mut all, first, count);
            } else {
                for index in 0..count {
                    self.write(&mut all, first + index as u64, times.get(index));
                    self.ends.push(all.len());
                }
            }
        }
        let all = Bytes::from(all);
        let mut start = 0;
        (0..count).map(move |index| {
            if let Some(fixed) = &self.fixed {
                return fixed.clone();
            }
            let from = std::mem::replace(&mut start, self.ends[index]);
            all.slice(from..start)
        })
    }

    /// Whether payloads are alike but for numbers of the same length that count up together.
    fn counts_up(&self, first: u64, count: usize, times: &Times<'_>) -> bool {
        let same_length = (first + count as u64).ilog10() == first.max(1).ilog10();
        let one_number =
            self.value.is_some() || matches!(times, Times::From(at) if at.nanos() as u64 == first);
        self.padding_bytes == 0 && same_length && one_number
    }

    fn write_counting(&mut self, out: &mut Vec<u8>, first: u64, count: usize) {
        let mut payload = Vec::new();
        self.write(&mut payload, first, Time::from_nanos(first as i64));
        let len = payload.len();
        let number = HEAD.len()..HEAD.len() + itoa::Buffer::new().format(first).len();
        let value = number.end + self.middle.len();
        for _ in 0..count {
            out.extend_from_slice(&payload);
            self.ends.push(out.len());
            let changed = count_up(&mut payload[number.clone()]);
            if self.value.is_none() {
                payload.copy_within(number.end - changed..number.end, value + number.len() - changed);
            }
        }
        debug_assert_eq!(payload.len(), len);
    }

    fn write(&self, out: &mut Vec<u8>, number: u64, time: Time) {
        out.extend_from_slice(HEAD);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.extend_from_slice(self.middle.as_bytes());
        let mut digits = itoa::Buffer::new();
        let value = match self.value {
            Some(value) => digits.format(value),
            None => digits.format(time.nanos()),
        };
        out.extend_from_slice(value.as_bytes());
        if self.padding_bytes > 0 {
            out.extend_from_slice(br#","padding":["#);
            self.write_padding(out);
            out.push(b']');
        }
        out.push(b'}');
    }

    fn write_padding(&self, out: &mut Vec<u8>) {
        let shown = BYTES.as_slice();
        out.reserve(self.padding_bytes * 4 + 4);
        let mut left = self.padding_bytes;
        while left > 0 {
            let random = fastrand::u64(..).to_le_bytes();
            for &byte in &random[..left.min(random.len())] {
                let (text, len) = &shown[usize::from(byte)];
                out.extend_from_slice(text);
                out.truncate(out.len() - text.len() + len);
            }
            left = left.saturating_sub(random.len());
        }
        // Every byte brought its comma; the last one is not wanted.
        out.pop();
    }
}

/// Adds one to a number in decimal digits that is not all nines, and says how many of its digits changed.
fn count_up(digits: &mut [u8]) -> usize {
    let mut changed = 0;
    for digit in digits.iter_mut().rev() {
        changed += 1;
        if *digit < b'9' {
            *digit += 1;
            return changed;
        }
        *digit = b'0';
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(payloads: &mut Payloads, first: u64, count: usize, times: &Times<'_>) -> Vec<String> {
        payloads.make(first, count, times).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn counting_up_in_place_gives_what_writing_each_gives() {
        for first in [1, 8, 95, 990, 1_700_000_000_000_000_000, 999_999_999_999_999_995] {
            for value in [None, Some(7)] {
                let mut payloads = Payloads::new(3, value, None, 0);
                let apart: Vec<_> = (0..2200).map(|index| Time::from_nanos(first as i64 + index)).collect();
                let counted = texts(&mut payloads, first, 2200, &Times::From(apart[0]));
                let expected = (first..).zip(&apart).map(|(number, time)| {
                    let value = value.unwrap_or(time.nanos() as u64);
                    format!(r#"{{"id":"{number}-3","value":{value}}}"#)
                });
                assert!(counted.iter().eq(expected.collect::<Vec<_>>().iter()), "from {first}");
                assert_eq!(texts(&mut payloads, first, 2200, &Times::Each(&apart)), counted);
            }
        }
    }
}
