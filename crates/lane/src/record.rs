//! The record of a unit: who owns it, how far it is, which lanes it has, and the frames of a commit of more than one.
//!
//! Invariant: it is written by compare-and-set only, and its write counter grows with every write, so that whoever
//! got no answer can tell afterwards whether it was done.

use bytes::Bytes;
use model::frame::{Frame, Header};
use model::{Epoch, Incarnation, Progress, Time};
use smol_str::SmolStr;

use crate::broker::Identity;
use crate::meta::{Broken, StreamId};
use crate::names::Shelf;
use crate::wire::{self, Error, Fields};

const VERSION: u8 = 1;
/// How many frames one commit may have, so that what is said of them fits beside the payload.
pub(crate) const FRAMES_MAX: usize = 1024;
/// At least as many bytes as stand in a record's payload for each frame beside the frame's own payload.
pub(crate) const FRAME_OVERHEAD: usize = 256;

/// A lane that the unit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaneEntry {
    pub(crate) stream: StreamId,
    /// Which life of the stream it is in.
    pub(crate) identity: Identity,
    /// The sequence of the last frame in it when the record was written; 0 when there was none.
    pub(crate) last: u64,
}

/// A frame that is decided, whether or not it is in its lane yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// Which of the record's lanes.
    pub(crate) lane: usize,
    pub(crate) shelf: Shelf,
    /// The lane's count with it.
    pub(crate) n: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) lowest: Time,
}

/// The rest of a decided frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) header: Option<Header>,
    pub(crate) payload: Bytes,
}

/// What headers alone say of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Grows by one with every write.
    pub(crate) counter: u64,
    /// Grows by one with every claim: the counter when it was claimed.
    pub(crate) claim: u64,
    /// Tells apart the claims that one process makes.
    pub(crate) attempt: u64,
    pub(crate) epoch: Epoch,
    /// None after a release.
    pub(crate) owner: Option<Incarnation>,
    /// The number of the last commit that is known here.
    pub(crate) commit: u64,
    /// How far the unit was with it.
    pub(crate) progress: Progress,
    pub(crate) cumulative: u64,
    /// Which life of the stream that it reads the progress is in.
    pub(crate) input: Option<Identity>,
    /// Which source the progress is in; empty when nobody said, and for units of slots.
    pub(crate) source: SmolStr,
    pub(crate) lanes: Vec<LaneEntry>,
    pub(crate) decided: Vec<Decided>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            counter: 0,
            claim: 0,
            attempt: 0,
            epoch: Epoch(0),
            owner: None,
            commit: 0,
            progress: Progress::default(),
            cumulative: 0,
            input: None,
            source: SmolStr::default(),
            lanes: Vec::new(),
            decided: Vec::new(),
        }
    }
}

impl Record {
    /// What stands in the meta of the message.
    pub(crate) fn encode(&self) -> Bytes {
        let Self { counter, claim, attempt, epoch, owner, commit, progress, .. } = self;
        let Self { cumulative, input, source, lanes, decided, .. } = self;
        let mut body =
            Vec::with_capacity(96 + progress.above.len() * 3 + lanes.len() * 32 + decided.len() * 24);
        for number in [*counter, *claim, *attempt, epoch.0, *commit, *cumulative] {
            wire::put(&mut body, number);
        }
        body.push(u8::from(owner.is_some()));
        wire::put(&mut body, owner.map_or(0, |owner| owner.0));
        wire::put_progress(&mut body, progress);
        body.push(u8::from(input.is_some()));
        wire::put_signed(&mut body, input.map_or(0, |input| input.0));
        wire::put_bytes(&mut body, source.as_bytes());
        wire::put(&mut body, lanes.len() as u64);
        for LaneEntry { stream, identity, last } in lanes {
            stream.put(&mut body);
            wire::put_signed(&mut body, identity.0);
            wire::put(&mut body, *last);
        }
        wire::put(&mut body, decided.len() as u64);
        for Decided { lane, shelf, n, messages, bytes, lowest } in decided {
            wire::put(&mut body, *lane as u64);
            wire::put(&mut body, shelf_number(*shelf));
            for number in [*n, *messages, *bytes] {
                wire::put(&mut body, number);
            }
            wire::put_signed(&mut body, lowest.nanos());
        }
        wire::versioned(VERSION, &body, &[])
    }

