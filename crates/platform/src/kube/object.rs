//! One object of a cluster: what is wanted of it, what is seen of it, what is said about it, and the loop that joins
//! them. Everything but the loop is pure. Invariant: what was decided is in the record on the API server before anything
//! is done because of it, so that another controller goes on where this one ended.

mod courier;
mod facts;
mod material;
mod record;
mod runner;
mod seen;
mod status;
mod wanted;
mod wishes;

#[cfg(test)]
mod tests;

pub(super) use facts::{trouble, unscheduled};
pub use material::Error as MaterialError;
pub(crate) use material::manifest as manifest_of;
pub use runner::{Runner, Shared};
pub use wanted::Words;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use plan::Time;
use plan::seen::WorkerName;

use super::names::Key;

/// The pod of a worker, as whoever asks about it wants to know it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodFacts {
    pub(crate) vertex: String,
    pub(crate) worker: WorkerName,
    pub(crate) pod: String,
    /// `Starting`, `Ready`, `Failing` or `Stopping`.
    pub(crate) state: &'static str,
    /// Why it is failing, or nobody has started it.
    pub(crate) reason: Option<String>,
    pub(crate) since: Time,
    pub(crate) restarts: u32,
}

/// The pods of an object's workers.
pub(crate) fn pods_of(key: &Key, pods: &BTreeMap<String, Pod>) -> Vec<PodFacts> {
    let found = facts::Facts::of_pods(key, pods.iter(), runner::now());
    let of_vertex = |(vertex, workers): (String, BTreeMap<WorkerName, facts::WorkerPod>)| {
        workers.into_iter().map(move |(worker, pod)| (vertex.clone(), worker, pod))
    };
    let of = |(vertex, worker, pod): (String, WorkerName, facts::WorkerPod)| PodFacts {
        vertex,
        worker,
        pod: pod.pod,
        state: match (pod.is_ending, &pod.failing, pod.is_ready) {
            (true, _, _) => "Stopping",
            (false, Some(_), _) => "Failing",
            (false, None, true) => "Ready",
            (false, None, false) => "Starting",
        },
        reason: pod.failing.or(pod.pending),
        since: pod.since,
        restarts: pod.restarts,
    };
    found.workers.into_iter().flat_map(of_vertex).map(of).collect()
}
