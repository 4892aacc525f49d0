//! How a unit changes hands: take the record, mark every lane, finish what was decided.
//!
//! Invariant: no input is read and nothing is decided before every lane of the unit carries the claimant's mark, so
//! that the progress found then is final. A claim does not wait for the former owner.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::select;
use model::door::buffer::Claim;
use model::door::{Class, Error};
use model::frame::Writer;
use model::{Progress, Unit, UnitId};

use crate::broker::{Broker, Expect, Failure, Message, Publish};
use crate::failure::{failed, forgotten, lost, recreated, rewound, unreadable};
use crate::fence::BEHIND_MAX;
use crate::lanes::{Inner, Stream};
use crate::link::{ATTEMPTS_MAX, Pauses};
use crate::meta::{StreamId, read_through};
use crate::names;
use crate::pen::{Belongs, Lane, Pen, ToWrite, stamped};
use crate::record::{Contents, Record, decode_contents};
use crate::source;

/// How long a claim waits for what other processes have said.
const HEAR_WITHIN: Duration = Duration::from_secs(2);

mod mark;
use mark::{Latest, Marked, RACES_MAX, mark_all};

/// A record that is taken.
struct Taken {
    record: Record,
    sequence: u64,
    payload: Bytes,
}

/// Claims a unit.
pub(crate) async fn claim<B: Broker>(inner: &Arc<Inner<B>>, claim: &Claim) -> Result<Pen<B>, Error> {
    let Claim { unit, owner, replica, epoch } = claim.clone();
    let input = input(inner, &unit)?;
    // What others said is a check and no condition: a claim does not wait for it for long.
    let late = inner.link.broker.sleep(HEAR_WITHIN);
    select(pin!(inner.gates.until_caught_up()), late).await;
    // Whatever was said to be done before this claim began it must find.
    let spoken = inner.gates.commit(&unit);
    let Taken { record, sequence, payload } = take_record(inner, claim, input.as_deref()).await?;
    let holding = inner.gates.take(&unit, record.claim, epoch);
    let Marked { known, lanes, latest } = mark_all(inner, &holding, &record).await?;
    let decided = decided(&record, &payload, &known, &lanes)?;
    let writer = Writer { vertex: unit.vertex, unit: unit.unit, replica, incarnation: owner, epoch };
    let Latest { commit, cover, cumulative } = latest;
    let mut pen = Pen {
        inner: inner.clone(),
        holding,
        writer,
        record,
        record_sequence: sequence,
        lanes,
        commit,
        progress: cover,
        cumulative,
        after: Some((StreamId::Units, sequence)),
    };
    if pen.commit < spoken {
        return Err(forgotten(pen.unit(), pen.commit, spoken));
    }
    finish(&mut pen, decided).await?;
    part_from_gone(&mut pen).await?;
    source::begin_afresh_elsewhere(&mut pen).await?;
    if let Some(stream) = input {
        check_input(inner, &stream, &pen.progress).await?;
    }
    Ok(pen)
}

fn input<B: Broker>(inner: &Inner<B>, unit: &UnitId) -> Result<Option<Arc<Stream>>, Error> {
    match unit.unit {
        Unit::Source(_) => Ok(None),
        Unit::Slot(slot) => {
            let id = StreamId::Partition(unit.vertex.clone(), slot.partition);
            Ok(Some(inner.stream(&id)?.clone()))
        }
    }
}

/// A partition must reach as far as what was read of it.
async fn check_input<B: Broker>(inner: &Inner<B>, stream: &Stream, progress: &Progress) -> Result<(), Error> {
    let known = read_through(progress);
    if known == 0 {
        return Ok(());
    }
    let mut behind = Pauses::at_most(BEHIND_MAX);
    loop {
        let state = inner.link.state(&stream.name, Pauses::at_most(ATTEMPTS_MAX)).await?;
        if state.identity != stream.identity {
            return Err(recreated(&stream.name));
        }
        if state.last >= known {
            return Ok(());
        }
        if !inner.link.pause(&mut behind).await {
            return Err(rewound(&stream.name, state.last, known));
        }
    }
}

