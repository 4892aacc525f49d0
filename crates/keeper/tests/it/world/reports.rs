//! What owners report of the simulated pipeline: step by step and late, or everything at one instant. Invariant: a report
//! says what its owner believes, which may be less than what is so.

use std::collections::BTreeMap;

use model::{Epoch, Name, Place, Time, Unit, UnitId};
use tidegate_keeper::{Input, Report, SlotReport, SourceReport, UnitReport, WriterReport};

use super::{Owner, Stored, Truth, World};

impl World {
    pub(super) fn slot_report(&self, place: &Place, truth: &Truth, through: u64) -> SlotReport {
        let frames = || self.slots[place].iter().filter(|frame| frame.sequence <= through);
        let open = |frame: &&Stored| {
            frame.sequence >= truth.position.sequence && !truth.above.contains(&frame.sequence)
        };
        let mut writers: BTreeMap<Name, WriterReport> = BTreeMap::new();
        for frame in frames() {
            let writer = writers.entry(frame.writer.clone()).or_insert(WriterReport {
                vertex: frame.writer.clone(),
                lowest: None,
                stamp: None,
            });
            writer.stamp = writer.stamp.max(frame.stamp);
            if open(&frame) {
                writer.lowest = Some(writer.lowest.map_or(frame.vote(), |lowest| lowest.min(frame.vote())));
            }
        }
        SlotReport {
            position: truth.position,
            through,
            frames: frames().filter(open).count() as u64,
            messages: frames().filter(open).map(|frame| frame.messages.len() as u64).sum(),
            writers: writers.into_values().collect(),
        }
    }

    /// Begins a report, or ends the one begun: what happened in between is in what was written and not in the input.
    pub(super) fn report(&mut self, at: usize, round: u32) {
        if let Some((heard, mut unit)) = self.owners[at].partial.take() {
            unit.written = self.owners[at].truth.written.clone().into_iter().collect();
            self.number += 1;
            let report = Report { heard, number: self.number, units: vec![unit] };
            if self.random.u8(..) < 220 {
                self.network.push((round + self.random.u32(0..12), report));
            }
            return;
        }
        let owner = &self.owners[at];
        let unit = self.unit_report(&owner.unit, owner, false);
        self.owners[at].partial = Some((self.owners[at].heard, unit));
    }

    pub(super) fn unit_report(&self, unit: &UnitId, owner: &Owner, everything: bool) -> UnitReport {
        let input = match unit.unit {
            Unit::Source(_) => Input::Source(SourceReport {
                latest: owner.latest.map(Time::from_millis),
                empty_at: owner.empty_at,
                stopped: self.stopping && owner.read == owner.truth.committed,
                outside: None,
            }),
            Unit::Slot(slot) => {
                let place = Place { vertex: unit.vertex.clone(), slot };
                let last = self.slots[&place].last().map_or(0, |frame| frame.sequence);
                let through = if everything { last } else { owner.through };
                Input::Slot(self.slot_report(&place, &owner.truth, through))
            }
        };
        UnitReport {
            unit: unit.clone(),
            epoch: Epoch(owner.truth.epoch),
            held: true,
            input,
            in_hand: (owner.read - owner.truth.committed) as u64,
            done: owner.done,
            rests_until: None,
            written: owner.truth.written.clone().into_iter().collect(),
        }
    }

    /// Reports everything from what is really there.
    pub(super) fn report_all(&mut self) {
        let mut units = Vec::new();
        for (unit, truth) in &self.units {
            let mut owner = self.owners.iter().find(|owner| owner.unit == *unit && self.owns(owner)).cloned();
            if let Some(owner) = &mut owner {
                owner.truth = truth.clone();
                units.push(self.unit_report(unit, owner, true));
            }
        }
        self.number += 1;
        let report = Report { heard: self.picture.number, number: self.number, units };
        self.keeper.hear(report, self.now());
    }

    pub(super) fn deliver(&mut self, round: u32) {
        let now = self.now();
        let mut at = 0;
        while at < self.network.len() {
            if self.network[at].0 <= round {
                let (_, report) = self.network.swap_remove(at);
                self.keeper.hear(report, now);
            } else {
                at += 1;
            }
        }
    }
}
