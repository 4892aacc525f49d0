//! What a unit writes with: its record, its lanes, and how far it is. One commit at a time.
//!
//! Invariant: whatever is stored here carries the number of the claim it is made under, and is refused once a later
//! claim has marked the lane or the record.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use model::door::Error;
use model::frame::{Header, Writer};
use model::{Progress, UnitId};

use crate::broker::{Broker, Expect, Message, Publish};
use crate::failure::{rewound, unreadable};
use crate::fence::{Verdict, store};
use crate::gate::Holding;
use crate::lanes::{Inner, Stream};
use crate::link::Pauses;
use crate::meta::{Kind, Meta, StreamId};
use crate::names::{self, Shelf};
use crate::record::{Contents, LaneEntry, Record};

/// One lane of the unit.
pub(crate) struct Lane {
    pub(crate) stream: Arc<Stream>,
    pub(crate) fence: String,
    /// Data frames it ever had.
    pub(crate) n: u64,
    /// The sequence of its last message.
    pub(crate) last: u64,
    /// The last data frame on each shelf, once that was asked for.
    previous: HashMap<Shelf, u64>,
    /// Whether it stands in the record.
    pub(crate) listed: bool,
}

impl Lane {
    pub(crate) fn new(stream: Arc<Stream>, unit: &UnitId) -> Self {
        let fence = names::fence(&stream.name, unit);
        Self { stream, fence, n: 0, last: 0, previous: HashMap::new(), listed: false }
    }
}

/// A frame on its way into a lane.
pub(crate) struct ToWrite {
    /// Which lane.
    pub(crate) lane: usize,
    pub(crate) shelf: Shelf,
    pub(crate) contents: Contents,
}

/// The commit that frames belong to.
#[derive(Clone)]
pub(crate) struct Belongs {
    pub(crate) commit: u64,
    pub(crate) cover: Progress,
    pub(crate) cumulative: u64,
    /// The record that decided it; 0 when the frame does.
    pub(crate) decided_by: u64,
    /// What the unit stored last before.
    pub(crate) after: Option<(StreamId, u64)>,
}

/// See the module.
pub(crate) struct Pen<B: Broker> {
    pub(crate) inner: Arc<Inner<B>>,
    pub(crate) holding: Holding,
    pub(crate) writer: Writer,
    pub(crate) record: Record,
    pub(crate) record_sequence: u64,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) commit: u64,
    pub(crate) progress: Progress,
    pub(crate) cumulative: u64,
    pub(crate) after: Option<(StreamId, u64)>,
}

/// What the last message of a lane means for a frame that was refused.
fn judge_frame(holding: &Holding, lane: &Lane, tail: Option<&Message>) -> Result<Verdict, Error> {
    let stream = &lane.stream.name;
    let Some(tail) = tail else {
        let verdict =
            if lane.last == 0 { Verdict::After(0) } else { Verdict::Behind(rewound(stream, 0, lane.last)) };
        return Ok(verdict);
    };
    if tail.sequence < lane.last {
        return Ok(Verdict::Behind(rewound(stream, tail.sequence, lane.last)));
    }
    let meta = Meta::decode(&tail.meta).map_err(|error| unreadable(&tail.subject, error))?;
    if meta.claim > holding.claim {
        return Err(holding.lose());
    }
    if lane.last > 0 && (meta.claim < holding.claim || meta.n < lane.n) {
        // Our mark was there, and what came after it.
        return Ok(Verdict::Behind(rewound(stream, tail.sequence, lane.last)));
    }
    let stored = meta.claim == holding.claim && meta.n > lane.n;
    Ok(match meta.kind {
        Kind::Data if stored => Verdict::Stored(tail.sequence),
        // It was stored, read, and has been replaced since.
        Kind::Tail if stored => Verdict::Stored(meta.previous),
        Kind::Data | Kind::Tail | Kind::Claim => Verdict::After(tail.sequence),
    })
}

impl<B: Broker> Pen<B> {
    pub(crate) fn unit(&self) -> &UnitId {
        self.holding.unit()
    }

    /// The lane into a stream, which is made when there is none.
    pub(crate) fn lane(&mut self, id: &StreamId) -> Result<usize, Error> {
        if let Some(at) = self.lanes.iter().position(|lane| lane.stream.id == *id) {
            return Ok(at);
        }
        let stream = self.inner.stream(id)?.clone();
        self.lanes.push(Lane::new(stream, self.holding.unit()));
        Ok(self.lanes.len() - 1)
    }

    /// The record as it is to be written next: what it says of frames that are stored by then is left out.
    pub(crate) fn next_record(&self) -> Record {
        let entry = |lane: &Lane| LaneEntry {
            stream: lane.stream.id.clone(),
            identity: lane.stream.identity,
            last: lane.last,
        };
        Record {
            counter: self.record.counter + 1,
            commit: self.commit,
            progress: self.progress.clone(),
            cumulative: self.cumulative,
            lanes: self.lanes.iter().map(entry).collect(),
            decided: Vec::new(),
            ..self.record.clone()
        }
    }

