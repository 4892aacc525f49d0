//! What lies inside of an object whose workers are gone for good, and where it came from: for the last words about an
//! object that is deleted by force. Nobody reads a unit after this: it is taken from whoever had it. Invariant: a record
//! counts where it lies, once, and an offset is named only for a record that is there.

use std::collections::BTreeMap;
use std::time::Duration;

use model::door::Error;
use model::door::buffer::{Buffer, Claim, Claimed, SlotSurvey, Survey};
use model::{Epoch, Name, Origin, Position, Progress, Unit, UnitId};
use plan::seen::{Cut, Span};

use super::keeping::SEALER;

/// How long all of the looking may take; what was not looked at by then is not named.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
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

/// Adds a record to what is said of its source. Offsets that are numbers are compared as such.
fn note(cut: &mut Cut, origin: &Origin) {
    cut.records += 1;
    let (partition, offset) = match origin {
        Origin::Numbered { number, partition } => (Some(*partition), number.to_string()),
        Origin::Text(text) => (None, text.to_string()),
        Origin::Buffered { .. } => return,
    };
    let key = |text: &str| (text.parse::<u64>().ok(), text.to_owned());
    let span = cut
        .spans
        .entry(partition.unwrap_or(0))
        .or_insert_with(|| Span { first: offset.clone(), last: offset.clone() });
    if key(&offset) < key(&span.first) {
        span.first.clone_from(&offset);
    }
    if key(&offset) > key(&span.last) {
        span.last = offset;
    }
}
