//! What the API server has of an object, in the form of every place. Pure but for the clock. Invariant: a field that the
//! API server does not have stays empty and is never guessed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::spec::status::VertexStatus;
use k8s_openapi::api::core::v1::Event as StockEvent;
use k8s_openapi::jiff::Timestamp;
use plan::Time;
use plan::seen::WorkerName;
use serde_json::Value;

use super::Found;
use super::edits::{status_of, vertices};
use crate::kube::names::ObjectKind;
use crate::kube::object::{PodFacts, manifest_of, pods_of};
use crate::view::{Event, Finding, History, HistoryEntry, Object, Revision, Vertex, Worker};

/// An object with everything below it.
pub(super) fn object(found: &Found) -> Object {
    let (meta, status) = (&found.object.metadata, &found.object.data["status"]);
    let names = vertices(found, None).unwrap_or_default();
    let pods = pods_of(&found.key, &found.pods);
    let edges = found.object.data["spec"]["edges"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let deleting = meta.deletion_timestamp.is_some() && status["phase"] != "Deleting";
    Object {
        kind: found.key.kind.as_str().to_owned(),
        name: found.key.name.clone(),
        namespace: found.key.namespace.clone(),
        generation: meta.generation.and_then(|number| u64::try_from(number).ok()).unwrap_or_default(),
        created_at: meta.creation_timestamp.as_ref().map(|at| time(&at.0)).unwrap_or_default(),
        as_of: now(),
        phase: if deleting { "Deleting".to_owned() } else { phase(status) },
        manifest: manifest_of(&found.object),
        status: status.clone(),
        vertices: names.iter().map(|name| vertex(found, name, &pods)).collect(),
        edges: edges.map(|edge| (text(&edge["from"]), text(&edge["to"]))).collect(),
        waiting: waiting(status),
        ..Object::default()
    }
}

/// What it is doing, in a line.
fn phase(status: &Value) -> String {
    let phase = status["phase"].as_str().unwrap_or_default();
    let message = status["message"].as_str().unwrap_or_default();
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let said = conditions.into_iter().find(|one| one["type"] == "Paused");
    let said = said.and_then(|one| one["message"].as_str());
    match (phase, said) {
        ("Failed", _) => format!("Failed ({message})"),
        (_, Some(line)) => line.to_owned(),
        ("", None) if message.is_empty() => "Starting".to_owned(),
        ("", None) => format!("Starting ({message})"),
        (phase, None) => phase.to_owned(),
    }
}

fn waiting(status: &Value) -> Vec<plan::Waiting> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    // These are goals that somebody may wait for, not faults.
    let is_fault = |one: &&Value| {
        one["status"] == "False" && !matches!(one["type"].as_str(), Some("Paused" | "Drained" | "RolledOut"))
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |one: &Value| plan::Waiting::new("", &text(&one["reason"]), text(&one["message"]));
    conditions.filter(is_fault).map(of).collect()
}

fn vertex(found: &Found, name: &str, pods: &[PodFacts]) -> Vertex {
    let status: VertexStatus = serde_json::from_value(status_of(found, name).clone()).unwrap_or_default();
    let activity = status.activity.clone().unwrap_or_default();
    let is_stuck = activity.state == api::spec::status::ActivityState::Stuck;
    Vertex {
        name: name.to_owned(),
        kind: kind(found, name),
        ready: status.ready_replicas.unwrap_or_default(),
        desired: status.desired_replicas,
        desired_because: status.replicas_reason.clone(),
        activity: format!("{:?}", activity.state),
        stuck_because: activity.reason.filter(|_| is_stuck),
        rollout: status.rollout.as_ref().and_then(crate::local::site::rollout_in_a_line),
        revisions: revisions(name, &status, pods),
        ..Vertex::default()
    }
}

fn kind(found: &Found, name: &str) -> String {
    if found.key.kind == ObjectKind::MonoVertex {
        return "mono".to_owned();
    }
    let vertices = found.object.data["spec"]["vertices"].as_array().into_iter().flatten();
    let vertex = vertices.into_iter().find(|vertex| vertex["name"] == name);
    let has = |field: &str| vertex.is_some_and(|vertex| vertex[field].is_object());
    let word = match () {
        () if has("source") => "source",
        () if has("sink") => "sink",
        () if vertex.is_some_and(|vertex| vertex["udf"]["groupBy"].is_object()) => "reduce",
        () => "map",
    };
    word.to_owned()
}

fn revisions(vertex: &str, status: &VertexStatus, pods: &[PodFacts]) -> Vec<Revision> {
    let mut found: BTreeMap<String, Vec<Worker>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.vertex == vertex) {
        let WorkerName { revision, replica } = &pod.worker;
        found.entry(revision.to_string()).or_default().push(Worker {
            replica: *replica,
            state: pod.state.to_owned(),
            reason: pod.reason.clone(),
            since: pod.since,
            restarts: pod.restarts,
            ..Worker::default()
        });
    }
    let of = |(revision, workers): (String, Vec<Worker>)| {
        let entry = status.revisions.iter().find(|entry| entry.hash == revision);
        Revision {
            number: entry.map(|entry| entry.number),
            role: crate::local::site::role_of(&revision, status).to_owned(),
            revision,
            workers,
            ..Revision::default()
        }
    };
    found.into_iter().map(of).collect()
}

