//! What the engine shows of an object: the plain values that plans are decided from. Nothing is decided here, and
//! nothing is asked of anybody: it is what the last turn found.

use std::collections::BTreeMap;

use api::resolve::VertexKind;
use keeper::{Hold, Picture, Reason, State, Why};
use model::Time as EventTime;
use model::door::buffer::Survey;
use plan::Time;
use plan::seen::{Activity, Drain, Left, Seen, Signals, Vertex, Worker as SeenWorker, WorkerName};
use worker::Hand;

use super::Engine;
use super::crew::{Crew, Worker};
use super::probe::{Health, Watched};
use crate::local::process;
use crate::view::Container;

impl Engine {
    /// What the last turn found.
    pub fn seen(&mut self) -> Seen {
        let drain = self.drain_seen();
        let is_known = self.adoption.is_none();
        let Self { crews, picture, keeping, .. } = self;
        let survey = keeping.survey();
        let vertices = crews.iter_mut().map(|(name, crew)| {
            let holds = |worker: &Worker| {
                worker.shown.life().map_or(0, |life| {
                    if keeping.is_gone(&crew.name, life.incarnation) {
                        // Whatever it said last, others have it.
                        return 0;
                    }
                    let held = life.handle.report().len() as u32;
                    // What was given and not claimed yet shows nowhere else.
                    held.max(u32::from(!keeping.is_clear(&crew.name, life.incarnation)))
                })
            };
            let workers = crew.workers.iter().map(|(name, worker)| {
                let (state, since) = (worker.state.clone(), worker.since);
                let restarts = worker.shown.restarts();
                (name.clone(), SeenWorker { state, since, holds: holds(worker), restarts })
            });
            let workers = workers.collect();
            let settled = is_known && !crew.is_asked && keeping.is_settled(&crew.name);
            (name.clone(), vertex(crew, picture, survey, (workers, settled)))
        });
        Seen { vertices: vertices.collect(), drain: Some(drain) }
    }

    /// The user containers of a worker that are processes; none when there is no such worker.
    pub fn containers(&self, vertex: &str, name: &WorkerName) -> Vec<Container> {
        let worker = self.crews.get(vertex).and_then(|crew| crew.workers.get(name));
        worker.map(|worker| worker.shown.containers().iter().map(container).collect()).unwrap_or_default()
    }

    /// Whether everything that was asked of a vertex is so.
    fn is_settled(&self, crew: &Crew) -> bool {
        !crew.is_asked && self.keeping.is_settled(&crew.name)
    }

    fn drain_seen(&self) -> Drain {
        let mut sources = self.crews.values().filter(|crew| crew.kind == VertexKind::Source);
        let sources_stopped =
            self.adoption.is_none() && sources.all(|crew| !crew.reads && self.is_settled(crew));
        let left = left(self.keeping.survey());
        let drained = sources_stopped && self.picture.drained;
        Drain { sources_stopped, drained, left, ..Drain::default() }
    }
}

fn container(watched: &Watched) -> Container {
    let status = watched.process.status.borrow().clone();
    let (state, reason, process) = match status.state {
        process::State::Waiting => ("Waiting", None, None),
        process::State::Running { pid } => match watched.health() {
            Health::Ready => ("Running", None, Some(pid)),
            Health::Starting => ("Running", Some("it has not answered yet".to_owned()), Some(pid)),
            Health::Failing(reason) => ("Running", Some(reason), Some(pid)),
        },
        process::State::BackOff { wait, exit } => {
            ("BackOff", Some(format!("it {exit}; it is started again after {wait:?}")), None)
        }
        process::State::Stopped => ("Stopped", None, None),
    };
    Container {
        name: watched.process.name.container.clone(),
        state: state.to_owned(),
        reason,
        process,
        restarts: status.restarts,
        log: Some(watched.process.log.display().to_string()),
    }
}

/// What is not settled, by vertex and partition.
pub(super) fn left(survey: &Survey) -> Vec<Left> {
    let mut left: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for slot in survey.slots.iter().filter(|slot| slot.level.messages > 0) {
        let place = &slot.level.place;
        *left.entry((&place.vertex, u32::from(place.slot.partition))).or_default() += slot.level.messages;
    }
    let left = left.into_iter();
    left.map(|((vertex, partition), messages)| Left { vertex: vertex.to_owned(), partition, messages })
        .collect()
}

