//! Which source the positions of a vertex belong to. A position means nothing in another source, so where the source
//! has changed a unit of the vertex begins afresh when it is claimed.
//!
//! Invariant: the word for the source stands in the unit's own record beside the position, and both change in one
//! write, so whoever goes on from a position goes on in the source that it is of.

use bytes::Bytes;
use model::door::{Class, Error};
use model::{Progress, Unit};
use smol_str::SmolStr;

use crate::broker::{Broker, Expect, Failure, Publish};
use crate::failure::{failed, passes};
use crate::lanes::Inner;
use crate::link::{ATTEMPTS_MAX, Pauses};
use crate::meta::StreamId;
use crate::names;
use crate::pen::Pen;

/// See [`Lanes::note_source`](crate::Lanes::note_source).
pub(crate) async fn note<B: Broker>(
    inner: &Inner<B>,
    vertex: &str,
    identity: &str,
) -> Result<Option<String>, Error> {
    let attempted = || format!("note the source of vertex {vertex}");
    let word = inner.vertex(vertex)?.source.get_or_init(|| SmolStr::new(identity));
    if word != identity {
        let attempted = format!("{} as {identity}: it was noted as {word} in this process", attempted());
        return Err(Error::new(Class::Fatal, attempted));
    }
    let state = inner.stream(&StreamId::Notes)?;
    let subject = names::source(&state.name, vertex);
    let mut pauses = Pauses::at_most(ATTEMPTS_MAX);
    loop {
        let tail = inner.link.last(&state.name, &subject, Pauses::at_most(ATTEMPTS_MAX)).await?;
        let former = tail.as_ref().map(|tail| String::from_utf8_lossy(&tail.payload).into_owned());
        if former.as_deref() == Some(identity) {
            return Ok(None);
        }
        let publish = Publish {
            stream: state.name.clone(),
            subject: subject.clone(),
            expect: Some(Expect { filter: subject.clone(), last: tail.map_or(0, |tail| tail.sequence) }),
            meta: Bytes::new(),
            payload: Bytes::copy_from_slice(identity.as_bytes()),
        };
        match inner.link.publish(publish).await {
            Ok(_) => return Ok(former),
            Err(failure) if failure == Failure::Refused || passes(&failure) => {
                if !inner.link.pause(&mut pauses).await {
                    return Err(failed(attempted(), failure));
                }
            }
            Err(failure) => return Err(failed(attempted(), failure)),
        }
    }
}

/// Sets a claimed unit of a source back to the beginning when its position is in another source than the vertex has.
/// One of whose source nothing was noted keeps its position.
pub(crate) async fn begin_afresh_elsewhere<B: Broker>(pen: &mut Pen<B>) -> Result<(), Error> {
    if !matches!(pen.writer.unit, Unit::Source(_)) {
        return Ok(());
    }
    let inner = pen.inner.clone();
    let Some(word) = inner.vertex(&pen.writer.vertex)?.source.get() else { return Ok(()) };
    if pen.record.source == *word {
        return Ok(());
    }
    if !pen.record.source.is_empty() {
        pen.commit += 1;
        pen.progress = Progress::default();
    }
    let mut record = pen.next_record();
    record.source = word.clone();
    pen.write_record(record, Bytes::new()).await
}
