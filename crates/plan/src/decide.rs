//! The decision for a whole object: what should exist, what should go, and what to say about it. Its parts are decided by
//! [`lifecycle`](crate::lifecycle), [`rollout`](crate::rollout) and [`scale`](crate::scale); here they are put together.
//! Invariant: a shell that stores the memory of a plan before it acts on the plan may crash anywhere, look late and act
//! twice, and still ends where it would have ended.

mod progress;
mod vertex;

use std::collections::{BTreeMap, BTreeSet};

use api::resolve::{EdgeSettings, PipelineSettings, VertexKind, VertexSettings};
use api::revision::Revision;
use api::spec::OnFull;
use serde::{Deserialize, Serialize};

pub use progress::{Blocked, Obstacle, Progress};
pub use vertex::{Mode, RolloutLine, VertexMemory, VertexPlan, VertexWanted, vertex};

use crate::scale::Downstream;
use crate::seen::{Seen, WorkerName};
use crate::status::{Conditions, Status, Summary};
use crate::wanted::{Asked, Wanted};
use crate::{Event, Time, Waiting, lifecycle, seen, status};

/// All that should be so, and what to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Everything that should exist, in the order to make it; each piece may be made true again and again.
    pub ensure: Vec<Piece>,
    /// Workers that are seen and no longer wanted, with their vertices. They stop reading, finish what is in hand and go.
    pub retire: Vec<(String, WorkerName)>,
    /// What should be so and is not yet, with the reasons.
    pub waiting: Vec<Waiting>,
    /// What happened in this turn.
    pub events: Vec<Event>,
    /// What to hand in at the next turn. It is stored before anything else of the plan is done.
    pub memory: Memory,
    /// The status of the object.
    pub status: Status,
    /// The status of each vertex.
    pub vertices: BTreeMap<String, api::spec::status::VertexStatus>,
    /// What the object is doing, in a line.
    pub phase: Summary,
    /// When to decide again although nothing else is seen.
    pub look_again: Option<Time>,
    /// Figures for metrics.
    pub numbers: status::Numbers,
    /// What the drain waits for; nothing while the object runs.
    pub blocked: Vec<Blocked>,
}

/// Something that should be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Whether the units of a source vertex are to be owned by anybody; if not, they are released and sealed.
    Reading {
        /// The source vertex.
        vertex: String,
        /// Read, or seal.
        on: bool,
    },
    /// A worker that should exist.
    Worker {
        /// Its vertex.
        vertex: String,
        /// Which one.
        name: WorkerName,
    },
    /// How the units of a vertex are shared between versions, by weight. A version that is not in it owns nothing.
    Shares {
        /// The vertex.
        vertex: String,
        /// The weights.
        shares: BTreeMap<Revision, u32>,
    },
    /// Versions that must stay runnable.
    Keep {
        /// The vertex.
        vertex: String,
        /// The versions.
        revisions: BTreeSet<Revision>,
    },
    /// Everything is drained and no worker is left: the shape that waits takes over.
    Reshape,
    /// Everything is gone: forget the object.
    Forget,
}

/// All that must survive a restart of whoever decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Memory {
    /// The life of the object.
    pub lifecycle: lifecycle::Memory,
    /// Each vertex.
    pub vertices: BTreeMap<String, VertexMemory>,
    /// How the drain gets on.
    pub progress: Progress,
    /// The conditions of the object, for the times of their changes.
    pub conditions: Conditions,
}

/// The plan for an object.
pub fn decide(wanted: &Wanted<'_>, seen: &Seen, memory: &Memory, now: Time) -> Plan {
    let progress = memory.progress.next(wanted, seen, memory.lifecycle.is_reading(), now);
    let workers = seen.vertices.values().map(|vertex| vertex.workers.len()).sum();
    let left = progress.left();
    let drain = seen.drain.as_ref();
    let life = lifecycle::turn(&memory.lifecycle, &lifecycle::Input { wanted, drain, workers, left, now });
    let mut plan = Draft {
        ensure: Vec::new(),
        retire: Vec::new(),
        waiting: life.waiting,
        events: life.events,
        memory: Memory {
            lifecycle: life.memory,
            vertices: BTreeMap::new(),
            progress,
            conditions: memory.conditions.clone(),
        },
        vertices: BTreeMap::new(),
        rollouts: BTreeMap::new(),
        look_again: life.look_again,
    };
    if !plan.memory.lifecycle.is_reading() {
        plan.reading(wanted.settings, false);
    }
    // Those who read come before those who write, so that nothing is written that nobody is there to read.
    for settings in wanted.settings.vertices.iter().rev() {
        plan.vertex(wanted, settings, (seen, memory), now);
    }
    if plan.memory.lifecycle.is_reading() {
        plan.reading(wanted.settings, true);
    }
    plan.strangers(wanted.settings, seen);
    if life.reshape {
        plan.ensure.push(Piece::Reshape);
    }
    if life.forget {
        plan.ensure.push(Piece::Forget);
    }
    // With force nobody waits for the drain.
    let drains =
        !plan.memory.lifecycle.is_reading() && plan.memory.lifecycle.purpose != lifecycle::Purpose::DeleteNow;
    let blocked = if drains { progress::blocked(wanted, seen, &plan.memory, now) } else { Vec::new() };
    plan.waiting.extend(blocked.iter().map(Blocked::to_waiting));
    status::finish(plan, &status::About { wanted, seen, workers, blocked, now })
}

