//! The watermark of every vertex from one set of reports: nothing that the vertex will still write is earlier, unless it
//! was late already.
//!
//! Why it holds. A unit's report is a point in the unit's own sequence of commits: what it shows as unsettled, and what
//! comes into its slot later, is all that anything written after that point can come from. So the watermark is the least
//! over what is unsettled, and for what is still to come over what its writers promise. A writer's promise is about
//! frames beyond the ones that its report says it has written; therefore it counts for a slot only if the slot's report
//! has looked at all of those. Otherwise frames that nobody has looked at may lie there, and all that is known of
//! them is the stamp of an earlier one. Nothing in this depends on when reports arrive, only on newer ones replacing older.
//!
//! A cycle is one component: its members share one watermark, which is the least over what comes in and what
//! circulates. A retry slot is a cycle of its vertex with itself.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::{Name, Place, Slot, Time, Unit, UnitId};

use crate::keeper::{Facts, Settings};
use crate::picture::{Hold, Why};
use crate::report::SlotReport;
use crate::{graph::Feed, graph::Shape, sources};

/// How many points of the past are remembered for retries that hold time back.
const HISTORY_POINTS: u32 = 32;

/// A lower bound of event times, and what makes it no higher. An unknown one is lowest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bound {
    pub(crate) time: Option<Time>,
    pub(crate) hold: Hold,
}

/// The watermarks of all vertices.
#[derive(Debug)]
pub(crate) struct Watermarks {
    published: BTreeMap<Name, (Option<Time>, Option<Hold>)>,
    /// For each component, what its watermark would have been without retries.
    histories: Vec<History>,
}

impl Watermarks {
    pub(crate) fn new(shape: &Shape) -> Self {
        let hold = |members: &Vec<Name>| {
            let holds = members.iter().map(|member| shape.vertices[member].hold_watermark);
            History { hold: holds.max().unwrap_or_default(), points: VecDeque::new() }
        };
        Self { published: BTreeMap::new(), histories: shape.components.iter().map(hold).collect() }
    }

    pub(crate) fn of(&self, vertex: &Name) -> (Option<Time>, Option<Hold>) {
        self.published.get(vertex).cloned().unwrap_or((None, None))
    }
}

/// One pass, in topological order.
pub(crate) fn pass(watermarks: &mut Watermarks, facts: &mut Facts, settings: &Settings, now: Time) {
    for place in 0..facts.shape.components.len() {
        let members = facts.shape.components[place].clone();
        let Some(raw) = component(watermarks, facts, settings, (place, &members), now) else { continue };
        for member in members {
            let entry = watermarks.published.entry(member).or_default();
            let time = raw.time.max(entry.0);
            assert!(time >= entry.0, "a watermark never goes back");
            *entry = (time, Some(silence(&raw.hold, facts, settings, now)));
        }
    }
}

/// The watermark of a component as the reports have it; none when nothing bounds it.
fn component(
    watermarks: &mut Watermarks,
    facts: &mut Facts,
    settings: &Settings,
    (place, members): (usize, &[Name]),
    now: Time,
) -> Option<Bound> {
    let mut rest: Option<Bound> = None;
    let mut retries: Option<Bound> = None;
    for member in members {
        let units = facts.units_of(member);
        if matches!(facts.shape.vertices[member].feed, Feed::Source(_)) {
            lower(&mut rest, sources::bound(facts, &units, &settings.watermark));
            continue;
        }
        for unit in units {
            let bound = slot(watermarks, facts, members, &unit);
            let retry = unit.unit == Unit::Slot(Slot::RETRY);
            lower(if retry { &mut retries } else { &mut rest }, bound);
        }
    }
    let rest = rest?;
    let history = &mut watermarks.histories[place];
    history.note(now, rest.time);
    let waived = history.at_least(now);
    Some(match retries {
        Some(retries) if retries < rest => Bound { time: retries.time.max(waived), hold: retries.hold },
        _ => rest,
    })
}

/// What bounds the outputs that come from one slot; none when nothing does, as for an empty retry slot.
fn slot(watermarks: &Watermarks, facts: &Facts, members: &[Name], unit: &UnitId) -> Option<Bound> {
    let Some((known, Unit::Slot(slot))) = facts.units.get(unit).map(|known| (known, unit.unit)) else {
        return Some(Bound { time: None, hold: Hold { unit: unit.clone(), why: Why::Unreported } });
    };
    let report = known.slot()?;
    let place = Place { vertex: unit.vertex.clone(), slot };
    let hold = |why| Hold { unit: unit.clone(), why };
    let mut least = None;
    for writer in &report.writers {
        if let Some(lowest) = writer.lowest {
            let why = Why::Waiting { writer: writer.vertex.clone() };
            lower(&mut least, Some(Bound { time: Some(lowest), hold: hold(why) }));
        }
    }
    let to_come = |writer: &Name| {
        if report.through < facts.written(writer, &place) {
            let why = Why::Unseen { writer: writer.clone() };
            return Some(Bound { time: stamp(report, writer), hold: hold(why) });
        }
        if members.contains(writer) {
            // What it will still write here comes from what is counted in its own slots.
            return None;
        }
        let (time, behind) = watermarks.of(writer);
        Some(Bound { time, hold: behind.unwrap_or_else(|| hold(Why::Unreported)) })
    };
    if slot == Slot::RETRY {
        lower(&mut least, to_come(&unit.vertex));
    } else {
        for writer in &facts.shape.upstream[&unit.vertex] {
            lower(&mut least, to_come(writer));
        }
    }
    least
}

fn stamp(report: &SlotReport, writer: &Name) -> Option<Time> {
    let writer = report.writers.iter().find(|candidate| candidate.vertex == *writer)?;
    writer.stamp.filter(|stamp| *stamp != Time::UNKNOWN)
}

fn lower(least: &mut Option<Bound>, candidate: Option<Bound>) {
    if let Some(candidate) = candidate
        && least.as_ref().is_none_or(|least| candidate < *least)
    {
        *least = Some(candidate);
    }
}

/// Says of a unit that has fallen silent that this is why time stands still.
fn silence(hold: &Hold, facts: &Facts, settings: &Settings, now: Time) -> Hold {
    let silent =
        facts.units.get(&hold.unit).is_some_and(|known| now.since(known.came) >= settings.silent_after);
    if silent { Hold { why: Why::Silent, ..hold.clone() } } else { hold.clone() }
}

/// What the watermark of a component would have been without retries, over the last while. A retry holds time back by no
/// more than that while: then it is late.
#[derive(Debug)]
struct History {
    hold: Duration,
    points: VecDeque<(Time, Time)>,
}

impl History {
    fn note(&mut self, now: Time, time: Option<Time>) {
        let Some(time) = time else { return };
        let apart = self.hold / HISTORY_POINTS;
        let last = self.points.back();
        if last.is_none_or(|(when, last)| time > *last && now.since(*when) >= apart) {
            self.points.push_back((now, time));
        }
        // The newest point that is old enough is the one that counts.
        while self.points.get(1).is_some_and(|(when, _)| now.since(*when) >= self.hold) {
            self.points.pop_front();
        }
    }

    fn at_least(&self, now: Time) -> Option<Time> {
        let (when, time) = self.points.front()?;
        (now.since(*when) >= self.hold).then_some(*time)
    }
}
