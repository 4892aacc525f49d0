//! Names of logs and keys in the journal.

use model::{Name, Slot, Unit, UnitId};
use smol_str::SmolStr;

pub(super) const UNIT_PREFIX: &str = "unit/";

/// The log that holds the frames of a slot.
pub(super) fn slot_log(vertex: &str, slot: Slot) -> String {
    format!("slot/{vertex}/{slot}")
}

/// The log that holds the ids a vertex has committed.
pub(super) fn ids_log(vertex: &str) -> String {
    format!("ids/{vertex}")
}

/// The key of a unit's record.
pub(super) fn unit_key(unit: &UnitId) -> String {
    format!("{UNIT_PREFIX}{unit}")
}

/// What the keys of all source units of a vertex begin with.
pub(super) fn source_units_prefix(vertex: &str) -> String {
    format!("{UNIT_PREFIX}{vertex}/source.")
}

/// The key of the word for a vertex's source.
pub(super) fn source_key(vertex: &str) -> String {
    format!("source/{vertex}")
}

/// The unit of a key made by [`unit_key`].
pub(super) fn read_unit(key: &[u8]) -> Option<UnitId> {
    let text = std::str::from_utf8(key).ok()?.strip_prefix(UNIT_PREFIX)?;
    let (vertex, unit) = text.rsplit_once('/')?;
    let vertex: Name = SmolStr::new(vertex);
    if unit == "retry" {
        return Some(UnitId { vertex, unit: Unit::Slot(Slot::RETRY) });
    }
    let (left, right) = unit.split_once('.')?;
    let unit = if left == "source" {
        Unit::Source(right.parse().ok()?)
    } else {
        Unit::Slot(Slot { partition: left.parse().ok()?, number: right.parse().ok()? })
    };
    Some(UnitId { vertex, unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_keys_are_read_back() {
        for unit in [Unit::Source(7), Unit::Slot(Slot { partition: 3, number: 61 }), Unit::Slot(Slot::RETRY)]
        {
            let id = UnitId { vertex: SmolStr::new("a-map"), unit };
            assert_eq!(read_unit(unit_key(&id).as_bytes()), Some(id));
        }
        assert_eq!(read_unit(b"unit/map/what"), None);
        let source = UnitId { vertex: SmolStr::new("in"), unit: Unit::Source(12) };
        assert!(unit_key(&source).starts_with(&source_units_prefix("in")));
    }
}
