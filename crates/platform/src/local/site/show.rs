//! What a site shows of an object, put together after each turn of its loop so that looking costs nobody anything.
//! Nothing is decided here. Invariant: everything in one view is of one turn.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::resolve::PipelineSettings;
use api::spec::status::{Revision as RevisionEntry, Rollout, RolloutKind, VertexStatus};
use keeper::Picture;
use plan::seen::{Activity, Seen, WorkerState};
use plan::{Piece, Plan, Time, why};
use serde_json::{Value, json};

use super::material::Material;
use super::record::Record;
use super::runner::now;
use crate::local::engine::{Engine, Object as EngineObject, held_by};
use crate::local::snapshot::{self, Snapshot};
use crate::view::{Finding, History, HistoryEntry, Incident, Object, Revision, Vertex, Worker};

mod metrics;

pub(super) use metrics::metrics;

/// Why writing to a string needs no answer.
const WRITABLE: &str = "a string takes whatever is written to it";

/// Everything that can be asked about an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub(super) object: Object,
    pub(super) incidents: Vec<Incident>,
    pub(super) findings: Vec<Finding>,
    pub(super) history: History,
    /// Figures of the plan.
    pub(super) numbers: plan::status::Numbers,
    /// Whether the wanted version of each vertex was given up, so that an earlier one serves.
    pub(super) given_up: BTreeMap<String, bool>,
    /// Counters of the workers, as OpenMetrics text.
    pub(super) metrics: String,
}

/// What one turn of the loop found and decided.
pub(super) struct Turn<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) seen: &'a Seen,
    pub(super) plan: &'a Plan,
    pub(super) wanted: &'a plan::wanted::Wanted<'a>,
}

impl View {
    /// Of an object that nothing runs of.
    pub(super) fn of_record(record: &Record, material: &Material, failure: Option<&String>) -> Self {
        let phase = match failure {
            Some(why) => format!("Failed ({why})"),
            None => "Starting".to_owned(),
        };
        let vertex = |name: &String| Vertex { name: name.clone(), ..Vertex::default() };
        let names = material.settings.vertices.iter().map(|vertex| &vertex.name);
        let object = Object {
            phase,
            vertices: names.map(vertex).collect(),
            failure: failure.cloned(),
            ..envelope(record, material)
        };
        Self { object, ..Self::default() }
    }

    /// Of an object that cannot run here.
    pub(super) fn broken(record: &Record, why: &str) -> Self {
        let object = Object {
            kind: record.manifest["kind"].as_str().unwrap_or_default().to_owned(),
            name: record.name.clone(),
            generation: record.generation,
            created_at: record.created_at,
            as_of: now(),
            phase: format!("Failed ({why})"),
            manifest: record.manifest.clone(),
            failure: Some(why.to_owned()),
            ..Object::default()
        };
        Self { object, ..Self::default() }
    }

    /// Of a turn.
    pub(super) fn of_turn(record: &Record, material: &Material, turn: &mut Turn<'_>) -> Self {
        let Turn { engine, seen, plan, wanted } = turn;
        let snapshot = engine.snapshot();
        let picture = engine.picture();
        let vertices = material.settings.vertices.iter().map(|settings| {
            let facts = Facts { engine, seen, plan, snapshot: &snapshot, picture: &picture };
            facts.vertex(&settings.name)
        });
        let object = Object {
            phase: plan.phase.to_string(),
            status: json!(plan.status),
            vertices: vertices.collect(),
            waiting: plan.waiting.clone(),
            urls: engine.urls(),
            ..envelope(record, material)
        };
        Self {
            incidents: engine.incidents().into_iter().map(|found| found.view(&record.name)).collect(),
            findings: why::explain(wanted, seen, plan, now()),
            history: history(plan),
            numbers: plan.numbers.clone(),
            given_up: plan
                .vertices
                .iter()
                .map(|(name, status)| (name.clone(), is_given_up(status)))
                .collect(),
            metrics: engine.metrics(),
            object,
        }
    }

    /// Whether anything differs that somebody waits for: more than rates and times.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        let (one, two) = (&self.object, &other.object);
        let is_same = |one: &Vertex, two: &Vertex| {
            let (read_rate, write_rate) = (two.read_rate, two.write_rate);
            Vertex { read_rate, write_rate, ..one.clone() } == *two
        };
        one.phase != two.phase
            || one.generation != two.generation
            || one.status != two.status
            || one.waiting != two.waiting
            || one.urls != two.urls
            || one.failure != two.failure
            || one.vertices.len() != two.vertices.len()
            || !one.vertices.iter().zip(&two.vertices).all(|(one, two)| is_same(one, two))
            || self.incidents.len() != other.incidents.len()
    }
}

