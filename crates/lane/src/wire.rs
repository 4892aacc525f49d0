//! Numbers, bytes and texts as they stand in what the protocol stores. Invariant: whatever bytes come in, reading ends
//! in a value or an error, and nothing is allocated that is not there.

use bytes::Bytes;
use model::{Position, Progress};

/// What is wrong with stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// They break off or contradict themselves.
    #[error("the bytes break off or contradict themselves at {0}")]
    Malformed(&'static str),
    /// A later version wrote them.
    #[error("they have format version {found}, and this version reads up to {known}")]
    Version {
        /// The version found.
        found: u8,
        /// The newest version known here.
        known: u8,
    },
}

pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_progress(out: &mut Vec<u8>, progress: &Progress) {
    let Progress { position: Position { sequence, index }, above } = progress;
    put(out, *sequence);
    put(out, u64::from(*index));
    put(out, above.len() as u64);
    let mut before = *sequence;
    for sequence in above {
        put(out, sequence - before);
        before = *sequence;
    }
}

/// Frames what a version wrote, so that a later one may add to its end.
pub(crate) fn versioned(version: u8, body: &[u8], rest: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + rest.len() + 4);
    out.push(version);
    put_bytes(&mut out, body);
    out.extend_from_slice(rest);
    Bytes::from(out)
}

/// Takes apart what [`versioned`] put together: the body, and where the rest begins.
pub(crate) fn open(bytes: &[u8], known: u8) -> Result<(Fields<'_>, usize), Error> {
    let mut fields = Fields::new(bytes);
    let found = fields.byte("a version")?;
    if found > known {
        return Err(Error::Version { found, known });
    }
    let body = fields.bytes("a body")?;
    Ok((Fields::new(body), fields.at))
}

/// Walks over bytes.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Error> {
        let byte = self.bytes.get(self.at).ok_or(Error::Malformed(what))?;
        self.at += 1;
        Ok(*byte)
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, Error> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Error::Malformed(what))
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, Error> {
        T::try_from(self.number(what)?).map_err(|_| Error::Malformed(what))
    }

    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, Error> {
        let number = self.number(what)?;
        Ok(((number >> 1) as i64) ^ -((number & 1) as i64))
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Error> {
        let len: usize = self.small(what)?;
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let taken = &self.bytes[self.at..end.ok_or(Error::Malformed(what))?];
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Error::Malformed(what))
    }

    pub(crate) fn progress(&mut self) -> Result<Progress, Error> {
        let position = Position { sequence: self.number("a position")?, index: self.small("a position")? };
        let count = self.number("a set above a position")?;
        let mut above = Vec::new();
        let mut before = position.sequence;
        for _ in 0..count {
            let next = before.checked_add(self.number("a set above a position")?);
            before = next.ok_or(Error::Malformed("a set above a position"))?;
            above.push(before);
        }
        Ok(Progress { position, above })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_back_and_broken_bytes_are_refused() {
        let progress = Progress {
            position: Position { sequence: 1 << 40, index: 7 },
            above: vec![1 << 40, (1 << 40) + 900],
        };
        let mut out = Vec::new();
        put_progress(&mut out, &progress);
        put_signed(&mut out, i64::MIN);
        put_bytes(&mut out, b"name");
        let whole = versioned(3, &out, b"rest");
        let (mut fields, rest) = open(&whole, 3).unwrap();
        assert_eq!(fields.progress(), Ok(progress));
        assert_eq!(fields.signed("x"), Ok(i64::MIN));
        assert_eq!(fields.text("x"), Ok("name"));
        assert!(fields.is_empty());
        assert_eq!(&whole[rest..], b"rest");
        assert_eq!(open(&whole, 2).err(), Some(Error::Version { found: 3, known: 2 }));
        for cut in 0..out.len() {
            let mut fields = Fields::new(&out[..cut]);
            let all = fields.progress().and_then(|_| fields.signed("x")).and_then(|_| fields.text("x"));
            assert!(all.is_err(), "{cut} bytes are not enough");
        }
    }
}
