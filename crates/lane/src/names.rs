//! Names of streams and subjects. Invariant: two different things never share a name, and the fence of a lane always
//! has the same form.

use model::door::mail::KEY_TOKENS;
use model::{Slot, Unit, UnitId};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::broker::StreamName;

/// Where a frame stands in the subject of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Shelf {
    /// A slot that is read in order.
    Slot(u16),
    /// Claims and empty tails, which nobody reads.
    Claims,
    /// Ids of what sources have committed.
    Ids,
}

impl Shelf {
    pub(crate) fn of(slot: Slot) -> Self {
        Self::Slot(slot.number)
    }

    fn token(self) -> SmolStr {
        match self {
            Self::Slot(u16::MAX) => SmolStr::new_static("r"),
            Self::Slot(number) => number.to_smolstr(),
            Self::Claims => SmolStr::new_static("c"),
            Self::Ids => SmolStr::new_static("i"),
        }
    }

    fn read(token: &str) -> Option<Self> {
        match token {
            "r" => Some(Self::Slot(u16::MAX)),
            "c" => Some(Self::Claims),
            "i" => Some(Self::Ids),
            number => number.parse().ok().filter(|number| *number != u16::MAX).map(Self::Slot),
        }
    }
}

/// The stream of a partition.
pub(crate) fn partition(prefix: &str, vertex: &str, partition: u16) -> StreamName {
    format_smolstr!("{prefix}-{vertex}-{partition}")
}

/// The stream of the records of units. Names of vertices hold no underscore.
pub(crate) fn units(prefix: &str) -> StreamName {
    format_smolstr!("{prefix}_units")
}

/// The stream of everything else that is kept under keys.
pub(crate) fn notes(prefix: &str) -> StreamName {
    format_smolstr!("{prefix}_notes")
}

/// The stream of ids.
pub(crate) fn ids(prefix: &str) -> StreamName {
    format_smolstr!("{prefix}_ids")
}

fn unit_token(unit: Unit) -> SmolStr {
    match unit {
        Unit::Source(number) => format_smolstr!("s{number}"),
        Unit::Slot(Slot::RETRY) => SmolStr::new_static("r"),
        Unit::Slot(slot) => format_smolstr!("{}-{}", slot.partition, slot.number),
    }
}

fn read_unit(token: &str) -> Option<Unit> {
    if token == "r" {
        return Some(Unit::Slot(Slot::RETRY));
    }
    if let Some(number) = token.strip_prefix('s') {
        return number.parse().ok().map(Unit::Source);
    }
    let (partition, number) = token.split_once('-')?;
    Some(Unit::Slot(Slot { partition: partition.parse().ok()?, number: number.parse().ok()? }))
}

/// The subject of a unit's frames on one shelf of a stream.
pub(crate) fn frame(stream: &str, shelf: Shelf, unit: &UnitId) -> String {
    format!("{stream}.{}.{}.{}", shelf.token(), unit.vertex, unit_token(unit.unit))
}

/// The fence of a lane: everything the unit ever wrote to the stream, and nothing else.
pub(crate) fn fence(stream: &str, unit: &UnitId) -> String {
    format!("{stream}.*.{}.{}", unit.vertex, unit_token(unit.unit))
}

/// Everything on one shelf, whoever wrote it.
pub(crate) fn shelf(stream: &str, shelf: Shelf) -> String {
    format!("{stream}.{}.*.*", shelf.token())
}

/// What the units of one vertex wrote.
pub(crate) fn all_of(stream: &str, vertex: &str) -> String {
    format!("{stream}.*.{vertex}.*")
}

/// Everything in the stream of a partition or of ids.
pub(crate) fn everything(stream: &str) -> String {
    format!("{stream}.*.*.*")
}

/// Which shelf and which unit a subject of frames names.
pub(crate) fn read_frame(subject: &str) -> Option<(Shelf, UnitId)> {
    let mut tokens = subject.rsplitn(4, '.');
    let unit = read_unit(tokens.next()?)?;
    let vertex = SmolStr::new(tokens.next()?);
    let shelf = Shelf::read(tokens.next()?)?;
    Some((shelf, UnitId { vertex, unit }))
}

const UNIT: &str = "unit";
const MAIL: &str = "mail";
const SEEN: &str = "seen";
const SOURCE: &str = "source";

/// The record of a unit.
pub(crate) fn unit(state: &str, unit: &UnitId) -> String {
    format!("{state}.{UNIT}.{}.{}", unit.vertex, unit_token(unit.unit))
}

/// All records of units.
pub(crate) fn records(units: &str) -> String {
    format!("{units}.{UNIT}.*.*")
}

/// Which unit a record belongs to.
pub(crate) fn read_record(subject: &str) -> Option<UnitId> {
    let mut tokens = subject.rsplitn(4, '.');
    let unit = read_unit(tokens.next()?)?;
    let vertex = SmolStr::new(tokens.next()?);
    (tokens.next()? == UNIT).then_some(UnitId { vertex, unit })
}

/// A note.
pub(crate) fn mail(state: &str, key: &str) -> String {
    format!("{state}.{MAIL}.{key}")
}

/// All notes whose keys begin with these tokens.
pub(crate) fn mails(state: &str, under: &str) -> String {
    let rest = ".*".repeat(KEY_TOKENS.saturating_sub(under.split('.').count()));
    format!("{state}.{MAIL}.{under}{rest}")
}

/// The key of a note.
pub(crate) fn read_mail(subject: &str) -> Option<String> {
    let (_, key) = subject.split_once(&format!(".{MAIL}."))?;
    (key.split('.').count() == KEY_TOKENS).then(|| key.to_owned())
}

/// How far the units of one process are.
pub(crate) fn seen(state: &str, process: &str) -> String {
    format!("{state}.{SEEN}.{process}")
}

/// How far the units of all processes are.
pub(crate) fn all_seen(state: &str) -> String {
    format!("{state}.{SEEN}.*")
}

/// Which source a vertex has.
pub(crate) fn source(state: &str, vertex: &str) -> String {
    format!("{state}.{SOURCE}.{vertex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_back() {
        let units = [Unit::Source(7), Unit::Slot(Slot { partition: 2, number: 12 }), Unit::Slot(Slot::RETRY)];
        for unit in units.map(|unit| UnitId { vertex: SmolStr::new("map-a"), unit }) {
            for shelf in [Shelf::Slot(3), Shelf::of(Slot::RETRY), Shelf::Claims, Shelf::Ids] {
                let subject = frame("ns-p-out-0", shelf, &unit);
                assert_eq!(read_frame(&subject), Some((shelf, unit.clone())), "{subject}");
            }
            assert_eq!(read_record(&super::unit("ns-p_state", &unit)), Some(unit.clone()));
        }
        assert_eq!(read_mail(&mail("s", "report.map.a-3")).as_deref(), Some("report.map.a-3"));
        assert_eq!(mails("s", "report"), "s.mail.report.*.*");
        assert_eq!(mails("s", "orders.map.a-3"), "s.mail.orders.map.a-3");
        assert_eq!(read_frame("ns.65535.map.s1"), None);
    }
}
