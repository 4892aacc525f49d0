//! What a stored frame says beside its payload: its place in the lane, how far its unit is with it, and what was
//! stored before it. docs/format/lanes.md has every field.
//!
//! Invariant: readers of headers alone learn everything about positions and levels from here.

use bytes::Bytes;
use model::frame::{self, Frame, Header};
use model::{Epoch, Name, Progress, Time};
use smol_str::SmolStr;

use crate::wire::{self, Error, Fields};

/// The format written here and the newest one read.
const VERSION: u8 = 1;

/// A stream by what it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StreamId {
    /// Records of units.
    Units,
    /// Everything else under keys.
    Notes,
    Ids,
    Partition(Name, u16),
}

impl StreamId {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Units => out.push(0),
            Self::Notes => out.push(3),
            Self::Ids => out.push(1),
            Self::Partition(vertex, partition) => {
                out.push(2);
                wire::put_bytes(out, vertex.as_bytes());
                wire::put(out, u64::from(*partition));
            }
        }
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, Error> {
        match fields.byte("a stream")? {
            0 => Ok(Self::Units),
            3 => Ok(Self::Notes),
            1 => Ok(Self::Ids),
            2 => {
                let vertex = SmolStr::new(fields.text("a stream")?);
                Ok(Self::Partition(vertex, fields.small("a stream")?))
            }
            _ => Err(Error::Malformed("a stream")),
        }
    }
}

/// What a message in a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages, or ids.
    Data,
    /// A claimant's mark.
    Claim,
    /// Stands for a frame that was removed.
    Tail,
}

/// A message in a lane.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    /// How many data frames the lane ever had, this one included.
    pub(crate) n: u64,
    /// The claim under which it was written: the write counter of the unit's record then.
    pub(crate) claim: u64,
    pub(crate) epoch: Epoch,
    /// The number of the unit's commit that it belongs to, or was the last one.
    pub(crate) commit: u64,
    /// How far the unit is with that commit.
    pub(crate) cover: Progress,
    /// Messages that the unit has ever written with it.
    pub(crate) cumulative: u64,
    /// The sequence of the last data frame before it in the same slot and lane; 0 when there is none or it is gone.
    pub(crate) previous: u64,
    /// The sequence of the record that decided it; 0 when it decides itself.
    pub(crate) decided_by: u64,
    /// What the unit stored last before it, elsewhere than in this stream.
    pub(crate) after: Option<(StreamId, u64)>,
    /// Payload in bytes.
    pub(crate) bytes: u64,
    /// The header of the frame; none for ids, claims and tails.
    pub(crate) header: Option<Header>,
}

/// The last frame that a unit has certainly read of its slot when it is so far: what is done in part was read, too.
/// 0 when there is none.
pub(crate) fn read_through(progress: &Progress) -> u64 {
    let Progress { position, above } = progress;
    let partly = position.index > 0;
    let through = if partly { position.sequence } else { position.sequence.saturating_sub(1) };
    above.last().copied().unwrap_or(0).max(through)
}

/// What is wrong with the meta of a frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Meta(#[from] Error),
    #[error(transparent)]
    Header(#[from] frame::Error),
}

impl Meta {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Bytes {
        let Self { kind, n, claim, epoch, commit, cover, cumulative, .. } = self;
        let Self { previous, decided_by, after, bytes, header, .. } = self;
        let mut body = Vec::with_capacity(64 + cover.above.len() * 3);
        body.push(match kind {
            Kind::Data => 0,
            Kind::Claim => 1,
            Kind::Tail => 2,
        });
        for number in [*n, *claim, epoch.0, *commit, *cumulative, *previous, *decided_by, *bytes] {
            wire::put(&mut body, number);
        }
        wire::put_progress(&mut body, cover);
        body.push(u8::from(after.is_some()));
        if let Some((stream, sequence)) = after {
            stream.put(&mut body);
            wire::put(&mut body, *sequence);
        }
        let header = header.as_ref().map_or_else(Bytes::new, Header::encode);
        wire::versioned(VERSION, &body, &header)
    }

    /// Reads them.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Broken> {
        let (mut fields, rest) = wire::open(bytes, VERSION)?;
        let kind = match fields.byte("a kind")? {
            0 => Kind::Data,
            1 => Kind::Claim,
            2 => Kind::Tail,
            _ => return Err(Error::Malformed("a kind").into()),
        };
        let mut numbers = [0; 8];
        for number in &mut numbers {
            *number = fields.number("a number")?;
        }
        let [n, claim, epoch, commit, cumulative, previous, decided_by, size] = numbers;
        let cover = fields.progress()?;
        let after = match fields.byte("what was before")? {
            0 => None,
            _ => Some((StreamId::read(&mut fields)?, fields.number("what was before")?)),
        };
        let header = (rest < bytes.len()).then(|| Frame::decode(&bytes.slice(rest..))).transpose()?;
        Ok(Self {
            kind,
            n,
            claim,
            epoch: Epoch(epoch),
            commit,
            cover,
            cumulative,
            previous,
            decided_by,
            after,
            bytes: size,
            header: header.map(|frame| frame.header),
        })
    }

    /// How many messages it holds.
    pub(crate) fn messages(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| u64::from(header.count))
    }

    /// The time it holds back.
    pub(crate) fn lowest(&self) -> Time {
        self.header.as_ref().map_or(Time::MAX, Header::lowest)
    }
}

#[cfg(test)]
mod tests {
    use model::frame::{Body, Writer};
    use model::{Incarnation, Message, Origin, Position, Unit};

    use super::*;

    #[test]
    fn meta_is_read_back_with_and_without_a_header() {
        let vertex = SmolStr::new("map");
        let origin = Origin::Numbered { number: 4, partition: 0 };
        let message =
            Message::from_source(vertex.clone(), origin, Bytes::from_static(b"x"), Time::from_millis(5));
        let writer = Writer {
            vertex: vertex.clone(),
            unit: Unit::Source(1),
            replica: 2,
            incarnation: Incarnation(u64::MAX),
            epoch: Epoch(9),
        };
        let header = Header::new(&Body::encode([&message]), writer, Time::UNKNOWN, 77);
        for header in [None, Some(header)] {
            for after in [None, Some((StreamId::Units, 8)), Some((StreamId::Partition(vertex.clone(), 3), 9))]
            {
                let meta = Meta {
                    kind: Kind::Data,
                    n: 3,
                    claim: 12,
                    epoch: Epoch(9),
                    commit: 5,
                    cover: Progress { position: Position { sequence: 6, index: 1 }, above: vec![8, 1 << 50] },
                    cumulative: 77,
                    previous: 4,
                    decided_by: 0,
                    after,
                    bytes: 1 << 33,
                    header: header.clone(),
                };
                assert_eq!(Meta::decode(&meta.encode()).unwrap(), meta);
            }
        }
        let mut later = Meta::decode(&Bytes::from_static(&[1, 0])).err().map(|error| error.to_string());
        assert!(later.take().is_some(), "an empty body is refused");
        let later = Meta::decode(&Bytes::from_static(&[2, 0])).err().map(|error| error.to_string());
        assert_eq!(later.as_deref(), Some("they have format version 2, and this version reads up to 1"));
    }
}
