//! The keeper: what is known of every unit, and one pass over it. How time, activity and the drain verdict follow from it
//! is in the files beside this one. Invariant: of each unit only the newest report counts, and what a unit was once said
//! to have written is never forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use model::{Epoch, Name, Place, Time, Unit, UnitId};

use crate::drain::Drain;
use crate::graph::{Feed, Graph, Shape};
use crate::picture::Picture;
use crate::report::{Input, Report, SlotReport, SourceReport, UnitReport};
use crate::sources::Promise;
use crate::watermark::Watermarks;
use crate::{activity, drain, watermark};

/// What a keeper has to know beside the graph.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How event time is judged.
    pub watermark: api::resolve::Watermark,
    /// A unit of which nothing is heard for so long is silent.
    pub silent_after: Duration,
    /// Work that does not go on for so long is stuck.
    pub stuck_after: Duration,
}

/// The silence after which a unit is called silent.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(5);
/// The standstill after which work is called stuck: whoever looks shall hear of it within ten seconds, and reports and
/// passes take their time.
const STUCK_AFTER: Duration = Duration::from_secs(8);

impl Settings {
    /// The settings of a pipeline, with the usual limits of patience.
    pub fn new(watermark: api::resolve::Watermark) -> Self {
        Self { watermark, silent_after: SILENT_AFTER, stuck_after: STUCK_AFTER }
    }
}

/// A part of a report that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The unit.
    pub unit: UnitId,
    /// Why.
    pub because: IgnoredBecause,
}

/// Why a part of a report was passed over. The first two are ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredBecause {
    /// The unit has another owner already.
    LowerEpoch,
    /// A newer report of the same owner came before it.
    Older,
    /// The position or the epoch it gives lies before one that was reported as durable.
    Backwards,
    /// The pipeline has no such unit.
    Unknown,
}

/// What is known of one unit.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) report: UnitReport,
    pub(crate) number: u64,
    pub(crate) heard: u64,
    /// When it came, by the keeper's clock.
    pub(crate) came: Time,
    /// When the unit last moved or had nothing to do, by the keeper's clock.
    pub(crate) moved: Time,
    /// What a source's unit promises of what it will still write.
    pub(crate) promise: Promise,
}

impl Known {
    pub(crate) fn slot(&self) -> Option<&SlotReport> {
        match &self.report.input {
            Input::Slot(slot) => Some(slot),
            Input::Source(_) => None,
        }
    }

    pub(crate) fn source(&self) -> Option<&SourceReport> {
        match &self.report.input {
            Input::Source(source) => Some(source),
            Input::Slot(_) => None,
        }
    }

    /// There is something to do.
    pub(crate) fn has_work(&self) -> bool {
        let waiting = match &self.report.input {
            Input::Source(source) => !source.stopped && source.outside.unwrap_or(0) > 0,
            Input::Slot(slot) => slot.frames > 0,
        };
        waiting || self.report.in_hand > 0
    }

    /// Whether `report` shows that something was committed since.
    fn moved_by(&self, report: &UnitReport) -> bool {
        let mark = |report: &UnitReport| {
            let position = match &report.input {
                Input::Slot(slot) => Some(slot.position),
                Input::Source(_) => None,
            };
            (report.epoch, report.done, position)
        };
        mark(&self.report) != mark(report)
    }
}

/// Everything that is known of the units.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) shape: Shape,
    pub(crate) units: BTreeMap<UnitId, Known>,
    /// By writing vertex: the last sequence it is known to have written to a place.
    written: BTreeMap<Name, HashMap<Place, u64>>,
    /// When the first pass was.
    pub(crate) begun: Option<Time>,
}

impl Facts {
    pub(crate) fn written(&self, writer: &Name, place: &Place) -> u64 {
        self.written.get(writer).and_then(|places| places.get(place)).copied().unwrap_or(0)
    }

    /// The units that have a say: those that are meant to be, and source units beside them that have not stopped.
    pub(crate) fn units_of(&self, vertex: &Name) -> BTreeSet<UnitId> {
        let mut units: BTreeSet<UnitId> = self.shape.expected(vertex).into_iter().collect();
        if matches!(self.shape.vertices[vertex].feed, Feed::Source(_)) {
            let first = UnitId { vertex: vertex.clone(), unit: Unit::Source(0) };
            let known = self.units.range(first..).take_while(|(unit, _)| unit.vertex == *vertex);
            let running = known.filter(|(_, known)| known.source().is_some_and(|source| !source.stopped));
            units.extend(running.map(|(unit, _)| unit.clone()));
        }
        units
    }