/// What is known of an object without looking at it.
fn envelope(record: &Record, material: &Material) -> Object {
    let PipelineSettings { namespace, edges, .. } = &material.settings;
    Object {
        kind: match &material.object {
            EngineObject::Pipeline(_) => "Pipeline".to_owned(),
            EngineObject::Mono(_) => "MonoVertex".to_owned(),
        },
        name: record.name.clone(),
        namespace: namespace.clone(),
        generation: record.generation,
        created_at: record.created_at,
        as_of: now(),
        manifest: record.manifest.clone(),
        status: Value::Null,
        edges: edges.iter().map(|edge| (edge.from.clone(), edge.to.clone())).collect(),
        substitutes: material.substitutes.clone(),
        ..Object::default()
    }
}

/// What the view of a vertex is made from.
struct Facts<'a> {
    engine: &'a Engine,
    seen: &'a Seen,
    plan: &'a Plan,
    snapshot: &'a Snapshot,
    picture: &'a Picture,
}

impl Facts<'_> {
    fn vertex(&self, name: &str) -> Vertex {
        let status = self.plan.vertices.get(name).cloned().unwrap_or_default();
        let seen = self.seen.vertices.get(name).cloned().unwrap_or_default();
        let gauge = self.snapshot.vertices.iter().find(|vertex| vertex.name == name);
        let picture = self.picture.vertices.get(name);
        let (activity, stuck_because) = match &seen.activity {
            Activity::Unknown => ("Unknown", None),
            Activity::Idle => ("Idle", None),
            Activity::Progressing => ("Progressing", None),
            Activity::Stuck { reason, .. } => ("Stuck", Some(reason.clone())),
        };
        let count = |of: fn(&snapshot::Vertex) -> u64| gauge.map_or(0, of);
        Vertex {
            name: name.to_owned(),
            kind: gauge.map(|gauge| gauge.kind.to_owned()).unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or(0),
            desired: status.desired_replicas,
            desired_because: status.replicas_reason.clone(),
            read_rate: gauge.map_or(0.0, |gauge| gauge.read_rate),
            write_rate: gauge.map_or(0.0, |gauge| gauge.write_rate),
            read_total: count(|gauge| gauge.read_total),
            write_total: count(|gauge| gauge.write_total),
            pending: seen.pending.clone(),
            in_hand: seen.in_hand,
            watermark: picture.and_then(|found| found.watermark).map(model::Time::millis),
            watermark_held_by: picture.and_then(|found| found.held_by.as_ref()).map(held_by),
            activity: activity.to_owned(),
            stuck_because,
            rollout: status.rollout.as_ref().and_then(rollout_in_a_line),
            errors: count(|gauge| gauge.incidents),
            revisions: self.revisions(name, &seen, &status),
        }
    }

    fn revisions(&self, vertex: &str, seen: &plan::seen::Vertex, status: &VertexStatus) -> Vec<Revision> {
        let shares = self.plan.ensure.iter().find_map(|piece| match piece {
            Piece::Shares { vertex: about, shares } if about == vertex => Some(shares),
            _ => None,
        });
        let total: u64 =
            shares.iter().flat_map(|shares| shares.values()).map(|weight| u64::from(*weight)).sum();
        let mut found: BTreeMap<&api::revision::Revision, Vec<Worker>> = BTreeMap::new();
        for (name, worker) in &seen.workers {
            let (state, reason) = match &worker.state {
                WorkerState::Starting => {
                    let waits = self.engine.waiting(vertex).into_iter().find(|(waiting, _)| waiting == name);
                    ("Starting", waits.map(|(_, why)| format!("it waits for another worker: {why}")))
                }
                WorkerState::Ready => ("Ready", None),
                WorkerState::Failing { reason } => ("Failing", Some(reason.clone())),
                WorkerState::Stopping => ("Stopping", None),
            };
            found.entry(&name.revision).or_default().push(Worker {
                replica: name.replica,
                state: state.to_owned(),
                reason,
                since: worker.since,
                holds: worker.holds,
                restarts: worker.restarts,
                containers: self.engine.containers(vertex, name),
            });
        }
        let percent = |weight: u32| u32::try_from(u64::from(weight) * 100 / total.max(1)).unwrap_or(100);
        let of = |(revision, workers): (&api::revision::Revision, Vec<Worker>)| {
            let entry = status.revisions.iter().find(|entry| entry.hash == revision.as_str());
            Revision {
                revision: revision.to_string(),
                number: entry.map(|entry| entry.number),
                role: role(revision.as_str(), status).to_owned(),
                weight: shares.and_then(|shares| shares.get(revision)).map_or(0, |weight| percent(*weight)),
                signals: seen.signals.get(revision).copied().unwrap_or_default(),
                workers,
            }
        };
        let mut revisions: Vec<_> = found.into_iter().map(of).collect();
        revisions.sort_by_key(|revision| (std::cmp::Reverse(revision.weight), revision.revision.clone()));
        revisions
    }
}

