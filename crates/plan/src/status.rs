//! What is said about an object and its vertices: the reference's status, our fields beside it, a line for people and figures
//! for metrics. Nothing is decided here. Invariant: the same state gives the same status, down to the times in it, so a
//! shell writes a status only when something changed.

mod conditions;
mod summary;
mod vertex;

use std::collections::BTreeMap;
use std::time::Duration;

use api::resolve::{PipelineSettings, VertexKind};
use api::spec::Phase;
use api::spec::status::{
    Activity, ActivityState, Drain, DrainVerdict, DrainWindow, DrainWindowState, MonoVertexStatus,
    PipelineStatus, Remaining, VertexStatus,
};
use api::spec::stock;
use serde::Serialize;

pub use conditions::Conditions;
pub use summary::Summary;
pub(crate) use vertex::vertex;

use crate::decide::{Blocked, Draft, Plan};
use crate::lifecycle::{Purpose, Stage};
use crate::said::thousands;
use crate::seen::{self, Left, Seen};
use crate::wanted::Wanted;
use crate::{Time, lifecycle};

/// The status of an object, in the form of its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Status {
    /// Of a pipeline.
    Pipeline(Box<PipelineStatus>),
    /// Of a mono vertex.
    MonoVertex(Box<MonoVertexStatus>),
}

/// Figures for metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// The phase as the reference counts it: 0 unknown, 1 running, 2 paused, 3 failed, 4 pausing, 5 deleting.
    pub phase: u8,
    /// Whether each vertex has work that does not go on.
    pub stuck: BTreeMap<String, bool>,
    /// What is left to drain in each partition; empty while the object runs.
    pub drain_left: Vec<Left>,
    /// How long the drain takes at its present pace.
    pub drain_estimate: Option<Duration>,
    /// Whether everything was found drained; none while the object runs.
    pub drained: Option<bool>,
}

/// What the status is made from beside the plan.
pub(crate) struct About<'a> {
    pub(crate) wanted: &'a Wanted<'a>,
    pub(crate) seen: &'a Seen,
    pub(crate) workers: usize,
    pub(crate) blocked: Vec<Blocked>,
    pub(crate) now: Time,
}

impl Status {
    /// The phase of the object.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Pipeline(status) => status.phase.unwrap_or_default(),
            Self::MonoVertex(status) => status.vertex.phase,
        }
    }

    /// Whether the pause found everything drained.
    pub fn drained_on_pause(&self) -> Option<bool> {
        match self {
            Self::Pipeline(status) => status.drained_on_pause,
            Self::MonoVertex(status) => status.drained_on_pause,
        }
    }

    /// How far the drain has come.
    pub fn drain(&self) -> Option<&Drain> {
        match self {
            Self::Pipeline(status) => status.drain.as_ref(),
            Self::MonoVertex(status) => status.drain.as_ref(),
        }
    }
}

/// A moment as Kubernetes writes it.
pub fn stock_time(time: Time) -> stock::Time {
    stock::Time(jiff::Timestamp::from_millisecond(time.millis()).unwrap_or_default())
}

/// Whether the settings are those of a mono vertex: a pipeline has edges.
pub(crate) fn is_mono(settings: &PipelineSettings) -> bool {
    settings.edges.is_empty()
}