/// A plan without what is said about it as a whole.
pub(crate) struct Draft {
    pub(crate) ensure: Vec<Piece>,
    pub(crate) retire: Vec<(String, WorkerName)>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) events: Vec<Event>,
    pub(crate) memory: Memory,
    pub(crate) vertices: BTreeMap<String, api::spec::status::VertexStatus>,
    pub(crate) rollouts: BTreeMap<String, vertex::RolloutLine>,
    pub(crate) look_again: Option<Time>,
}

impl Draft {
    fn reading(&mut self, settings: &PipelineSettings, on: bool) {
        let sources = settings.vertices.iter().filter(|vertex| vertex.kind == VertexKind::Source);
        self.ensure.extend(sources.map(|vertex| Piece::Reading { vertex: vertex.name.clone(), on }));
    }

    fn vertex(
        &mut self,
        wanted: &Wanted<'_>,
        settings: &VertexSettings,
        (seen, memory): (&Seen, &Memory),
        now: Time,
    ) {
        let nothing = (seen::Vertex::default(), VertexMemory::default(), Asked::default());
        let name = settings.name.as_str();
        let looked = seen.vertices.get(name).unwrap_or(&nothing.0);
        let remembered = memory.vertices.get(name).unwrap_or(&nothing.1);
        let none = Revision::default();
        let input = VertexWanted {
            settings,
            lifecycle: &wanted.settings.lifecycle,
            generation: wanted.generation,
            revision: wanted.revisions.get(name).unwrap_or(&none),
            asked: wanted.asked.get(name).unwrap_or(&nothing.2),
            mode: self.mode(seen, name),
            downstream: &downstream(wanted.settings, seen, name, now),
        };
        let VertexPlan { ensure, retire, waiting, events, memory, status, rollout, look_again } =
            vertex::vertex(&input, looked, remembered, now);
        self.ensure.extend(ensure);
        self.retire.extend(retire.into_iter().map(|worker| (name.to_owned(), worker)));
        self.waiting.extend(waiting);
        self.events.extend(events);
        self.memory.vertices.insert(name.to_owned(), memory);
        self.vertices.insert(name.to_owned(), status);
        self.rollouts.insert(name.to_owned(), rollout);
        self.look_again = self.look_again.into_iter().chain(look_again).min();
    }

    fn mode(&self, seen: &Seen, name: &str) -> Mode {
        match self.memory.lifecycle.stage {
            lifecycle::Stage::Running => Mode::Run,
            lifecycle::Stage::Stopped => Mode::Stop,
            lifecycle::Stage::Draining => {
                let left = seen.drain.iter().flat_map(|drain| &drain.left);
                Mode::Drain { left: left.filter(|left| left.vertex == name).map(|left| left.messages).sum() }
            }
        }
    }

    /// Workers of vertices that the object does not have.
    fn strangers(&mut self, settings: &PipelineSettings, seen: &Seen) {
        let known: BTreeSet<&str> = settings.vertices.iter().map(|vertex| vertex.name.as_str()).collect();
        for (name, vertex) in seen.vertices.iter().filter(|(name, _)| !known.contains(name.as_str())) {
            self.retire.extend(vertex.workers.keys().map(|worker| (name.clone(), worker.clone())));
        }
    }
}

/// Every vertex that the output of this one reaches, with how full it is.
fn downstream(settings: &PipelineSettings, seen: &Seen, from: &str, now: Time) -> Vec<Downstream> {
    let mut found: BTreeMap<&str, bool> = BTreeMap::new();
    let mut next: Vec<(&EdgeSettings, bool)> =
        settings.edges.iter().filter(|edge| edge.from == from).map(|edge| (edge, true)).collect();
    let mut drops = BTreeSet::new();
    while let Some((edge, direct)) = next.pop() {
        if edge.on_full == OnFull::DiscardLatest {
            drops.insert(edge.to.as_str());
        }
        let known = found.get(edge.to.as_str()).copied();
        if known.is_some_and(|known| known || !direct) {
            continue;
        }
        found.insert(&edge.to, direct || known.unwrap_or(false));
        if known.is_none() {
            let further = settings.edges.iter().filter(|other| other.from == edge.to);
            next.extend(further.map(|other| (other, false)));
        }
    }
    let of = |(name, direct): (&str, bool)| {
        let settings = settings.vertices.iter().find(|vertex| vertex.name == name)?;
        let pending: u64 = seen.vertices.get(name)?.pending.as_ref()?.iter().sum();
        let room =
            settings.limits.buffer_usable_length().saturating_mul(u64::from(settings.partitions)).max(1);
        let used_percent = pending as f64 * 100.0 / room as f64;
        Some(Downstream {
            vertex: name.to_owned(),
            direct,
            drops: drops.contains(name),
            used_percent,
            at: now,
        })
    };
    found.into_iter().filter_map(of).collect()
}
