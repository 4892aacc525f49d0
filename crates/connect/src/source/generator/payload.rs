//! The bytes of generated messages: all payloads of a read lie in one buffer and are slices of it.
//!
//! This is the hottest part of a generator, so numbers are written by hand and most of what two messages have in
//! common is copied. The shape is `{"id":"<number>-<replica>","value":<value>,"padding":[<bytes>]}`.

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
        time: impl Fn(usize) -> Time,
    ) -> impl Iterator<Item = Bytes> + '_ {
        self.ends.clear();
        let mut all = Vec::new();
        if self.fixed.is_none() {
            all.reserve(count * self.size_hint());
            for index in 0..count {
                self.write(&mut all, first + index as u64, time(index));
                self.ends.push(all.len());
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

    fn write(&self, out: &mut Vec<u8>, number: u64, time: Time) {
        let mut digits = itoa::Buffer::new();
        let number_text = digits.format(number).as_bytes();
        out.extend_from_slice(HEAD);
        out.extend_from_slice(number_text);
        out.extend_from_slice(self.middle.as_bytes());
        match self.value {
            None if time.nanos() as u64 == number => out.extend_from_slice(number_text),
            None => out.extend_from_slice(itoa::Buffer::new().format(time.nanos()).as_bytes()),
            Some(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        }
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
