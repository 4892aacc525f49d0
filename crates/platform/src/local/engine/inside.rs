//! What lies inside of an object whose workers are gone for good, and where it came from: for the last words about an
//! object that is deleted by force. Nobody reads a unit after this: it is taken from whoever had it. Invariant: a record
//! counts where it lies, once, and an offset is named only for a record that is there.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::door::Error;
use model::door::buffer::{Buffer, Claim, Claimed, SlotSurvey, Survey};
use model::{Epoch, Name, Origin, Position, Progress, Unit, UnitId};
use plan::seen::{Cut, Span};

use super::keeping::SEALER;

/// How long all of the looking may take; what was not looked at by then is not named.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Offsets of a source that are named one by one at most.
const NAMED_MAX: usize = 20;
/// Payload that is taken in at a time.
const READ_BYTES_MAX: usize = 4 << 20;

/// Of each source how far it was read, and which of its records are inside as it gave them.
pub(super) async fn cuts(buffer: &dyn Buffer, survey: &Survey, sources: &[Name]) -> Vec<Cut> {
    let mut cuts: BTreeMap<Name, Cut> = BTreeMap::new();
    for source in sources {
        cuts.insert(source.clone(), Cut { source: source.to_string(), ..Cut::default() });
    }
    let looked = tokio::time::timeout(LOOK_WITHIN, look(buffer, survey, &mut cuts)).await;
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = error.chain(), "not everything that is dropped can be named");
        }
        Err(_) => tracing::warn!(limit = ?LOOK_WITHIN, "not everything that is dropped can be named in time"),
    }
    cuts.into_values().collect()
}

async fn look(buffer: &dyn Buffer, survey: &Survey, cuts: &mut BTreeMap<Name, Cut>) -> Result<(), Error> {
    for unit in &survey.units {
        if let (Unit::Source(number), Some(cut)) = (unit.unit.unit, cuts.get_mut(&unit.unit.vertex)) {
            let Claimed { progress, committer, .. } = claim(buffer, survey, &unit.unit).await?;
            if progress.position != Position::default() {
                cut.read.insert(number, progress.position.sequence);
            }
            committer.release().await?;
        }
    }
    for slot in survey.slots.iter().filter(|slot| slot.level.messages > 0) {
        slot_origins(buffer, survey, slot, cuts).await?;
    }
    Ok(())
}

async fn claim(buffer: &dyn Buffer, survey: &Survey, unit: &UnitId) -> Result<Claimed, Error> {
    let epoch = Epoch(survey.unit(unit).map_or(0, |unit| unit.epoch.0) + 1);
    buffer.claim(Claim { unit: unit.clone(), owner: SEALER, replica: 0, epoch }).await
}

async fn slot_origins(
    buffer: &dyn Buffer,
    survey: &Survey,
    slot: &SlotSurvey,
    cuts: &mut BTreeMap<Name, Cut>,
) -> Result<(), Error> {
    let place = &slot.level.place;
    let unit = UnitId { vertex: place.vertex.clone(), unit: Unit::Slot(place.slot) };
    let Claimed { progress, reader, committer } = claim(buffer, survey, &unit).await?;
    let mut reader = reader.expect("a slot can be read");
    let mut left = slot.level.frames;
    while left > 0 {
        for stored in reader.read(READ_BYTES_MAX).await? {
            left = left.saturating_sub(1);
            let messages = stored.frame.messages(stored.sequence, place.slot.partition);
            // What cannot be read has no origin that could be named.
            let Ok(messages) = messages else { continue };
            for message in messages.iter().skip(done(&progress, stored.sequence)) {
                if let Some(cut) = cuts.get_mut(&message.id.vertex) {
                    note(cut, &message.id.origin);
                }
            }
        }
    }
    committer.release().await
}

/// How many messages of a frame are done, from its first on.
fn done(progress: &Progress, sequence: u64) -> usize {
    let Progress { position, above } = progress;
    if sequence < position.sequence || above.contains(&sequence) {
        return usize::MAX;
    }
    if sequence == position.sequence { position.index as usize } else { 0 }
}

/// Adds a record to what is said of its source: numbers as the least and the greatest, anything else by name.
fn note(cut: &mut Cut, origin: &Origin) {
    cut.records += 1;
    let (partition, number) = match origin {
        Origin::Numbered { number, partition } => (*partition, *number),
        Origin::Text(text) => match number_of(text) {
            Some(found) => found,
            None if cut.named.len() < NAMED_MAX => return cut.named.push(text.to_string()),
            None => return,
        },
        Origin::Buffered { .. } => return,
    };
    let span = cut.spans.entry(partition).or_insert(Span { first: number, last: number });
    (span.first, span.last) = (span.first.min(number), span.last.max(number));
}

/// The partition and the number in an offset of user code that is one; its bytes are shown as base64, and the partition
/// after a dash.
fn number_of(text: &str) -> Option<(u16, u64)> {
    let (offset, partition) = text.rsplit_once('-')?;
    let bytes = STANDARD.decode(offset).ok()?;
    Some((partition.parse().ok()?, std::str::from_utf8(&bytes).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_a_span_and_other_offsets_by_name() {
        let mut cut = Cut::default();
        let text = |offset: &str| Origin::Text(format!("{}-3", STANDARD.encode(offset)).into());
        for origin in [text("104"), text("99"), text("1000"), Origin::Numbered { number: 7, partition: 0 }] {
            note(&mut cut, &origin);
        }
        let spans = [(0, Span { first: 7, last: 7 }), (3, Span { first: 99, last: 1000 })];
        assert_eq!(cut.spans, BTreeMap::from(spans));
        for number in 0..2 * NAMED_MAX {
            note(&mut cut, &Origin::Text(format!("id-{number}").into()));
        }
        note(&mut cut, &text("later"));
        assert_eq!(cut.named.first().map(String::as_str), Some("id-0"));
        assert_eq!((cut.records, cut.named.len()), (5 + 2 * NAMED_MAX as u64, NAMED_MAX));
    }
}
