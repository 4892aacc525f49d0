//! How far the units of each process are, said under a key of the state stream, so that whoever writes to them knows
//! what is settled, and whoever has lost a unit learns of it early. Invariant: only durable progress is said.

use std::time::Duration;

use bytes::Bytes;
use model::{Epoch, Slot, Unit, UnitId};
use smol_str::SmolStr;

use super::pumps::{Listening, listen};
use crate::broker::{Broker, Expect, Failure, Message, Publish};
use crate::gate::Reached;
use crate::lanes::Inner;
use crate::link::Pauses;
use crate::meta::{StreamId, read_through};
use crate::names;
use crate::wire::{self, Error, Fields};

const VERSION: u8 = 1;
/// How long to wait between two words.
const EVERY: Duration = Duration::from_millis(20);

fn encode<'a>(reached: impl IntoIterator<Item = (&'a UnitId, &'a Reached)>) -> Bytes {
    let mut body = Vec::new();
    for (UnitId { vertex, unit }, Reached { epoch, commit, progress }) in reached {
        wire::put_bytes(&mut body, vertex.as_bytes());
        match unit {
            Unit::Source(number) => {
                body.push(0);
                wire::put(&mut body, u64::from(*number));
            }
            Unit::Slot(Slot { partition, number }) => {
                body.push(1);
                wire::put(&mut body, u64::from(*partition));
                wire::put(&mut body, u64::from(*number));
            }
        }
        wire::put(&mut body, epoch.0);
        wire::put(&mut body, *commit);
        wire::put_progress(&mut body, progress);
    }
    wire::versioned(VERSION, &body, &[])
}

fn decode(bytes: &[u8]) -> Result<Vec<(UnitId, Reached)>, Error> {
    let (mut fields, _) = wire::open(bytes, VERSION)?;
    let mut all = Vec::new();
    while !fields.is_empty() {
        all.push(read(&mut fields)?);
    }
    Ok(all)
}

fn read(fields: &mut Fields<'_>) -> Result<(UnitId, Reached), Error> {
    let vertex = SmolStr::new(fields.text("a vertex")?);
    let unit = match fields.byte("a unit")? {
        0 => Unit::Source(fields.small("a unit")?),
        _ => Unit::Slot(Slot { partition: fields.small("a unit")?, number: fields.small("a unit")? }),
    };
    let epoch = Epoch(fields.number("an epoch")?);
    let commit = fields.number("a commit")?;
    Ok((UnitId { vertex, unit }, Reached { epoch, commit, progress: fields.progress()? }))
}

/// Says how far the units of this process are, whenever that changes. Each word takes the place of the one before, by
/// compare-and-set: else one that the broker holds up would come last, and nobody would say again what it undid.
pub(super) async fn say<B: Broker>(inner: &Inner<B>) {
    let Ok(state) = inner.stream(&StreamId::Notes) else { return };
    let subject = names::seen(&state.name, &inner.settings.process);
    let mut said = std::collections::BTreeMap::new();
    let mut last = 0;
    let mut pauses = Pauses::without_end();
    loop {
        let moved = inner.gates.moved.listen();
        let reached = inner.gates.reached();
        if reached == said {
            moved.await;
            continue;
        }
        drop(moved);
        let publish = Publish {
            stream: state.name.clone(),
            subject: subject.clone(),
            expect: Some(Expect { filter: subject.clone(), last }),
            meta: Bytes::new(),
            payload: encode(&reached),
        };
        match inner.link.publish(publish).await {
            Ok(sequence) => {
                (said, last) = (reached, sequence);
                pauses = Pauses::without_end();
                inner.link.broker.sleep(EVERY).await;
                continue;
            }
            Err(Failure::Refused) => {
                // Another life of this process has spoken, or this one without an answer.
                if let Ok(word) = inner.link.last(&state.name, &subject, Pauses::at_most(0)).await {
                    last = word.as_ref().map_or(0, |word| word.sequence);
                    let word = word.and_then(|word| decode(&word.payload).ok());
                    inner.gates.keep_saying(word.unwrap_or_default());
                }
            }
            // What has not been heard is said again, with what is true by then.
            Err(
                Failure::Full
                | Failure::TooLarge { .. }
                | Failure::Unanswered(_)
                | Failure::Unavailable(_)
                | Failure::NoStream(_)
                | Failure::Denied(_),
            ) => {}
        }
        inner.link.pause(&mut pauses).await;
    }
}

/// Hears how far the units of all processes are.
pub(super) async fn hear<B: Broker>(inner: &Inner<B>) {
    let Ok(state) = inner.stream(&StreamId::Notes) else { return };
    let mut pauses = Pauses::without_end();
    loop {
        let filter = names::all_seen(&state.name);
        let note = |message| {
            take(inner, &message);
            Ok(())
        };
        let listening = Listening { stream: state, filter, headers_only: false, note };
        // What is wrong with the stream shows where something depends on it.
        drop(listen(inner, listening, |_| inner.gates.caught_up()).await);
        inner.link.pause(&mut pauses).await;
    }
}

fn take<B: Broker>(inner: &Inner<B>, message: &Message) {
    // Word of a later version is passed over: what it would have said shows in streams and records all the same.
    let Ok(all) = decode(&message.payload) else { return };
    for (unit, Reached { epoch, commit, progress }) in all {
        inner.gates.hear(&unit, epoch, commit);
        if let Unit::Slot(slot) = unit.unit
            && let Some(vertex) = inner.vertices.get(&unit.vertex)
            && let Some(room) = vertex.rooms.get(usize::from(slot.partition))
        {
            room.settle(slot.number, &progress);
            let stream = inner.stream(&StreamId::Partition(unit.vertex.clone(), slot.partition));
            if let Ok(stream) = stream {
                stream.reached(read_through(&progress));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{Position, Progress};

    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let unit = |unit| UnitId { vertex: SmolStr::new("map"), unit };
        let reached = |epoch, sequence| Reached {
            epoch: Epoch(epoch),
            commit: sequence + 2,
            progress: Progress { position: Position { sequence, index: 3 }, above: vec![sequence + 5] },
        };
        let all = BTreeMap::from([
            (unit(Unit::Source(4)), reached(1, 9)),
            (unit(Unit::Slot(Slot::RETRY)), reached(u64::MAX, 1)),
        ]);
        let heard: BTreeMap<_, _> = decode(&encode(&all)).unwrap().into_iter().collect();
        assert_eq!(heard, all);
    }
}
