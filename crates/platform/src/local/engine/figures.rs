//! Counts for each partition of each vertex: what lies there, what is in hand, what was done. Invariant: what was done only
//! grows, and counts nothing twice, whoever owns a unit.

use std::collections::BTreeMap;

use api::resolve::VertexKind;
use model::{Epoch, Incarnation, Name, Unit};

use super::Engine;
use super::seen;

/// The counts of a vertex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VertexFigures {
    /// By partition; a source and a mono vertex have one.
    pub partitions: Vec<PartitionFigures>,
    /// Messages that wait outside of a source, if it can tell.
    pub outside: Option<u64>,
}

/// The counts of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionFigures {
    /// Messages that are stored and not done, those in hand included; none lie in front of a source.
    pub left: u64,
    /// Messages that workers have read and not finished.
    pub in_hand: u64,
    /// Messages done since somebody began to look.
    pub done: u64,
}

/// What was done, as far as anybody looked.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Of each ownership what it had done when it was looked at last.
    last: BTreeMap<(Name, Unit, Epoch, Incarnation), u64>,
    done: BTreeMap<(Name, usize), u64>,
}

impl Engine {
    /// The counts of every vertex. What an ownership had done when it is first seen here is not counted, so this is to be
    /// asked every second or so.
    pub fn figures(&mut self) -> BTreeMap<String, VertexFigures> {
        let mut seen_last = BTreeMap::new();
        let mut all = BTreeMap::new();
        for settings in &self.parts.pipeline.vertices {
            let crew = &self.crews[&settings.name];
            let mut partitions = vec![PartitionFigures::default(); settings.partitions.max(1) as usize];
            if crew.kind != VertexKind::Source {
                for (at, left) in seen::pending(self.keeping.survey(), &crew.name).into_iter().enumerate() {
                    if let Some(partition) = partitions.get_mut(at) {
                        partition.left = left;
                    }
                }
            }
            for (life, _) in crew.lives() {
                for unit in life.handle.report() {
                    let at = match unit.unit {
                        Unit::Source(_) => 0,
                        Unit::Slot(slot) => usize::from(slot.partition),
                    };
                    let ownership = (crew.name.clone(), unit.unit, unit.epoch, life.incarnation);
                    let before = self.progress.last.get(&ownership).copied().unwrap_or(unit.done);
                    seen_last.insert(ownership, unit.done.max(before));
                    let sum = self.progress.done.entry((crew.name.clone(), at)).or_default();
                    *sum += unit.done.saturating_sub(before);
                    if let Some(partition) = partitions.get_mut(at) {
                        partition.in_hand += unit.in_hand;
                    }
                }
            }
            for (at, partition) in partitions.iter_mut().enumerate() {
                partition.done = self.progress.done.get(&(crew.name.clone(), at)).copied().unwrap_or(0);
            }
            let outside = self.picture.vertices.get(&crew.name).and_then(|found| found.outside);
            all.insert(settings.name.clone(), VertexFigures { partitions, outside });
        }
        self.progress.last = seen_last;
        all
    }
}
