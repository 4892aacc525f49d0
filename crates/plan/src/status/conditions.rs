//! Facts with reasons, as Kubernetes has them. Invariant: the time of a condition is the time at which its status changed,
//! whatever happened to its words.

use std::collections::BTreeMap;

use api::spec::status::{Activity, ActivityState};
use api::spec::stock::Condition;
use serde::{Deserialize, Serialize};

use super::{About, is_mono, stock_time};
use crate::Time;
use crate::lifecycle::{self, Purpose};
use crate::seen::{self, WorkerState};

/// Conditions by type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(BTreeMap<String, Fact>);

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fact {
    /// `True`, `False` or `Unknown`.
    status: String,
    reason: String,
    message: String,
    since: Time,
}

/// Whether something is so, and why.
pub(crate) struct Say {
    pub(crate) is_so: Option<bool>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Say {
    pub(crate) fn yes() -> Self {
        Self { is_so: Some(true), reason: "Successful", message: "Successful".to_owned() }
    }

    pub(crate) fn because(is_so: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_so: Some(is_so), reason, message: message.into() }
    }
}

impl Conditions {
    /// Says how things are. The time moves only when the status does.
    pub(crate) fn set(&mut self, name: &str, say: Say, now: Time) {
        let status = say.is_so.map_or("Unknown", |is_so| if is_so { "True" } else { "False" }).to_owned();
        let since = match self.0.get(name) {
            Some(fact) if fact.status == status => fact.since,
            Some(_) | None => now,
        };
        let fact = Fact { status, reason: say.reason.to_owned(), message: say.message, since };
        self.0.insert(name.to_owned(), fact);
    }

    /// When any of them changed last.
    pub(crate) fn changed(&self) -> Option<Time> {
        self.0.values().map(|fact| fact.since).max()
    }

    /// What is wrong: the first that is false.
    pub(crate) fn degraded(&self) -> Option<String> {
        self.0.values().find(|fact| fact.status == "False").map(|fact| format!("Degraded: {}", fact.message))
    }

    /// As Kubernetes has them, in the order of their types.
    pub fn to_stock(&self, generation: u64) -> Vec<Condition> {
        let of = |(name, fact): (&String, &Fact)| Condition {
            last_transition_time: stock_time(fact.since),
            message: fact.message.clone(),
            observed_generation: i64::try_from(generation).ok(),
            reason: fact.reason.clone(),
            status: fact.status.clone(),
            type_: name.clone(),
        };
        self.0.iter().map(of).collect()
    }
}

/// The conditions of an object.
pub(crate) fn of_object(
    conditions: &mut Conditions,
    about: &About<'_>,
    life: &lifecycle::Memory,
    activity: &Activity,
) {
    let now = about.now;
    let healthy = about.wanted.settings.vertices.iter().map(|settings| {
        let nothing = seen::Vertex::default();
        let seen = about.seen.vertices.get(&settings.name).unwrap_or(&nothing);
        (settings.name.as_str(), workers(seen, life.purpose == Purpose::Run))
    });
    let sick = healthy.into_iter().find(|(_, say)| say.is_so == Some(false));
    if is_mono(about.wanted.settings) {
        conditions.set("DaemonHealthy", Say::yes(), now);
        conditions.set(
            "PodsHealthy",
            sick.map_or_else(|| Say::because(true, "Running", "All pods are healthy"), |(_, say)| say),
            now,
        );
    } else {
        conditions.set("Configured", Say::yes(), now);
        conditions.set("DaemonServiceHealthy", Say::yes(), now);
        let say = Say::because(true, "NoSideInputs", "No side inputs are attached to the pipeline");
        conditions.set("SideInputsManagersHealthy", say, now);
        let say = match sick {
            Some((name, say)) => Say::because(false, say.reason, format!("vertex {name}: {}", say.message)),
            None => Say::because(true, "Successful", "All vertices are healthy"),
        };
        conditions.set("VerticesHealthy", say, now);
    }
    conditions.set("Deployed", Say::yes(), now);
    conditions.set("Progressing", progressing(activity), now);
}

/// Whether the workers of a vertex are as they should be.
pub(crate) fn workers(seen: &seen::Vertex, runs: bool) -> Say {
    let failing = seen.workers.iter().find_map(|(name, worker)| match &worker.state {
        WorkerState::Failing { reason } => Some((name.replica, reason)),
        WorkerState::Starting | WorkerState::Ready | WorkerState::Stopping => None,
    });
    if let Some((replica, reason)) = failing {
        return Say::because(false, "Unavailable", format!("worker {replica} fails: {reason}"));
    }
    let starting = seen.workers.values().filter(|worker| worker.state == WorkerState::Starting).count();
    if starting > 0 && runs {
        return Say::because(false, "Progressing", format!("{starting} workers are starting"));
    }
    match seen.workers.len() {
        0 => Say::because(true, "NoPodsFound", "no worker is there"),
        _ => Say::because(true, "Running", "all workers are healthy"),
    }
}

/// Whether work gets on. Nothing to do is nothing wrong.
pub(crate) fn progressing(activity: &Activity) -> Say {
    let reason = activity.reason.clone().unwrap_or_default();
    match activity.state {
        ActivityState::Idle => Say::because(true, "Idle", "there is nothing to do"),
        ActivityState::Progressing => Say::because(true, "Progressing", "work gets on"),
        ActivityState::Stuck => Say::because(false, "Stuck", reason),
    }
}