/// The plan with everything that is said about the object.
pub(crate) fn finish(draft: Draft, about: &About<'_>) -> Plan {
    let Draft { ensure, retire, waiting, events, mut memory, vertices, rollouts, look_again } = draft;
    let life = memory.lifecycle.clone();
    let phase = phase(&life, about);
    let summary = summary::summary(&life, phase, &memory.progress, about, &rollouts);
    let activity = activity(about.seen);
    conditions::of_object(&mut memory.conditions, about, &life, &activity);
    let drain = drain(&life, &memory.progress, about);
    let changed = [life.since, life.verdict.map_or(life.since, |verdict| verdict.at)];
    let changed = memory.conditions.changed().into_iter().chain(changed).max().unwrap_or_default();
    let drained_on_pause = (life.number > 0).then_some(life.verdict.is_some());
    let message = memory.conditions.degraded().or_else(|| said(&life, phase, &summary, about));
    let numbers = Numbers {
        phase: code(phase),
        stuck: stuck(about),
        drain_left: left(about),
        drain_estimate: memory.progress.estimate().filter(|_| !life.is_reading()),
        drained: (!life.is_reading()).then_some(life.verdict.is_some()),
    };
    let generation = i64::try_from(about.wanted.generation).ok();
    let status = if is_mono(about.wanted.settings) {
        let own = vertices.values().next().cloned().unwrap_or_default();
        Status::MonoVertex(Box::new(MonoVertexStatus {
            vertex: VertexStatus {
                phase,
                conditions: memory.conditions.to_stock(about.wanted.generation),
                message,
                activity: Some(activity),
                ..own
            },
            last_updated: Some(stock_time(changed)),
            drained_on_pause,
            drain,
        }))
    } else {
        let mut status = counts(about.wanted.settings);
        status.conditions = memory.conditions.to_stock(about.wanted.generation);
        (status.phase, status.message) = (Some(phase), message);
        status.last_updated = Some(stock_time(changed));
        status.observed_generation = generation;
        (status.drained_on_pause, status.drain, status.activity) = (drained_on_pause, drain, Some(activity));
        Status::Pipeline(Box::new(status))
    };
    Plan {
        ensure,
        retire,
        waiting,
        events,
        memory,
        status,
        vertices,
        phase: summary,
        look_again,
        numbers,
        blocked: about.blocked.clone(),
    }
}

fn phase(life: &lifecycle::Memory, about: &About<'_>) -> Phase {
    let grace = about.wanted.settings.lifecycle.pause_grace;
    match life.purpose {
        Purpose::Run => Phase::Running,
        Purpose::Pause if life.is_settled(about.workers, grace, about.now) => Phase::Paused,
        Purpose::Pause | Purpose::Reshape => Phase::Pausing,
        Purpose::Delete | Purpose::DeleteNow => Phase::Deleting,
    }
}

fn code(phase: Phase) -> u8 {
    match phase {
        Phase::Unset => 0,
        Phase::Running => 1,
        Phase::Paused => 2,
        Phase::Failed => 3,
        Phase::Pausing => 4,
        Phase::Deleting => 5,
    }
}

fn said(life: &lifecycle::Memory, phase: Phase, summary: &Summary, about: &About<'_>) -> Option<String> {
    let ordinary = life.purpose == Purpose::Run && matches!(summary, Summary::Running);
    if phase == Phase::Unset || ordinary {
        return None;
    }
    let places = if life.verdict.is_some() { Vec::new() } else { places(&about.blocked) };
    let colon = if places.is_empty() { "" } else { ": " };
    Some(format!("{summary}{colon}{}", places.join(", ")))
}

/// How much of what is left lies where.
fn places(blocked: &[Blocked]) -> Vec<String> {
    let of = |Blocked { vertex, partition, messages, .. }: &Blocked| {
        let messages = thousands(*messages);
        match partition {
            Some(partition) => format!("{messages} in partition {partition} of vertex {vertex}"),
            None => format!("{messages} in the hands of vertex {vertex}"),
        }
    };
    blocked.iter().filter(|blocked| blocked.messages > 0).map(of).collect()
}

fn counts(settings: &PipelineSettings) -> PipelineStatus {
    let count = |kinds: &[VertexKind]| {
        u32::try_from(settings.vertices.iter().filter(|vertex| kinds.contains(&vertex.kind)).count()).ok()
    };
    PipelineStatus {
        vertex_count: count(&[VertexKind::Source, VertexKind::Map, VertexKind::Reduce, VertexKind::Sink]),
        source_count: count(&[VertexKind::Source]),
        sink_count: count(&[VertexKind::Sink]),
        udf_count: count(&[VertexKind::Map, VertexKind::Reduce]),
        map_udf_count: count(&[VertexKind::Map]),
        reduce_udf_count: count(&[VertexKind::Reduce]),
        ..PipelineStatus::default()
    }
}

