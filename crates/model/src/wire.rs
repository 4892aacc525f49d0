//! Protobuf's wire format over plain slices: varints, keys, lengths, and the block of headers and metadata.
//!
//! Written by hand because it is the hottest code there is and needs values as slices of one shared buffer; the
//! schema it speaks is in docs/format/frame.md, and a test holds it against `prost`. Invariant: whatever bytes come
//! in, reading ends in a value or [`Malformed`], never in a panic.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::message::{Groups, Parts};

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes at offset {offset}: {what}")]
pub struct Malformed {
    /// How far into the bytes.
    pub offset: usize,
    /// What was expected.
    pub what: &'static str,
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small magnitudes of either sign become small varints.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, value);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A field as it stands in a message.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn number(self, what: &'static str) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) => Err(Malformed { offset: 0, what }),
        }
    }

    pub(crate) fn bytes(self, what: &'static str) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(Malformed { offset: 0, what }),
        }
    }

    pub(crate) fn text(self, what: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Malformed { offset: 0, what })
    }
}

/// Walks over the fields of one message.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.at, what }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        let mut shift = 0;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(self.malformed("a number of at most ten bytes"));
            }
        }
        Err(self.malformed("the rest of a number"))
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| self.malformed("as many bytes as announced"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// The next field; fields of the fixed-width wire types are passed over as unknown ones are.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        while !self.is_empty() {
            let key = self.varint()?;
            let field = u32::try_from(key >> 3).map_err(|_| self.malformed("a field number"))?;
            match key & 7 {
                0 => return Ok(Some((field, Value::Number(self.varint()?)))),
                2 => {
                    let len = usize::try_from(self.varint()?).map_err(|_| self.malformed("a length"))?;
                    return Ok(Some((field, Value::Bytes(self.take(len)?))));
                }
                1 => drop(self.take(8)?),
                5 => drop(self.take(4)?),
                _ => return Err(self.malformed("a known wire type")),
            }
        }
        Ok(None)
    }
}

const HEADER: u32 = 1;
const SYSTEM: u32 = 2;
const USER: u32 = 3;

fn put_entry(out: &mut Vec<u8>, field: u32, key: &str, value: &[u8]) {
    let mut entry = Vec::with_capacity(key.len() + value.len() + 12);
    put_bytes(&mut entry, 1, key.as_bytes());
    put_bytes(&mut entry, 2, value);
    put_bytes(out, field, &entry);
}

pub(crate) fn encode_parts(parts: &Parts) -> Bytes {
    let Parts { headers, system, user } = parts;
    let mut out = Vec::new();
    for (key, value) in headers {
        put_entry(&mut out, HEADER, key, value.as_bytes());
    }
    for (field, groups) in [(SYSTEM, system), (USER, user)] {
        for (name, pairs) in groups {
            let mut group = Vec::new();
            for (key, value) in pairs {
                put_entry(&mut group, 1, key, value);
            }
            put_entry(&mut out, field, name, &group);
        }
    }
    Bytes::from(out)
}

fn entry(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut key, mut value) = ("", &[][..]);
    let mut fields = Fields::new(bytes);
    while let Some((field, content)) = fields.next()? {
        match field {
            1 => key = content.text("a key in UTF-8")?,
            2 => value = content.bytes("a value")?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn add_group(groups: &mut Groups, all: &Bytes, bytes: &[u8]) -> Result<(), Malformed> {
    let (name, group) = entry(bytes)?;
    let mut pairs = BTreeMap::new();
    let mut fields = Fields::new(group);
    while let Some((field, content)) = fields.next()? {
        if field == 1 {
            let (key, value) = entry(content.bytes("a pair")?)?;
            pairs.insert(key.to_owned(), all.slice_ref(value));
        }
    }
    groups.insert(name.to_owned(), pairs);
    Ok(())
}

pub(crate) fn decode_parts(encoded: &Bytes) -> Result<Parts, Malformed> {
    let mut parts = Parts::default();
    let mut fields = Fields::new(encoded);
    while let Some((field, content)) = fields.next()? {
        match field {
            HEADER => {
                let (key, value) = entry(content.bytes("a header")?)?;
                let value = std::str::from_utf8(value)
                    .map_err(|_| Malformed { offset: fields.at(), what: "a header value in UTF-8" })?;
                parts.headers.insert(key.to_owned(), value.to_owned());
            }
            SYSTEM => add_group(&mut parts.system, encoded, content.bytes("a group")?)?,
            USER => add_group(&mut parts.user, encoded, content.bytes("a group")?)?,
            _ => {}
        }
    }
    Ok(parts)
}
