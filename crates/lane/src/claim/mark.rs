//! Step two of a claim: a mark in every lane of the unit. Invariant: a mark repeats what its lane shows, and after it
//! nobody else can write there.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use model::door::{Class, Error};
use model::{Progress, UnitId};

use crate::broker::{Broker, Expect, Failure, Publish};
use crate::failure::{failed, passes, rewound, unreadable};
use crate::fence::BEHIND_MAX;
use crate::gate::Holding;
use crate::lanes::{Inner, Stream};
use crate::link::{ATTEMPTS_MAX, Pauses};
use crate::meta::{Kind, Meta, StreamId};
use crate::names::{self, Shelf};
use crate::pen::Lane;
use crate::record::{LaneEntry, Record};

/// How often others may be faster at the same record or lane before the caller is told to come again.
pub(super) const RACES_MAX: u32 = 1000;

/// The lanes of a unit, all of them marked.
pub(super) struct Marked {
    /// For each lane of the record whether its stream is there.
    pub(super) known: Vec<bool>,
    /// Those, in the order of the record.
    pub(super) lanes: Vec<Lane>,
    /// The last commit that any of them, or the record, shows.
    pub(super) latest: Latest,
}

/// The commit that a lane or the record shows.
pub(super) struct Latest {
    pub(super) commit: u64,
    pub(super) cover: Progress,
    pub(super) cumulative: u64,
}

/// Marks every lane that the record names.
pub(super) async fn mark_all<B: Broker>(
    inner: &Inner<B>,
    holding: &Holding,
    record: &Record,
) -> Result<Marked, Error> {
    let looks: Vec<_> = record.lanes.iter().map(|entry| stream_of(inner, entry)).collect();
    let streams = try_join_all(looks).await?;
    let known = streams.iter().map(Option::is_some).collect();
    let there = record.lanes.iter().zip(streams).filter_map(|(entry, stream)| Some((entry, stream?)));
    let marks: Vec<_> = there.map(|(entry, stream)| mark(inner, holding, entry, stream)).collect();
    let mut latest =
        Latest { commit: record.commit, cover: record.progress.clone(), cumulative: record.cumulative };
    let mut lanes = Vec::with_capacity(marks.len());
    for (lane, shown) in try_join_all(marks).await? {
        latest.cumulative = latest.cumulative.max(shown.cumulative);
        if shown.commit > latest.commit {
            (latest.commit, latest.cover) = (shown.commit, shown.cover);
        }
        lanes.push(lane);
    }
    Ok(Marked { known, lanes, latest })
}

/// The stream of a lane. Of a vertex that the pipeline does not have any more it may still be there, and then its lanes
/// say how far the unit is.
async fn stream_of<B: Broker>(inner: &Inner<B>, entry: &LaneEntry) -> Result<Option<Arc<Stream>>, Error> {
    if let Ok(stream) = inner.stream(&entry.stream) {
        return Ok(Some(stream.clone()));
    }
    let StreamId::Partition(vertex, partition) = &entry.stream else { return Ok(None) };
    let name = names::partition(&inner.settings.prefix, vertex, *partition);
    let mut pauses = Pauses::at_most(ATTEMPTS_MAX);
    loop {
        match inner.link.note(inner.link.broker.state(&name).await) {
            Ok(state) if state.identity == entry.identity => {
                let id = entry.stream.clone();
                return Ok(Some(Arc::new(Stream::new(id, name, entry.identity))));
            }
            Ok(_) | Err(Failure::NoStream(_)) => return Ok(None),
            Err(failure) => {
                if !passes(&failure) || !inner.link.pause(&mut pauses).await {
                    return Err(failed(format!("ask for the state of stream {name}"), failure));
                }
            }
        }
    }
}

/// One lane: a mark that repeats where the lane is, after which nobody else can write to it.
async fn mark<B: Broker>(
    inner: &Inner<B>,
    holding: &Holding,
    entry: &LaneEntry,
    stream: Arc<Stream>,
) -> Result<(Lane, Latest), Error> {
    let lane = Lane::new(stream, holding.unit());
    let stream = &lane.stream.name;
    let attempted = || format!("mark {}", lane.fence);
    let (mut pauses, mut behind) = (Pauses::at_most(ATTEMPTS_MAX), Pauses::at_most(BEHIND_MAX));
    let high = lane.stream.high();
    for _ in 0..RACES_MAX {
        holding.check()?;
        let tail = inner.link.last(stream, &lane.fence, Pauses::at_most(ATTEMPTS_MAX)).await?;
        let last = tail.as_ref().map_or(0, |tail| tail.sequence);
        if last < entry.last {
            if inner.link.pause(&mut behind).await {
                continue;
            }
            return Err(rewound(stream, last, entry.last));
        }
        let shown =
            tail.map(|tail| Meta::decode(&tail.meta).map_err(|error| unreadable(&tail.subject, error)));
        let shown = shown.transpose()?;
        let claim = shown.as_ref().map_or(0, |shown| shown.claim);
        if claim > holding.claim {
            return Err(holding.lose());
        }
        if let Some(shown) = shown.as_ref().filter(|_| claim == holding.claim) {
            // An earlier attempt was done without an answer.
            return Ok(marked(inner, holding.unit(), lane, last, shown.clone()));
        }
        let mark = mark_after(holding, shown);
        match inner.link.publish(mark_message(&lane, holding, last, &mark)).await {
            Ok(sequence) if sequence <= high => return Err(rewound(stream, sequence, high)),
            Ok(sequence) => return Ok(marked(inner, holding.unit(), lane, sequence, mark)),
            Err(Failure::Refused) => {}
            Err(failure @ (Failure::Unanswered(_) | Failure::Unavailable(_) | Failure::Full)) => {
                if failure == Failure::Full {
                    inner.full();
                }
                if !inner.link.pause(&mut pauses).await {
                    return Err(failed(attempted(), failure));
                }
            }
            Err(failure) => return Err(failed(attempted(), failure)),
        }
    }
    Err(Error::new(Class::Retry, format!("{}: others were faster {RACES_MAX} times", attempted())))
}

/// The mark that repeats what the lane shows.
fn mark_after(holding: &Holding, shown: Option<Meta>) -> Meta {
    let (claim, epoch) = (holding.claim, holding.epoch);
    let none = Meta {
        kind: Kind::Claim,
        n: 0,
        claim,
        epoch,
        commit: 0,
        cover: Progress::default(),
        cumulative: 0,
        previous: 0,
        decided_by: 0,
        after: None,
        bytes: 0,
        header: None,
    };
    match shown {
        Some(Meta { n, commit, cover, cumulative, .. }) => Meta { n, commit, cover, cumulative, ..none },
        None => none,
    }
}

fn mark_message(lane: &Lane, holding: &Holding, last: u64, mark: &Meta) -> Publish {
    Publish {
        stream: lane.stream.name.clone(),
        subject: names::frame(&lane.stream.name, Shelf::Claims, holding.unit()),
        expect: Some(Expect { filter: lane.fence.clone(), last }),
        meta: mark.encode(),
        payload: Bytes::new(),
    }
}

fn marked<B: Broker>(
    inner: &Inner<B>,
    unit: &UnitId,
    mut lane: Lane,
    sequence: u64,
    mark: Meta,
) -> (Lane, Latest) {
    inner.marked(unit, &lane, sequence);
    let Meta { n, commit, cover, cumulative, .. } = mark;
    (lane.n, lane.last, lane.listed) = (n, sequence, true);
    lane.stream.reached(sequence);
    (lane, Latest { commit, cover, cumulative })
}
