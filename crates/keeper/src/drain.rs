//! The drain verdict: whether anything is still inside. Invariant: it is given only after two looks at everything, the
//! second wholly after the first, that found nothing and between which nothing was committed. Then there was a moment
//! between them at which everything was empty at once, and with the sources stopped nothing can come after it.

use std::collections::BTreeMap;

use model::{Epoch, Place, Slot, Unit, UnitId};

use crate::graph::Feed;
use crate::keeper::{Facts, Known};
use crate::report::SlotReport;

/// Everything that moves when anything is committed.
type Marks = BTreeMap<UnitId, (Epoch, u64, u64)>;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// The pass of the first look that found nothing, and how things stood.
    first: Option<(u64, Marks)>,
}

impl Drain {
    /// Takes the next look. True when everything is drained.
    pub(crate) fn pass(&mut self, look: Option<Marks>, facts: &Facts, number: u64) -> bool {
        let Some(marks) = look else {
            self.first = None;
            return false;
        };
        match &self.first {
            Some((pass, before)) if *before == marks => {
                marks.keys().all(|unit| facts.units[unit].heard >= *pass)
            }
            Some(_) | None => {
                self.first = Some((number, marks));
                false
            }
        }
    }
}

/// How everything stands, when nothing seems to be inside.
pub(crate) fn look(facts: &Facts) -> Option<Marks> {
    let mut marks = Marks::new();
    for (name, vertex) in &facts.shape.vertices {
        for unit in facts.units_of(name) {
            let known = facts.units.get(&unit)?;
            let empty = match vertex.feed {
                Feed::Source(_) => known.source().is_some_and(|source| source.stopped),
                Feed::Slots(_) => known.slot().is_some_and(|slot| emptied(facts, &unit, slot)),
            };
            if !empty || known.report.in_hand > 0 {
                return None;
            }
            marks.insert(unit, mark(known));
        }
    }
    Some(marks)
}

fn mark(known: &Known) -> (Epoch, u64, u64) {
    (known.report.epoch, known.report.done, known.slot().map_or(0, |slot| slot.through))
}

/// Nothing lies in the slot, and everything that is known to have been written there was looked at.
fn emptied(facts: &Facts, unit: &UnitId, report: &SlotReport) -> bool {
    let Unit::Slot(slot) = unit.unit else { return false };
    let place = Place { vertex: unit.vertex.clone(), slot };
    let writers = facts.shape.upstream[&unit.vertex].iter();
    let own = (slot == Slot::RETRY).then_some(&unit.vertex);
    let seen = writers.chain(own).all(|writer| report.through >= facts.written(writer, &place));
    report.frames == 0 && seen
}