    /// Writes the record.
    pub(crate) async fn write_record(&mut self, record: Record, payload: Bytes) -> Result<(), Error> {
        let state = self.inner.stream(&StreamId::Units)?;
        let subject = names::unit(&state.name, self.unit());
        let meta = record.encode();
        let publish = Publish {
            stream: state.name.clone(),
            expect: Some(Expect { filter: subject.clone(), last: self.record_sequence }),
            subject,
            meta: meta.clone(),
            payload,
        };
        let judge = |tail: Option<&Message>| {
            let known = self.record_sequence;
            let Some(tail) = tail else { return Ok(Verdict::Behind(rewound(&state.name, 0, known))) };
            if tail.meta == meta {
                return Ok(Verdict::Stored(tail.sequence));
            }
            if tail.sequence < known {
                return Ok(Verdict::Behind(rewound(&state.name, tail.sequence, known)));
            }
            let found = Record::decode(&tail.meta).map_err(|error| unreadable(&tail.subject, error))?;
            if found.claim > self.holding.claim || tail.sequence > known {
                return Err(self.holding.lose());
            }
            Ok(Verdict::After(tail.sequence))
        };
        self.record_sequence = store(&self.inner.link, publish, &self.holding, judge, || {}).await?;
        self.record = record;
        self.after = Some((StreamId::Units, self.record_sequence));
        for lane in &mut self.lanes {
            lane.listed = true;
        }
        Ok(())
    }

    /// Writes frames, those of one lane one after the other. Gives the sequences in the order of the frames.
    pub(crate) async fn write_frames(
        &mut self,
        frames: Vec<ToWrite>,
        belongs: &Belongs,
    ) -> Result<Vec<u64>, Error> {
        let Self { inner, holding, lanes, .. } = self;
        let mut sequences = vec![0; frames.len()];
        let mut by_lane: Vec<Vec<(usize, ToWrite)>> = lanes.iter().map(|_| Vec::new()).collect();
        for (at, frame) in frames.into_iter().enumerate() {
            by_lane[frame.lane].push((at, frame));
        }
        let (inner, holding) = (&*inner, &*holding);
        let busy = lanes.iter_mut().zip(by_lane).filter(|(_, frames)| !frames.is_empty());
        let written: Vec<_> =
            busy.map(|(lane, frames)| write_lane(inner, holding, lane, frames, belongs)).collect();
        for (at, sequence) in try_join_all(written).await?.into_iter().flatten() {
            sequences[at] = sequence;
        }
        Ok(sequences)
    }
}

/// Writes the frames of one lane; gives the sequence of each under its number.
async fn write_lane<B: Broker>(
    inner: &Inner<B>,
    holding: &Holding,
    lane: &mut Lane,
    frames: Vec<(usize, ToWrite)>,
    belongs: &Belongs,
) -> Result<Vec<(usize, u64)>, Error> {
    let mut sequences = Vec::with_capacity(frames.len());
    for (at, frame) in frames {
        sequences.push((at, write_frame(inner, holding, lane, frame, belongs).await?));
    }
    Ok(sequences)
}

async fn write_frame<B: Broker>(
    inner: &Inner<B>,
    holding: &Holding,
    lane: &mut Lane,
    frame: ToWrite,
    belongs: &Belongs,
) -> Result<u64, Error> {
    let ToWrite { lane: _, shelf, contents: Contents { header, payload } } = frame;
    let subject = names::frame(&lane.stream.name, shelf, holding.unit());
    let previous = previous(inner, holding, lane, shelf, &subject).await?;
    let Belongs { commit, cover, cumulative, decided_by, after } = belongs.clone();
    let meta = Meta {
        kind: Kind::Data,
        n: lane.n + 1,
        claim: holding.claim,
        epoch: holding.epoch,
        commit,
        cover,
        cumulative,
        previous,
        decided_by,
        after: after.filter(|(stream, _)| *stream != lane.stream.id),
        bytes: payload.len() as u64,
        header,
    };
    let publish = Publish {
        stream: lane.stream.name.clone(),
        subject,
        expect: Some(Expect { filter: lane.fence.clone(), last: lane.last }),
        meta: meta.encode(),
        payload,
    };
    let high = lane.stream.high();
    let judge = |tail: Option<&Message>| judge_frame(holding, lane, tail);
    let sequence = store(&inner.link, publish, holding, judge, || inner.full()).await?;
    let known = high.max(lane.last);
    if sequence <= known {
        return Err(rewound(&lane.stream.name, sequence, known));
    }
    lane.stream.reached(sequence);
    lane.n += 1;
    lane.last = sequence;
    lane.previous.insert(shelf, sequence);
    Ok(sequence)
}

/// The last data frame on a shelf of the lane. Asked for once; a frame that is gone was settled, and is as good as none.
async fn previous<B: Broker>(
    inner: &Inner<B>,
    holding: &Holding,
    lane: &mut Lane,
    shelf: Shelf,
    subject: &str,
) -> Result<u64, Error> {
    if let Some(previous) = lane.previous.get(&shelf) {
        return Ok(*previous);
    }
    let previous = if lane.n == 0 {
        0
    } else {
        let last = inner.link.last(&lane.stream.name, subject, Pauses::without_end());
        holding.unless_lost(last).await??.map_or(0, |message| message.sequence)
    };
    lane.previous.insert(shelf, previous);
    Ok(previous)
}

/// A header with the claimant in the place of whoever decided the frame.
pub(crate) fn stamped(header: Option<Header>, writer: &Writer) -> Option<Header> {
    header.map(|header| Header { writer: writer.clone(), ..header })
}