/// What happened, as far as it is kept.
pub(super) fn event(event: &StockEvent) -> Option<Event> {
    let at = event.last_timestamp.as_ref().map(|at| at.0);
    let at = at.or_else(|| event.event_time.as_ref().map(|at| at.0)).map(|at| time(&at))?;
    let kind = event.involved_object.kind.clone().unwrap_or_default();
    let name = event.involved_object.name.clone().unwrap_or_default();
    let is_own = matches!(kind.as_str(), "Pipeline" | "MonoVertex");
    let about = if is_own { String::new() } else { format!("{} {name}", kind.to_lowercase()) };
    let (reason, message) =
        (event.reason.clone().unwrap_or_default(), event.message.clone().unwrap_or_default());
    let event = if event.type_.as_deref() == Some("Warning") {
        plan::Event::warning(about, &reason, message)
    } else {
        plan::Event::normal(about, &reason, message)
    };
    // Times are what grows with every event of a cluster.
    let number = u64::try_from(at.millis()).unwrap_or_default();
    Some(Event { number, at, object: name, event })
}

/// What may be wrong: failing pods first, then what the status says.
pub(super) fn findings(found: &Found) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pod in pods_of(&found.key, &found.pods) {
        let Some(reason) = pod.reason else { continue };
        let what = format!(
            "vertex {}: worker {} of version {} is {}, {} restarts so far: {reason}",
            pod.vertex, pod.worker.replica, pod.worker.revision, pod.state, pod.restarts
        );
        let advice = format!(
            "see `kubectl logs {} --all-containers`, and `kubectl describe pod {}`",
            pod.pod, pod.pod
        );
        findings.push(Finding { what, advice });
    }
    let status = &found.object.data["status"];
    for left in status["drain"]["vertices"].as_array().into_iter().flatten() {
        let (vertex, messages) = (left["vertex"].as_str().unwrap_or_default(), &left["messages"]);
        if let Some(why) = left["message"].as_str() {
            let what = format!("vertex {vertex}: {messages} messages are left: {why}");
            findings.push(Finding { what, advice: "the drain goes on when that is over".to_owned() });
        }
    }
    for waiting in waiting(status) {
        let known = findings.iter().any(|finding| finding.what.contains(&waiting.message));
        if !known && !waiting.message.is_empty() {
            let advice = "see `tidegate events`, and the log of the controller".to_owned();
            findings.push(Finding { what: format!("{}: {}", waiting.reason, waiting.message), advice });
        }
    }
    findings
}

/// The histories of the vertices.
pub(super) fn history(found: &Found) -> History {
    let names = vertices(found, None).unwrap_or_default();
    let of = |name: String| {
        let status: VertexStatus =
            serde_json::from_value(status_of(found, &name).clone()).unwrap_or_default();
        let entries = status.revisions.iter().map(|entry| HistoryEntry {
            number: entry.number,
            revision: entry.hash.clone(),
            created_at: entry.created_at.as_ref().map(|at| time(&at.0)).unwrap_or_default(),
            state: format!("{:?}", entry.state),
            reason: None,
        });
        let entries = entries.collect();
        (name, entries)
    };
    names.into_iter().map(of).collect()
}

fn time(at: &Timestamp) -> Time {
    Time::from_millis(at.as_millisecond())
}

/// The wall clock.
pub(super) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