    /// Reads it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut fields, _) = wire::open(bytes, VERSION)?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = fields.number("a number")?;
        }
        let [counter, claim, attempt, epoch, commit, cumulative] = numbers;
        let owned = fields.byte("an owner")? != 0;
        let owner = Incarnation(fields.number("an owner")?);
        let progress = fields.progress()?;
        let has_input = fields.byte("an input")? != 0;
        let input = Identity(fields.signed("an input")?);
        let source = SmolStr::new(fields.text("a source")?);
        let count = fields.number("lanes")?;
        let lane = |fields: &mut Fields<'_>| {
            let stream = StreamId::read(fields)?;
            let identity = Identity(fields.signed("a lane")?);
            Ok(LaneEntry { stream, identity, last: fields.number("a lane")? })
        };
        let lanes = (0..count).map(|_| lane(&mut fields)).collect::<Result<Vec<_>, Error>>()?;
        let count = fields.number("frames")?;
        let decided = (0..count).map(|_| read_decided(&mut fields, lanes.len()));
        let decided = decided.collect::<Result<Vec<_>, Error>>()?;
        Ok(Self {
            counter,
            claim,
            attempt,
            epoch: Epoch(epoch),
            owner: owned.then_some(owner),
            commit,
            progress,
            cumulative,
            input: has_input.then_some(input),
            source,
            lanes,
            decided,
        })
    }
}

fn shelf_number(shelf: Shelf) -> u64 {
    match shelf {
        Shelf::Slot(number) => u64::from(number),
        Shelf::Claims => 1 << 16,
        Shelf::Ids => (1 << 16) + 1,
    }
}

fn read_decided(fields: &mut Fields<'_>, lanes: usize) -> Result<Decided, Error> {
    let lane: usize = fields.small("a frame")?;
    if lane >= lanes {
        return Err(Error::Malformed("a frame in no lane"));
    }
    let shelf = match fields.number("a frame")? {
        ids if ids == (1 << 16) + 1 => Shelf::Ids,
        number => Shelf::Slot(u16::try_from(number).map_err(|_| Error::Malformed("a frame"))?),
    };
    let [mut n, mut messages, mut bytes] = [0; 3];
    for number in [&mut n, &mut messages, &mut bytes] {
        *number = fields.number("a frame")?;
    }
    Ok(Decided { lane, shelf, n, messages, bytes, lowest: Time::from_nanos(fields.signed("a frame")?) })
}

/// The payload of a record: its decided frames.
pub(crate) fn encode_contents(contents: &[Contents]) -> Bytes {
    let size: usize = contents.iter().map(|contents| contents.payload.len() + FRAME_OVERHEAD).sum();
    let mut out = Vec::with_capacity(size);
    for Contents { header, payload } in contents {
        let header = header.as_ref().map_or_else(Bytes::new, Header::encode);
        wire::put_bytes(&mut out, &header);
        wire::put_bytes(&mut out, payload);
    }
    Bytes::from(out)
}

/// Reads them; payloads are slices of the record's.
pub(crate) fn decode_contents(bytes: &Bytes) -> Result<Vec<Contents>, Broken> {
    let mut fields = Fields::new(bytes);
    let mut contents = Vec::new();
    while !fields.is_empty() {
        let header = fields.bytes("a header")?;
        let header = (!header.is_empty()).then(|| Frame::decode(&bytes.slice_ref(header))).transpose()?;
        let payload = fields.bytes("a payload")?;
        let payload = if payload.is_empty() { Bytes::new() } else { bytes.slice_ref(payload) };
        contents.push(Contents { header: header.map(|frame| frame.header), payload });
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use model::Position;

    use super::*;

    #[test]
    fn a_record_is_read_back_and_one_cut_short_is_refused() {
        let record = Record {
            counter: 9,
            claim: 7,
            attempt: 3,
            epoch: Epoch(5),
            owner: Some(Incarnation(u64::MAX)),
            commit: 6,
            progress: Progress { position: Position { sequence: 4, index: 2 }, above: vec![6, 9] },
            cumulative: 1000,
            input: Some(Identity(-1)),
            source: SmolStr::new("generator 5/s"),
            lanes: vec![
                LaneEntry {
                    stream: StreamId::Partition(SmolStr::new("out"), 1),
                    identity: Identity(5),
                    last: 8,
                },
                LaneEntry { stream: StreamId::Ids, identity: Identity(6), last: 0 },
            ],
            decided: vec![
                Decided {
                    lane: 0,
                    shelf: Shelf::Slot(u16::MAX),
                    n: 4,
                    messages: 2,
                    bytes: 90,
                    lowest: Time::UNKNOWN,
                },
                Decided { lane: 1, shelf: Shelf::Ids, n: 1, messages: 0, bytes: 10, lowest: Time::MAX },
            ],
        };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Ok(record));
        assert_eq!(Record::decode(&Record::default().encode()), Ok(Record::default()));
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "{cut} bytes are not enough");
        }
        let contents = vec![Contents { header: None, payload: Bytes::from_static(b"abc") }];
        assert_eq!(decode_contents(&encode_contents(&contents)).unwrap(), contents);
    }
}