/// What the vertices do, taken together: the first that is stuck, or else whether any gets on.
fn activity(seen: &Seen) -> Activity {
    let stuck = seen.vertices.iter().find_map(|(name, vertex)| match &vertex.activity {
        seen::Activity::Stuck { since, reason } => Some((name, since, reason)),
        seen::Activity::Unknown | seen::Activity::Idle | seen::Activity::Progressing => None,
    });
    if let Some((name, since, reason)) = stuck {
        return Activity {
            state: ActivityState::Stuck,
            reason: Some(format!("vertex {name}: {reason}")),
            since: Some(stock_time(*since)),
        };
    }
    let gets_on = seen.vertices.values().any(|vertex| vertex.activity == seen::Activity::Progressing);
    let state = if gets_on { ActivityState::Progressing } else { ActivityState::Idle };
    Activity { state, reason: None, since: None }
}

fn stuck(about: &About<'_>) -> BTreeMap<String, bool> {
    let is_stuck = |name: &str| {
        let seen = about.seen.vertices.get(name);
        let by_activity = seen.is_some_and(|seen| matches!(seen.activity, seen::Activity::Stuck { .. }));
        by_activity
            || about.blocked.iter().any(|blocked| blocked.vertex == name && blocked.obstacle.is_some())
    };
    let vertices = about.wanted.settings.vertices.iter();
    vertices.map(|vertex| (vertex.name.clone(), is_stuck(&vertex.name))).collect()
}

fn left(about: &About<'_>) -> Vec<Left> {
    let of = |blocked: &Blocked| {
        let (vertex, messages) = (blocked.vertex.clone(), blocked.messages);
        blocked.partition.map(|partition| Left { vertex, partition, messages })
    };
    about.blocked.iter().filter_map(of).collect()
}

/// The drain, while the object does not run.
fn drain(life: &lifecycle::Memory, progress: &crate::decide::Progress, about: &About<'_>) -> Option<Drain> {
    if life.is_reading() {
        return None;
    }
    let of = |blocked: &Blocked| Remaining {
        vertex: blocked.vertex.clone(),
        partition: blocked.partition,
        messages: blocked.messages,
        reason: blocked.obstacle.as_ref().map(|obstacle| obstacle.reason),
        message: blocked.obstacle.as_ref().map(|obstacle| obstacle.message.clone()),
    };
    let verdict = match life.verdict {
        Some(_) => DrainVerdict::Drained,
        None if life.stage == Stage::Stopped => DrainVerdict::CutOff,
        None => DrainVerdict::Draining,
    };
    let checkpointed = life.verdict.map_or(0, |verdict| verdict.windows_checkpointed);
    let reduce = about.wanted.settings.vertices.iter().find(|vertex| vertex.kind == VertexKind::Reduce);
    let windows = reduce.filter(|_| checkpointed > 0).map(|vertex| DrainWindow {
        vertex: vertex.name.clone(),
        partition: 0,
        count: checkpointed,
        state: DrainWindowState::Checkpointed,
    });
    let drained = life.verdict.is_some();
    Some(Drain {
        since: Some(stock_time(life.since)),
        deadline: life.deadline(about.wanted.settings.lifecycle.pause_grace).map(stock_time),
        remaining: if drained { 0 } else { progress.left().unwrap_or(0) },
        vertices: about.blocked.iter().map(of).collect(),
        estimate_seconds: progress.estimate().filter(|_| !drained).map(|estimate| estimate.as_secs()),
        verdict,
        drained_at: life.verdict.map(|verdict| stock_time(verdict.at)),
        windows: windows.into_iter().collect(),
    })
}
