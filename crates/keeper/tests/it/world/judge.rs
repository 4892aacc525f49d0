//! Holds what the keeper says against what is really there. Invariant: nothing here changes the simulated pipeline.

use std::collections::BTreeSet;

use model::{Place, Time, Unit, UnitId};
use tidegate_keeper::Feed;

use super::World;

impl World {
    pub(super) fn pass(&mut self) {
        let now = self.now();
        let next = self.keeper.pass(now);
        for (vertex, picture) in &next.vertices {
            assert!(picture.watermark >= self.watermark(vertex), "seed {}: a watermark went back", self.seed);
        }
        if next.drained {
            assert!(self.stopping && self.is_empty(), "seed {}: drained with something inside", self.seed);
        }
        self.picture = next;
        if self.manner.atomic {
            self.assert_not_too_low();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let settled = |place: &Place| {
            let unit = UnitId { vertex: place.vertex.clone(), unit: Unit::Slot(place.slot) };
            let truth = &self.units[&unit];
            let open = self.unsettled(place, truth.position);
            open.iter().all(|frame| truth.above.contains(&frame.sequence))
        };
        let sources = self.owners.iter().filter(|owner| matches!(owner.unit.unit, Unit::Source(_)));
        self.slots.keys().all(settled)
            && sources.filter(|owner| self.owns(owner)).all(|owner| owner.read == owner.truth.committed)
    }

    /// With everything reported at one instant, a watermark is as late as what is there allows, however busy it is.
    pub(super) fn assert_not_too_low(&self) {
        for vertex in &self.graph.vertices {
            if matches!(vertex.feed, Feed::Source(_)) {
                continue;
            }
            let mut before = BTreeSet::from([vertex.name.clone()]);
            loop {
                let more = self
                    .graph
                    .edges
                    .iter()
                    .filter(|(_, to)| before.contains(to))
                    .map(|(from, _)| from.clone());
                let all: BTreeSet<_> = before.iter().cloned().chain(more).collect();
                if all == before {
                    break;
                }
                before = all;
            }
            let owned = self.units.keys().filter(|unit| before.contains(&unit.vertex));
            let all_owned = owned
                .clone()
                .all(|unit| self.owners.iter().any(|owner| owner.unit == *unit && self.owns(owner)));
            if !all_owned {
                continue;
            }
            let mut least = Time::MAX;
            for place in self.slots.keys().filter(|place| before.contains(&place.vertex)) {
                let unit = UnitId { vertex: place.vertex.clone(), unit: Unit::Slot(place.slot) };
                let truth = &self.units[&unit];
                for frame in self.unsettled(place, truth.position) {
                    if !truth.above.contains(&frame.sequence) {
                        least = least.min(frame.earliest());
                    }
                }
            }
            let mut known = true;
            for vertex in self.graph.vertices.iter().filter(|vertex| before.contains(&vertex.name)) {
                if matches!(vertex.feed, Feed::Source(_)) {
                    known &= self.watermark(&vertex.name).is_some();
                    least = least.min(self.watermark(&vertex.name).unwrap_or(Time::MIN));
                }
            }
            if known {
                let watermark = self.watermark(&vertex.name);
                assert!(
                    watermark >= Some(least),
                    "seed {}: {} is at {watermark:?}, not {least}",
                    self.seed,
                    vertex.name
                );
            }
        }
    }

    /// Once everything is done every watermark is the least of those before it.
    pub(crate) fn assert_caught_up(&self) {
        for vertex in &self.graph.vertices {
            let before: Vec<_> = self.graph.edges.iter().filter(|(_, to)| *to == vertex.name).collect();
            let least = before.iter().map(|(from, _)| self.watermark(from)).min();
            let own = self.watermark(&vertex.name);
            match least {
                // What the last owner never reported of its commits nobody knows.
                None => {
                    let units = self.units.iter().filter(|(unit, _)| unit.vertex == vertex.name);
                    let some = units.map(|(_, truth)| truth.committed).all(|committed| committed > 0);
                    assert!(own.is_none() || some || self.manner.idle, "seed {}", self.seed);
                }
                Some(least) => assert_eq!(own, least, "seed {}: {}", self.seed, vertex.name),
            }
        }
    }
}
