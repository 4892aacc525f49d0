//! What is said about an object on the API server: the plan's status, and what only a cluster can say beside it. Pure.
//! Invariant: the same state gives the same status, down to the times in it, so that nothing is written while nothing
//! happens.

use plan::rollout::{Rollout, Why};
use plan::{Plan, Time};
use serde_json::{Value, json};

use crate::kube::names::{Key, ObjectKind, VERTEX_LABEL};

/// What a cluster can say about an object beside its plan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside<'a> {
    /// The generation of the object that was looked at.
    pub(super) generation: Option<i64>,
    /// Why the last edit is not taken over: a word and a sentence.
    pub(super) refused: Option<(&'static str, &'a str)>,
    /// Why the daemon is not healthy: a word and a sentence.
    pub(super) daemon: Option<(&'static str, &'a str)>,
    /// Why something cannot be made.
    pub(super) trouble: Option<&'a str>,
}

/// A condition: its type, whether it is so, a word, a sentence.
type Fact<'a> = (&'a str, bool, &'a str, String);

/// The status of an object that is planned.
pub(super) fn of_plan(key: &Key, plan: &Plan, beside: &Beside<'_>, before: &Value, now: Time) -> Value {
    let mut status = json!(plan.status);
    let phase = status["phase"].as_str().unwrap_or_default().to_owned();
    let life = &plan.memory.lifecycle;
    let drained = !life.is_reading() && life.verdict.is_some();
    let done = |done: bool| if done { "Done" } else { "NotDone" };
    let words = plan.phase.to_string();
    let rolled_out = plan.vertices.iter().all(|(name, vertex)| {
        let rollout = plan.memory.vertices.get(name).and_then(|memory| memory.rollout.rollout.as_ref());
        // A first version that has not proved itself is on its way: an edit could not be taken back to it. With no
        // workers wanted there is nothing that it could prove.
        let nothing_to_prove =
            |rollout: &Rollout| rollout.why == Why::FirstStart && vertex.desired_replicas == 0;
        rollout.is_none_or(nothing_to_prove)
            && vertex.current_hash == vertex.update_hash
            && vertex.updated_ready_replicas.unwrap_or_default() >= vertex.desired_replicas
    });
    let mut facts: Vec<Fact<'_>> = vec![
        ("Paused", phase == "Paused", done(phase == "Paused"), words.clone()),
        ("Drained", drained, done(drained), words.clone()),
        ("RolledOut", rolled_out && life.is_reading(), done(rolled_out && life.is_reading()), words),
    ];
    if let Some((reason, message)) = beside.daemon {
        facts.push((daemon_condition(key), false, reason, message.to_owned()));
    }
    if let Some(message) = beside.trouble {
        facts.push(("Deployed", false, "ReconcileFixedResourcesFailed", message.to_owned()));
    }
    if let Some((reason, message)) = beside.refused {
        facts.push((configured_condition(key), false, reason, message.to_owned()));
    }
    let bad = beside.refused.or(beside.daemon).map(|(_, message)| message).or(beside.trouble);
    if let Some(message) = bad {
        status["message"] = json!(format!("Degraded: {message}"));
    }
    finish(key, status, &facts, beside, (before, now))
}

/// The status of an object that nothing is planned for yet: it waits, or cannot run.
pub(super) fn of_nothing(
    key: &Key,
    (condition, reason, message): (Option<&str>, &str, &str),
    beside: &Beside<'_>,
    before: &Value,
    now: Time,
) -> Value {
    let failed = condition.is_none();
    let condition = condition.unwrap_or_else(|| configured_condition(key));
    let mut status = json!({ "message": message });
    if failed {
        status["phase"] = json!("Failed");
    }
    if key.kind == ObjectKind::MonoVertex {
        (status["reason"], status["replicas"], status["desiredReplicas"]) =
            (json!(reason), json!(0), json!(0));
        status["phase"] = json!(if failed { "Failed" } else { "" });
    }
    finish(key, status, &[(condition, false, reason, message.to_owned())], beside, (before, now))
}

fn configured_condition(key: &Key) -> &'static str {
    match key.kind {
        ObjectKind::Pipeline => "Configured",
        // The reference has no other one for it.
        ObjectKind::MonoVertex => "Deployed",
    }
}

fn daemon_condition(key: &Key) -> &'static str {
    match key.kind {
        ObjectKind::Pipeline => "DaemonServiceHealthy",
        ObjectKind::MonoVertex => "DaemonHealthy",
    }
}

/// Puts conditions in, with the times of their changes, and what else every status has.
fn finish(
    key: &Key,
    mut status: Value,
    facts: &[Fact<'_>],
    beside: &Beside<'_>,
    (before, now): (&Value, Time),
) -> Value {
    let mut conditions: Vec<Value> = status["conditions"].as_array().cloned().unwrap_or_default();
    for (name, is_so, reason, message) in facts {
        conditions.retain(|condition| condition["type"] != *name);
        let is_so = if *is_so { "True" } else { "False" };
        let known = before["conditions"].as_array().into_iter().flatten();
        let same = known.filter(|other| other["type"] == *name && other["status"] == is_so);
        let since = same.map(|other| other["lastTransitionTime"].clone()).next();
        conditions.push(json!({
            "type": name,
            "status": is_so,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since.unwrap_or_else(|| json!(plan::status::stock_time(now))),
        }));
    }
    if let Some(generation) = beside.generation {
        for condition in &mut conditions {
            condition["observedGeneration"] = json!(generation);
        }
        status["observedGeneration"] = json!(generation);
    }
    conditions.sort_by(|one, two| one["type"].as_str().cmp(&two["type"].as_str()));
    status["conditions"] = Value::Array(conditions);
    if key.kind == ObjectKind::MonoVertex {
        let name = &key.name;
        let label = key.label().0;
        status["selector"] = json!(format!("app.kubernetes.io/component=mono-vertex,{label}={name}"));
    }
    status
}

/// The status of the `Vertex` object of a vertex.
pub(super) fn of_vertex(
    key: &Key,
    vertex: &str,
    plan: &Plan,
    trouble: Option<&str>,
    (generation, before, now): (Option<i64>, &Value, Time),
) -> Value {
    let mut status = json!(plan.vertices.get(vertex).cloned().unwrap_or_default());
    let label = key.label().0;
    status["selector"] = json!(format!("{label}={},{VERTEX_LABEL}={vertex}", key.name));
    let facts: Vec<Fact<'_>> = trouble
        .iter()
        .map(|message| ("Deployed", false, "OrchestratePodsFailed", (*message).to_owned()))
        .collect();
    if let Some(message) = trouble {
        (status["reason"], status["message"]) = (json!("OrchestratePodsFailed"), json!(message));
    }
    let beside = Beside { generation, ..Beside::default() };
    let selector = status["selector"].clone();
    let mut status = finish(key, status, &facts, &beside, (before, now));
    status["selector"] = selector;
    status
}

/// Whether two statuses differ in more than counts: then whoever waits should hear at once.
pub(super) fn differs_much(before: &Value, after: &Value) -> bool {
    let plain = ["phase", "drainedOnPause", "replicas", "readyReplicas", "desiredReplicas", "currentHash"];
    let facts = |status: &Value| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let pairs = conditions.map(|one| (one["type"].clone(), one["status"].clone(), one["reason"].clone()));
        pairs.collect::<Vec<_>>()
    };
    plain.iter().any(|field| before[*field] != after[*field])
        || before["drain"]["verdict"] != after["drain"]["verdict"]
        || before["observedGeneration"] != after["observedGeneration"]
        || facts(before) != facts(after)
}
