//! Reports and graphs made by hand, with everything at its simplest unless a test says otherwise.

use std::time::Duration;

use model::{Epoch, Name, Place, Position, Slot, Time, Topology, Unit, UnitId};
use tidegate_keeper::{
    Feed, Graph, Input, Keeper, Report, Settings, SlotReport, SourceReport, UnitReport, Vertex, WriterReport,
};

pub(crate) const SLOT: Slot = Slot { partition: 0, number: 0 };

pub(crate) fn at(millis: i64) -> Time {
    Time::from_millis(millis)
}

/// `in` with one unit writes to `out` with one slot.
pub(crate) fn keeper(watermark: api::resolve::Watermark) -> Keeper {
    let vertex =
        |name: &str, feed| Vertex { name: Name::new(name), feed, hold_watermark: Duration::from_mins(1) };
    let graph = Graph {
        vertices: vec![
            vertex("in", Feed::Source([0].into())),
            vertex("out", Feed::Slots(Topology { partitions: 1, slots_per_partition: 1 })),
        ],
        edges: vec![(Name::new("in"), Name::new("out"))],
    };
    Keeper::new(graph, Settings::new(watermark))
}

pub(crate) fn plain() -> api::resolve::Watermark {
    api::resolve::Watermark { enabled: true, max_delay: Duration::from_millis(10), idle: None }
}

pub(crate) fn unit(vertex: &str, unit: Unit) -> UnitId {
    UnitId { vertex: Name::new(vertex), unit }
}

pub(crate) fn place(slot: Slot) -> Place {
    Place { vertex: Name::new("out"), slot }
}

/// A running source unit that has committed up to `latest`, has nothing in hand and is not idle.
pub(crate) fn source(number: u32, latest: Option<i64>) -> UnitReport {
    UnitReport {
        unit: unit("in", Unit::Source(number)),
        epoch: Epoch(1),
        held: true,
        input: Input::Source(SourceReport { latest: latest.map(at), ..SourceReport::default() }),
        in_hand: 0,
        done: 0,
        rests_until: None,
        written: Vec::new(),
    }
}

/// A running slot of `out` that is empty and has settled everything before `sequence`.
pub(crate) fn slot(slot: Slot, sequence: u64) -> UnitReport {
    UnitReport {
        unit: unit("out", Unit::Slot(slot)),
        input: Input::Slot(SlotReport {
            position: Position { sequence, index: 0 },
            through: sequence.saturating_sub(1),
            frames: 0,
            messages: 0,
            writers: Vec::new(),
        }),
        ..source(0, None)
    }
}

/// One frame with one message in a slot that was looked at up to `through`.
pub(crate) fn lies(mut report: UnitReport, writer: &str, (lowest, through): (i64, u64)) -> UnitReport {
    let Input::Slot(input) = &mut report.input else { panic!("a slot") };
    input.through = through;
    input.frames = 1;
    input.messages = 1;
    input.writers = vec![WriterReport { vertex: Name::new(writer), lowest: Some(at(lowest)), stamp: None }];
    report
}

pub(crate) fn source_input(report: &mut UnitReport) -> &mut SourceReport {
    let Input::Source(input) = &mut report.input else { panic!("a source") };
    input
}

/// Tells the keeper everything in one report that comes at `time`, whose number is that time.
pub(crate) fn tell(keeper: &mut Keeper, time: i64, units: Vec<UnitReport>) {
    let report = Report { heard: 0, number: time as u64, units };
    assert_eq!(keeper.hear(report, at(time)), []);
}
