//! What a seed decides beforehand: how large everything is, how user code answers, and what goes wrong.

use std::time::Duration;

use model::door::buffer::VertexSettings;
use model::{Name, Slot, Topology, Unit, UnitId};

use crate::sim::cluster::Broken;
use crate::sim::faults::{Faults, between};

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) hosts: usize,
    pub(crate) sources: u32,
    /// Inputs of each source unit.
    pub(crate) inputs: u32,
    pub(crate) map: Topology,
    pub(crate) sink: Topology,
    /// Messages that may lie in one partition.
    pub(crate) messages_max: u64,
    /// Of a hundred: how often user code sends back, sends round, drops, and how often an output may be left out.
    pub(crate) nack: u32,
    pub(crate) cycle: u32,
    pub(crate) drop: u32,
    pub(crate) discard: u32,
    /// Whether the source writes to a sink as well, so that two vertices meet there.
    pub(crate) join: bool,
    /// Of a hundred: how often a commit is given up.
    pub(crate) abandon: u32,
    pub(crate) faults: Faults,
    pub(crate) trouble: Trouble,
    /// How long everything goes wrong.
    pub(crate) chaos: Duration,
    pub(crate) message_bytes_max: usize,
    pub(crate) broken: Option<Broken>,
    /// Whether one sink stands still until everything else has come to rest, so that something is left to be counted.
    pub(crate) rests: bool,
}

/// What happens in a life; the numbers are weights.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) graceful: u32,
    pub(crate) hard: u32,
    pub(crate) twice: u32,
    pub(crate) stale: u32,
    pub(crate) kill: u32,
    pub(crate) suspend: u32,
    pub(crate) cut_off: u32,
    pub(crate) leader: u32,
    pub(crate) space: u32,
    /// A stream loses its last messages.
    pub(crate) rewind: u32,
    /// A stream is deleted and made again.
    pub(crate) recreate: u32,
}

impl Plan {
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x05ee_d01a);
        let rng = &mut rng;
        let topology = |rng: &mut fastrand::Rng| Topology {
            partitions: rng.u16(1..=2),
            slots_per_partition: rng.u16(1..=2),
        };
        let (map, sink) = (topology(rng), topology(rng));
        let often = |rng: &mut fastrand::Rng, percent: u32| if rng.bool() { 0 } else { rng.u32(1..=percent) };
        let weight = |rng: &mut fastrand::Rng| rng.u32(..5);
        let trouble = Trouble {
            graceful: weight(rng),
            hard: weight(rng),
            twice: weight(rng),
            stale: weight(rng),
            kill: weight(rng),
            suspend: weight(rng),
            cut_off: weight(rng) / 2,
            leader: weight(rng),
            space: weight(rng) / 3,
            rewind: 0,
            recreate: 0,
        };
        Self {
            hosts: rng.usize(2..=4),
            sources: rng.u32(1..=2),
            inputs: rng.u32(5..=30),
            map,
            sink,
            messages_max: if rng.bool() { rng.u64(4..=10) } else { rng.u64(10..=60) },
            nack: often(rng, 40),
            cycle: often(rng, 40),
            drop: often(rng, 20),
            discard: if rng.u32(..4) == 0 { 20 } else { 0 },
            join: rng.bool(),
            abandon: often(rng, 15),
            faults: if rng.u32(..6) == 0 { Faults::CALM } else { Faults::drawn(rng) },
            trouble,
            chaos: Duration::from_millis(300) + between(rng, Duration::from_secs(4)),
            message_bytes_max: if rng.bool() { 64 << 10 } else { 8 << 10 },
            broken: None,
            rests: rng.u32(..4) == 0,
        }
    }

    /// The same with streams that lose their last messages.
    pub(crate) fn with_rewound_streams(self) -> Self {
        Self { trouble: Trouble { rewind: 1, ..self.trouble }, ..self }
    }

    /// The same with little room and much that is sent back, again and again.
    pub(crate) fn with_full_retry_slots(self) -> Self {
        let map = Topology { partitions: 1, ..self.map };
        Self { map, nack: 70, cycle: 0, messages_max: 4, inputs: 30, ..self }
    }

    /// The same on a broker that breaks a rule.
    pub(crate) fn on_broken(self, broken: Broken) -> Self {
        Self { broken: Some(broken), ..self }
    }

    /// The same with streams that are deleted and made again.
    pub(crate) fn with_streams_made_again(self) -> Self {
        Self { trouble: Trouble { recreate: 1, ..self.trouble }, ..self }
    }

    pub(crate) fn vertices(&self) -> Vec<VertexSettings> {
        let vertex = |name: &str, topology, writers| VertexSettings {
            name: Name::new(name),
            topology,
            writers,
            messages_max: self.messages_max,
            bytes_max: 1 << 30,
        };
        vec![
            vertex("in", Topology { partitions: 1, slots_per_partition: 1 }, 0),
            vertex("map", self.map, 1),
            vertex("out", self.sink, 1 + u16::from(self.join)),
            vertex("side", self.sink, 1),
        ]
    }

    /// All units that have work.
    pub(crate) fn units(&self) -> Vec<UnitId> {
        let unit = |vertex: &str, unit| UnitId { vertex: Name::new(vertex), unit };
        let mut units: Vec<_> = (0..self.sources).map(|number| unit("in", Unit::Source(number))).collect();
        for (vertex, topology) in [("map", self.map), ("out", self.sink), ("side", self.sink)] {
            let slots = (0..u64::from(topology.slots())).map(|number| Unit::Slot(topology.slot(number)));
            units.extend(slots.map(|slot| unit(vertex, slot)));
        }
        units.push(unit("map", Unit::Slot(Slot::RETRY)));
        units
    }
}