fn vertex(
    crew: &mut Crew,
    picture: &Picture,
    survey: &Survey,
    (workers, settled): (BTreeMap<WorkerName, SeenWorker>, bool),
) -> Vertex {
    let found = picture.vertices.get(&crew.name);
    let pending = if crew.kind == VertexKind::Source {
        found.and_then(|found| found.outside).map(|outside| vec![outside])
    } else {
        Some(pending(survey, &crew.name))
    };
    let signals = crew.signals();
    Vertex {
        workers,
        settled,
        pending,
        in_hand: found.map_or(0, |found| found.in_hand),
        // Queries of the analysis are asked by whoever asks for plans.
        queries: BTreeMap::new(),
        activity: found.map_or(Activity::Unknown, |found| activity(&found.state)),
        processed: crew.totals(&signals).done,
        signals,
    }
}

/// Messages in each partition; those that wait to be tried again count in the first.
pub(super) fn pending(survey: &Survey, vertex: &str) -> Vec<u64> {
    let mut pending = Vec::new();
    for slot in survey.slots.iter().filter(|slot| slot.level.place.vertex == vertex) {
        let partition = usize::from(slot.level.place.slot.partition);
        if pending.len() <= partition {
            pending.resize(partition + 1, 0);
        }
        pending[partition] += slot.level.messages;
    }
    pending
}

fn activity(state: &State) -> Activity {
    match state {
        State::Idle => Activity::Idle,
        State::Progressing => Activity::Progressing,
        State::Stuck { unit, since, reason } => {
            let why = match reason {
                Reason::NoOwner => format!("{unit} has work and no worker"),
                Reason::Silent => format!("nothing is heard of {unit}"),
                Reason::Behind { vertex } => format!("{unit} waits for room: vertex {vertex} is stuck"),
                Reason::InHand { messages } => format!(
                    "{unit}: {messages} messages were read and do not get done; user code hangs or fails, or a sink \
                     refuses them"
                ),
                Reason::Unread { messages } => format!("{unit}: {messages} messages wait and are not read"),
            };
            Activity::Stuck { since: wall(*since), reason: why }
        }
    }
}

/// What holds a watermark back, in a sentence.
pub(in crate::local) fn held_by(hold: &Hold) -> String {
    let unit = &hold.unit;
    match &hold.why {
        Why::Unreported => format!("{unit} was never heard of"),
        Why::Silent => format!("{unit} has not been heard of for a while"),
        Why::NothingRead => format!("{unit} has read nothing yet"),
        Why::Latest => {
            format!("{unit} may still read messages as late as the largest event time less the allowed delay")
        }
        Why::Idle => format!("{unit} is idle"),
        Why::Waiting { writer } => format!("messages that {writer} wrote wait in {unit}"),
        Why::Unseen { writer } => format!("{writer} has written to {unit} what nobody has looked at"),
    }
}

fn wall(time: EventTime) -> Time {
    Time::from_millis(time.millis())
}

/// What a life of a worker has done.
pub(super) fn signals(handle: &dyn Hand) -> Signals {
    let signals = handle.signals();
    Signals {
        frames: signals.frames_read,
        read: signals.read,
        done: signals.done,
        written: signals.written,
        errors: signals.user_code_errors.saturating_add(signals.write_errors),
        dropped_by_user_code: signals.user_code_drops,
        dropped: signals.platform_drops,
        nacks: signals.nacks,
        latency_nanos: signals.latency.nanos,
        batches: signals.latency.count(),
    }
}

pub(super) fn add(sum: &mut Signals, more: &Signals) {
    let Signals {
        frames,
        read,
        done,
        written,
        errors,
        dropped_by_user_code,
        dropped,
        nacks,
        latency_nanos,
        batches,
    } = more;
    for (sum, more) in [
        (&mut sum.frames, frames),
        (&mut sum.read, read),
        (&mut sum.done, done),
        (&mut sum.written, written),
        (&mut sum.errors, errors),
        (&mut sum.dropped_by_user_code, dropped_by_user_code),
        (&mut sum.dropped, dropped),
        (&mut sum.nacks, nacks),
        (&mut sum.latency_nanos, latency_nanos),
        (&mut sum.batches, batches),
    ] {
        *sum = sum.saturating_add(*more);
    }
}
