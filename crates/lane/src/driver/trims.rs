//! Removing what is settled, a lot at a time. Invariant: only lanes of units that this process owns are touched.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use model::door::Error;

use super::Pump;
use crate::broker::{Broker, Expect, Publish};
use crate::failure::{failed, unreadable};
use crate::lanes::{Inner, Stream};
use crate::link::{ATTEMPTS_MAX, Pauses};
use crate::meta::{Kind, Meta, StreamId};
use crate::names::{self, Shelf};
use crate::room::{Due, Purge, Quiet, Room};

/// How long to wait between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// Removes what is settled, whenever that is worth it or a stream is full.
pub(super) async fn run<B: Broker>(inner: &Inner<B>) {
    loop {
        let due = match select(inner.trim.listen(), pin!(inner.link.broker.sleep(EVERY))).await {
            Either::Left(_) => Due::All,
            Either::Right(_) => Due::Worth,
        };
        for pump in inner.pumps.all() {
            match pump {
                Pump::Room(vertex, partition) => trim(inner, &vertex, partition, due).await,
                Pump::Ids(vertex) => forget(inner, &vertex).await,
            }
        }
    }
}

async fn trim<B: Broker>(inner: &Inner<B>, vertex: &smol_str::SmolStr, partition: u16, due: Due) {
    let Ok(stream) = inner.stream(&StreamId::Partition(vertex.clone(), partition)) else { return };
    let Some(room) = inner.vertices.get(vertex).map(|vertex| &vertex.rooms[usize::from(partition)]) else {
        return;
    };
    let now = inner.link.broker.now();
    for purge in room.purges(due, now, |unit| inner.gates.owns(unit)) {
        let Purge { unit, shelf, through } = &purge;
        let filter = names::frame(&stream.name, *shelf, unit);
        let purged = inner.link.broker.purge(&stream.name, &filter, *through).await;
        if inner.link.note(purged).is_err() {
            room.keep(&purge);
        }
    }
    for quiet in room.quiet(now, |unit| inner.gates.owns(unit)) {
        // What does not work now is tried again when the lane has been quiet for as long again.
        drop(replace(inner, stream, room, &quiet).await);
    }
}

/// Removes ids beyond those that are remembered, of the units that this process owns.
async fn forget<B: Broker>(inner: &Inner<B>, vertex: &smol_str::SmolStr) {
    let Ok(stream) = inner.stream(&StreamId::Ids) else { return };
    let Ok(ids) = inner.vertex(vertex).map(|vertex| &vertex.ids) else { return };
    for (unit, through) in ids.forgotten() {
        let unit = model::UnitId { vertex: vertex.clone(), unit };
        if !inner.gates.owns(&unit) {
            continue;
        }
        // The end of the lane holds the fence: it stays, however old it is. What could not be removed goes along with
        // what is forgotten next.
        let filter = names::frame(&stream.name, Shelf::Ids, &unit);
        let through = through.saturating_sub(1);
        drop(inner.link.note(inner.link.broker.purge(&stream.name, &filter, through).await));
    }
}

/// Puts an empty message in the place of the last frame of a lane that is settled and has been quiet, so that the frame
/// can go. Somebody who writes to the lane at the same time makes this one be refused, or takes it as the new end.
async fn replace<B: Broker>(
    inner: &Inner<B>,
    stream: &Stream,
    room: &Room,
    quiet: &Quiet,
) -> Result<(), Error> {
    let Quiet { unit, last } = quiet;
    let fence = names::fence(&stream.name, unit);
    let tail = inner.link.last(&stream.name, &fence, Pauses::at_most(ATTEMPTS_MAX)).await?;
    let Some(tail) = tail.filter(|tail| tail.sequence == *last) else { return Ok(()) };
    let meta = Meta::decode(&tail.meta).map_err(|error| unreadable(&tail.subject, error))?;
    if meta.kind != Kind::Data {
        return Ok(());
    }
    let empty = Meta {
        kind: Kind::Tail,
        previous: tail.sequence,
        decided_by: 0,
        after: None,
        bytes: 0,
        header: None,
        ..meta
    };
    let publish = Publish {
        stream: stream.name.clone(),
        subject: names::frame(&stream.name, Shelf::Claims, unit),
        expect: Some(Expect { filter: fence, last: *last }),
        meta: empty.encode(),
        payload: Bytes::new(),
    };
    let stored = inner.link.publish(publish).await;
    let sequence = stored.map_err(|failure| failed(format!("replace the end of lane {unit}"), failure))?;
    room.note_mark(unit, sequence);
    Ok(())
}
