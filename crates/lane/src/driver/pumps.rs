//! Listening to a stream for as long as the buffer is open. Invariant: what is lost on the way is asked for again.

use model::Name;
use model::door::{Class, Error};

use crate::broker::{Broker, Consume, Delivery, Message};
use crate::failure::{recreated, unreadable};
use crate::ids;
use crate::lanes::{Inner, Stream};
use crate::link::Pauses;
use crate::meta::{Kind, Meta, StreamId};
use crate::names::{self, Shelf};
use crate::room::{Held, Room};

/// What is listened to, and what is done with it.
pub(super) struct Listening<'a, F> {
    pub(super) stream: &'a Stream,
    pub(super) filter: String,
    pub(super) headers_only: bool,
    /// Called with each message.
    pub(super) note: F,
}

/// Reads everything under a filter in order, from the beginning, without end. `read` is called with the sequence
/// through which everything was read once that is all there was at the start, and after that for each message.
pub(super) async fn listen<B: Broker>(
    inner: &Inner<B>,
    mut listening: Listening<'_, impl FnMut(Message) -> Result<(), Error>>,
    read: impl Fn(u64),
) -> Result<(), Error> {
    let link = &inner.link;
    let name = &listening.stream.name;
    let mut through = 0;
    let mut pauses = Pauses::without_end();
    loop {
        let state = link.state(name, Pauses::without_end()).await?;
        if state.identity != listening.stream.identity {
            return Err(recreated(name));
        }
        let last = link.last(name, &listening.filter, Pauses::without_end()).await?;
        let last = last.map_or(0, |message| message.sequence);
        let consume = Consume {
            stream: name.clone(),
            filters: vec![listening.filter.clone()],
            after: through,
            headers_only: listening.headers_only,
            last_per_subject: false,
        };
        let mut consumer = link.consume(&consume, Pauses::without_end()).await?;
        let mut count = 0;
        if through >= last {
            read(through);
        }
        loop {
            match link.note(consumer.next().await) {
                Ok(Delivery::Message { number, pending: _, message }) if number == count + 1 => {
                    count = number;
                    pauses = Pauses::without_end();
                    through = message.sequence;
                    listening.stream.reached(through);
                    (listening.note)(message)?;
                    if through >= last {
                        read(through);
                    }
                }
                Ok(Delivery::Idle { number }) if number == count => {}
                Ok(Delivery::Message { .. } | Delivery::Idle { .. }) => break,
                Err(_) => {
                    link.pause(&mut pauses).await;
                    break;
                }
            }
        }
    }
}

/// Listens to what is written to a partition.
pub(super) async fn room<B: Broker>(inner: &Inner<B>, vertex: Name, partition: u16) {
    let Some(room) = inner.vertices.get(&vertex).and_then(|vertex| vertex.rooms.get(usize::from(partition)))
    else {
        return;
    };
    let Ok(stream) = inner.stream(&StreamId::Partition(vertex, partition)) else { return };
    let filter = names::everything(&stream.name);
    let note = |message| note_frame(room, message);
    let listening = Listening { stream, filter, headers_only: true, note };
    if let Err(error) = listen(inner, listening, |_| room.complete()).await {
        room.fail(error.chain());
    }
}

fn note_frame(room: &Room, message: Message) -> Result<(), Error> {
    let Message { sequence, subject, meta, payload: _ } = message;
    let Some((shelf, unit)) = names::read_frame(&subject) else { return Ok(()) };
    let meta = Meta::decode(&meta).map_err(|error| unreadable(&subject, error))?;
    match (shelf, meta.kind) {
        (Shelf::Slot(slot), Kind::Data) => {
            let (messages, bytes) = (meta.messages(), meta.bytes);
            room.note(slot, sequence, Held { unit, messages, bytes });
        }
        (Shelf::Slot(_) | Shelf::Claims | Shelf::Ids, _) => room.note_mark(&unit, sequence),
    }
    Ok(())
}

/// Listens to what ids a vertex commits.
pub(super) async fn ids<B: Broker>(inner: &Inner<B>, vertex: Name) {
    let Ok(known) = inner.vertex(&vertex).map(|vertex| &vertex.ids) else { return };
    let Ok(stream) = inner.stream(&StreamId::Ids) else { return };
    let filter = names::all_of(&stream.name, &vertex);
    let note = |message: Message| {
        let Message { sequence, subject, meta: _, payload } = message;
        if let Some((Shelf::Ids, unit)) = names::read_frame(&subject) {
            let found = ids::decode(&payload).map_err(|error| unreadable(&subject, error))?;
            known.remember(unit.unit, sequence, found);
        }
        Ok(())
    };
    let listening = Listening { stream, filter, headers_only: false, note };
    if let Err(error) = listen(inner, listening, |through| known.read_through(through)).await {
        let error = Error::caused(Class::Fatal, format!("read the ids of vertex {vertex}"), error);
        known.fail(error.chain());
    }
}
