//! What each vertex is doing: pending, idle, progressing or stuck. Idle and stuck are different things: one has nothing to
//! do, the other has and does not get on. Invariant: a vertex is stuck only while some unit of it has work.

use std::collections::BTreeMap;

use model::{Name, Time, UnitId};

use crate::graph::Feed;
use crate::keeper::{Facts, Known, Settings};
use crate::picture::{Reason, State, VertexPicture};
use crate::report::Input;
use crate::watermark::Watermarks;

/// Looks at every vertex, those further down first, because a vertex can be stuck behind one of them.
pub(crate) fn vertices(
    facts: &Facts,
    settings: &Settings,
    watermarks: &Watermarks,
    now: Time,
) -> BTreeMap<Name, VertexPicture> {
    let mut pictures = BTreeMap::new();
    for vertex in facts.shape.components.iter().rev().flatten() {
        let (watermark, held_by) =
            if settings.watermark.enabled { watermarks.of(vertex) } else { (None, None) };
        let units: Vec<_> =
            facts.units_of(vertex).into_iter().map(|unit| (facts.units.get(&unit), unit)).collect();
        let source = matches!(facts.shape.vertices[vertex].feed, Feed::Source(_));
        let slots = || units.iter().filter_map(|(known, _)| known.and_then(Known::slot));
        let state = match standstill(facts, settings, &units, now) {
            Some((since, unit, reason)) => {
                let reason = blocked(facts, vertex, &pictures).filter(|_| commits(&reason)).unwrap_or(reason);
                State::Stuck { unit, since, reason }
            }
            None if units.iter().all(|(known, _)| known.is_some_and(idle)) => State::Idle,
            None => State::Progressing,
        };
        let picture = VertexPicture {
            watermark,
            held_by,
            pending: slots().map(|slot| slot.messages).sum(),
            outside: outside(&units).filter(|_| source),
            in_hand: units.iter().filter_map(|(known, _)| *known).map(|known| known.report.in_hand).sum(),
            state,
        };
        pictures.insert(vertex.clone(), picture);
    }
    pictures
}

/// The unit that has stood still for the longest time, if that is too long.
fn standstill(
    facts: &Facts,
    settings: &Settings,
    units: &[(Option<&Known>, UnitId)],
    now: Time,
) -> Option<(Time, UnitId, Reason)> {
    let begun = facts.begun.unwrap_or(now);
    let judge = |(known, unit): &(Option<&Known>, UnitId)| {
        let (since, reason) = match known {
            None => (begun, Reason::Silent),
            Some(known) => {
                (known.moved.max(known.report.rests_until.unwrap_or(Time::MIN)), why(known, settings, now)?)
            }
        };
        (now.since(since) >= settings.stuck_after).then(|| (since, unit.clone(), reason))
    };
    units.iter().filter_map(judge).min_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)))
}

/// Why a unit would be stuck if it stood still for long; none when it has nothing to do.
fn why(known: &Known, settings: &Settings, now: Time) -> Option<Reason> {
    let unpolled = known.source().is_some_and(|source| !source.stopped && !known.report.held);
    if !known.has_work() && !unpolled {
        return None;
    }
    Some(if now.since(known.came) >= settings.silent_after {
        Reason::Silent
    } else if !known.report.held {
        Reason::NoOwner
    } else if known.report.in_hand > 0 {
        Reason::InHand { messages: known.report.in_hand }
    } else {
        let messages = match &known.report.input {
            Input::Source(source) => source.outside.unwrap_or(0),
            Input::Slot(slot) => slot.messages,
        };
        Reason::Unread { messages }
    })
}

/// Whether what stands still could be waiting for room further down.
fn commits(reason: &Reason) -> bool {
    match reason {
        Reason::InHand { .. } | Reason::Unread { .. } => true,
        Reason::NoOwner | Reason::Silent | Reason::Behind { .. } => false,
    }
}

/// The vertex further down that stands in the way, if one does: the last in a row of stuck ones.
fn blocked(facts: &Facts, vertex: &Name, pictures: &BTreeMap<Name, VertexPicture>) -> Option<Reason> {
    let stuck = |below: &Name| match &pictures.get(below)?.state {
        State::Stuck { reason: Reason::Behind { vertex }, .. } => {
            Some(Reason::Behind { vertex: vertex.clone() })
        }
        State::Stuck { .. } => Some(Reason::Behind { vertex: below.clone() }),
        State::Idle | State::Progressing => None,
    };
    facts.shape.downstream[vertex].iter().find_map(stuck)
}

fn idle(known: &Known) -> bool {
    let polled = known
        .source()
        .is_none_or(|source| source.stopped || (known.report.held && source.empty_at.is_some()));
    polled && !known.has_work()
}

/// What waits outside, when every unit can tell.
fn outside(units: &[(Option<&Known>, UnitId)]) -> Option<u64> {
    units.iter().map(|(known, _)| known.and_then(Known::source).and_then(|source| source.outside)).sum()
}