    fn belongs(&self, report: &UnitReport) -> bool {
        let Some(vertex) = self.shape.vertices.get(&report.unit.vertex) else { return false };
        match (&vertex.feed, report.unit.unit, &report.input) {
            // Source units come and go.
            (Feed::Source(_), Unit::Source(_), Input::Source(_)) => true,
            (Feed::Slots(topology), Unit::Slot(slot), Input::Slot(_)) => {
                slot == model::Slot::RETRY || topology.slot(topology.number(slot)) == slot
            }
            _ => false,
        }
    }
}

/// Turns reports into pictures. Pure: it is told what time it is.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    facts: Facts,
    watermarks: Watermarks,
    drain: Drain,
    number: u64,
}

impl Keeper {
    /// A keeper that has heard nothing.
    ///
    /// # Panics
    /// When two vertices have the same name, or an edge leads to or from nowhere.
    pub fn new(graph: Graph, settings: Settings) -> Self {
        let shape = Shape::of(graph);
        let watermarks = Watermarks::new(&shape);
        let facts = Facts { shape, units: BTreeMap::new(), written: BTreeMap::new(), begun: None };
        Self { settings, facts, watermarks, drain: Drain::default(), number: 0 }
    }

    /// Says which units a source has. One that is no longer named has its say until it is reported to have stopped.
    ///
    /// # Panics
    /// When the pipeline has no such source.
    pub fn expect(&mut self, source: &Name, units: BTreeSet<u32>) {
        let vertex = self.facts.shape.vertices.get_mut(source).expect("the vertex is one of the graph");
        assert!(matches!(vertex.feed, Feed::Source(_)), "only the units of sources come and go");
        vertex.feed = Feed::Source(units);
    }

    /// From the next pass on event time is judged by these settings. What was published stays: a longer delay only keeps
    /// time from going on until it has caught up, and where watermarks are switched off time stands still.
    pub fn set_watermark(&mut self, watermark: api::resolve::Watermark) {
        self.settings.watermark = watermark;
    }

    /// Takes in a report. Gives what it passed over; the rest counts from the next pass on.
    pub fn hear(&mut self, report: Report, now: Time) -> Vec<Ignored> {
        let Report { heard, number, units } = report;
        let mut ignored = Vec::new();
        for unit in units {
            let id = unit.unit.clone();
            if let Some(because) = self.refuse(&unit, number) {
                ignored.push(Ignored { unit: id, because });
                continue;
            }
            let places = self.facts.written.entry(id.vertex.clone()).or_default();
            for (place, sequence) in &unit.written {
                let last = places.entry(place.clone()).or_default();
                *last = (*last).max(*sequence);
            }
            let before = self.facts.units.remove(&id);
            let moved = before.as_ref().filter(|known| known.has_work() && !known.moved_by(&unit));
            let mut known = Known {
                number,
                heard,
                came: now,
                moved: moved.map_or(now, |known| known.moved),
                promise: before.map_or_else(|| Promise::new(now), |known| known.promise),
                report: unit,
            };
            known.promise.hear(&known.report);
            self.facts.units.insert(id, known);
        }
        ignored
    }

    fn refuse(&self, report: &UnitReport, number: u64) -> Option<IgnoredBecause> {
        if !self.facts.belongs(report) {
            return Some(IgnoredBecause::Unknown);
        }
        let known = self.facts.units.get(&report.unit)?;
        if report.epoch < known.report.epoch {
            return Some(IgnoredBecause::LowerEpoch);
        }
        if report.epoch == known.report.epoch && number <= known.number {
            return Some(IgnoredBecause::Older);
        }
        let position = |report: &UnitReport| match &report.input {
            Input::Slot(slot) => slot.position,
            Input::Source(_) => model::Position::default(),
        };
        (position(report) < position(&known.report)).then_some(IgnoredBecause::Backwards)
    }

    /// One pass over everything that was heard. Watermarks in it may be published as soon as it returns.
    pub fn pass(&mut self, now: Time) -> Picture {
        self.number += 1;
        self.facts.begun.get_or_insert(now);
        let Self { settings, facts, watermarks, drain, number } = self;
        if settings.watermark.enabled {
            watermark::pass(watermarks, facts, settings, now);
        }
        let vertices = activity::vertices(facts, settings, watermarks, now);
        let drained = drain.pass(drain::look(facts), facts, *number);
        Picture { number: *number, vertices, drained }
    }

    /// The highest epoch that was heard of.
    pub fn highest_epoch(&self) -> Epoch {
        self.facts.units.values().map(|known| known.report.epoch).max().unwrap_or_default()
    }
}