/// What a version is in a vertex.
pub(crate) fn role(revision: &str, status: &VertexStatus) -> &'static str {
    let kind = status.rollout.as_ref().map(|rollout| rollout.kind);
    if status.current_hash.as_deref() == Some(revision) {
        return "stable";
    }
    if status.update_hash.as_deref() != Some(revision) {
        return "old";
    }
    match kind {
        Some(RolloutKind::Canary) => "canary",
        Some(RolloutKind::BlueGreen) => "green",
        Some(RolloutKind::RollingUpdate | RolloutKind::Recreate) | None => "new",
    }
}

/// Whether what is wanted was rolled back.
fn is_given_up(status: &VertexStatus) -> bool {
    let back = status.rollout.as_ref().and_then(|rollout| rollout.rolled_back.as_ref());
    back.is_some_and(|back| status.update_hash.as_deref() == Some(back.from.as_str()))
}

/// Whether a vertex is on its way to another version.
pub(super) fn is_rolling(status: &VertexStatus) -> bool {
    status.rollout.as_ref().is_some_and(|rollout| rollout.started_at.is_some())
}

/// Whether a rollout is under way, or did not come to what was wanted.
fn is_of_interest(rollout: &Rollout) -> bool {
    rollout.started_at.is_some() || rollout.rolled_back.is_some()
}

/// Where a rollout stands, in a line; none when there is nothing to say about it.
pub(crate) fn rollout_in_a_line(rollout: &Rollout) -> Option<String> {
    is_of_interest(rollout).then(|| rollout_line(rollout))
}

/// Where a rollout stands, in a line. The way back is the same whatever was tried, so it is not named.
fn rollout_line(rollout: &Rollout) -> String {
    if let Some(back) = &rollout.rolled_back {
        let verb = if rollout.started_at.is_some() { "rolling back" } else { "rolled back" };
        return format!("{verb} to {}: {}", back.to, back.reason);
    }
    let mut line = format!("{:?}", rollout.kind);
    if let (Some(step), Some(steps)) = (rollout.step, rollout.steps) {
        write!(line, " {step}/{steps}").expect(WRITABLE);
    }
    if let Some(weight) = rollout.weight {
        write!(line, ", {weight} %").expect(WRITABLE);
    }
    if let Some(reason) = &rollout.reason {
        write!(line, ": {reason}").expect(WRITABLE);
    }
    line
}

fn history(plan: &Plan) -> History {
    let entry = |vertex: &str, entry: &RevisionEntry| {
        let memory = plan.memory.vertices.get(vertex);
        let mut past = memory.into_iter().flat_map(|memory| &memory.rollout.history);
        let past = past.find(|past| past.number == entry.number);
        HistoryEntry {
            number: entry.number,
            revision: entry.hash.clone(),
            created_at: entry
                .created_at
                .as_ref()
                .map_or_else(Time::default, |at| Time::from_millis(at.0.as_millisecond())),
            state: format!("{:?}", entry.state),
            reason: past.and_then(|past| past.state.failure()).map(str::to_owned),
        }
    };
    let of = |(vertex, status): (&String, &VertexStatus)| {
        (vertex.clone(), status.revisions.iter().map(|found| entry(vertex, found)).collect())
    };
    plan.vertices.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use api::spec::status::RolledBack;

    use super::*;

    #[test]
    fn the_line_of_a_version_that_was_given_up_names_no_strategy() {
        let back = RolledBack {
            from: "b".to_owned(),
            to: "a".to_owned(),
            reason: "1 of 3 queries failed".to_owned(),
            at: None,
        };
        for kind in [RolloutKind::RollingUpdate, RolloutKind::Canary, RolloutKind::BlueGreen] {
            let rollout = Rollout { kind, rolled_back: Some(back.clone()), ..Rollout::default() };
            assert_eq!(rollout_line(&rollout), "rolled back to a: 1 of 3 queries failed");
            let rollout = Rollout { reason: Some("1 of 2 updated".to_owned()), rolled_back: None, ..rollout };
            assert_eq!(rollout_line(&rollout), format!("{kind:?}: 1 of 2 updated"));
        }
    }
}