/// Step one: from here on nobody else can write the record.
async fn take_record<B: Broker>(
    inner: &Inner<B>,
    claim: &Claim,
    input: Option<&Stream>,
) -> Result<Taken, Error> {
    let attempted = || format!("claim unit {}", claim.unit);
    let state = inner.stream(&StreamId::Units)?;
    let subject = names::unit(&state.name, &claim.unit);
    let attempt = inner.attempts.fetch_add(1, Ordering::Relaxed) + 1;
    let mut pauses = Pauses::at_most(ATTEMPTS_MAX);
    let mut sent = Bytes::new();
    for _ in 0..RACES_MAX {
        let tail = inner.link.last(&state.name, &subject, Pauses::at_most(ATTEMPTS_MAX)).await?;
        let found = tail.as_ref().map(|tail| Record::decode(&tail.meta)).transpose();
        let found = found.map_err(|error| unreadable(&subject, error))?.unwrap_or_default();
        let (last, payload) = match tail {
            // An earlier attempt was done without an answer.
            Some(Message { sequence, meta, payload, .. }) if meta == sent => {
                return Ok(Taken { record: found, sequence, payload });
            }
            Some(Message { sequence, payload, .. }) => (sequence, payload),
            None => (0, Bytes::new()),
        };
        check_owner(claim, &found)?;
        check_identities(inner, input, &found)?;
        let counter = found.counter + 1;
        let record = Record {
            counter,
            claim: counter,
            attempt,
            epoch: claim.epoch,
            owner: Some(claim.owner),
            input: input.map(|stream| stream.identity),
            ..found
        };
        let meta = record.encode();
        let publish = Publish {
            stream: state.name.clone(),
            subject: subject.clone(),
            expect: Some(Expect { filter: subject.clone(), last }),
            meta: meta.clone(),
            payload: payload.clone(),
        };
        match inner.link.publish(publish).await {
            Ok(sequence) => return Ok(Taken { record, sequence, payload }),
            Err(Failure::Refused) => {}
            Err(failure @ (Failure::Unanswered(_) | Failure::Unavailable(_) | Failure::Full)) => {
                sent = meta;
                if !inner.link.pause(&mut pauses).await {
                    return Err(failed(attempted(), failure));
                }
            }
            Err(failure) => return Err(failed(attempted(), failure)),
        }
    }
    Err(Error::new(Class::Retry, format!("{}: others were faster {RACES_MAX} times", attempted())))
}

fn check_owner(claim: &Claim, found: &Record) -> Result<(), Error> {
    let stale = claim.epoch < found.epoch;
    let taken = claim.epoch == found.epoch && found.owner.is_some_and(|owner| owner != claim.owner);
    if stale || taken { Err(lost(&claim.unit)) } else { Ok(()) }
}

fn check_identities<B: Broker>(
    inner: &Inner<B>,
    input: Option<&Stream>,
    found: &Record,
) -> Result<(), Error> {
    if let (Some(stream), Some(identity)) = (input, found.input)
        && stream.identity != identity
    {
        return Err(recreated(&stream.name));
    }
    for entry in &found.lanes {
        if let Ok(stream) = inner.stream(&entry.stream)
            && stream.identity != entry.identity
        {
            return Err(recreated(&stream.name));
        }
    }
    Ok(())
}

/// What was decided and is not in its lane yet. `known` says which of the record's lanes are still ours; `lanes` are
/// those, in the same order.
fn decided(record: &Record, payload: &Bytes, known: &[bool], lanes: &[Lane]) -> Result<Vec<ToWrite>, Error> {
    let contents = decode_contents(payload).map_err(|error| unreadable("the frames of a commit", error))?;
    if contents.len() != record.decided.len() {
        let attempted = format!(
            "read the frames of a commit: {} are announced and {} are there",
            record.decided.len(),
            contents.len()
        );
        return Err(Error::new(Class::Fatal, attempted));
    }
    let mut left = Vec::new();
    for (decided, contents) in record.decided.iter().zip(contents) {
        if !known[decided.lane] {
            continue;
        }
        let lane = known[..decided.lane].iter().filter(|known| **known).count();
        if decided.n > lanes[lane].n {
            left.push(ToWrite { lane, shelf: decided.shelf, contents });
        }
    }
    Ok(left)
}

/// Step three: what a former owner decided is stored, under the claimant's name.
async fn finish<B: Broker>(pen: &mut Pen<B>, decided: Vec<ToWrite>) -> Result<(), Error> {
    let frames: Vec<_> = decided
        .into_iter()
        .map(|ToWrite { lane, shelf, contents: Contents { header, payload } }| {
            let header = stamped(header, &pen.writer);
            ToWrite { lane, shelf, contents: Contents { header, payload } }
        })
        .collect();
    if frames.is_empty() {
        return Ok(());
    }
    let belongs = Belongs {
        commit: pen.record.commit,
        cover: pen.record.progress.clone(),
        cumulative: pen.record.cumulative,
        decided_by: pen.record_sequence,
        after: None,
    };
    pen.write_frames(frames, &belongs).await?;
    Ok(())
}

/// Lanes into vertices that the pipeline does not have any more are left behind, with what they say of the unit kept
/// in its record, so that their streams may go.
async fn part_from_gone<B: Broker>(pen: &mut Pen<B>) -> Result<(), Error> {
    let inner = pen.inner.clone();
    let before = pen.record.lanes.len();
    pen.lanes.retain(|lane| inner.stream(&lane.stream.id).is_ok());
    if pen.lanes.len() == before {
        return Ok(());
    }
    let record = pen.next_record();
    pen.write_record(record, Bytes::new()).await
}
