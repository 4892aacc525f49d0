//! What pods say of workers. Pure. Invariant: a worker is one pod; of two with its name the one that has got further
//! counts and the other one goes, whoever made them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::revision::Revision;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use plan::Time;
use plan::seen::WorkerName;

use crate::kube::names::{
    COMPONENT_LABEL, HASH_ANNOTATION, Key, NUMA, ObjectKind, REPLICA_ANNOTATION, VERTEX_LABEL,
};
use crate::kube::store::Scope;

/// How long after its time a pod that was told to go counts as gone: its node does not answer.
const LOST_AFTER_MS: i64 = 5_000;
/// Reasons for which a container waits that it will not get over by waiting.
const BAD: [&str; 9] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ImageInspectError",
    "RunContainerError",
];

/// The pod of a worker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WorkerPod {
    pub(super) pod: String,
    pub(super) uid: String,
    /// Every container says that it is ready.
    pub(super) is_ready: bool,
    /// When that changed last, by the kubelet's clock.
    pub(super) since: Time,
    /// Why it cannot work.
    pub(super) failing: Option<String>,
    /// Why nobody has started it yet.
    pub(super) pending: Option<String>,
    /// Its containers were started so often again.
    pub(super) restarts: u32,
    /// It was told to go.
    pub(super) is_ending: bool,
    /// Our container runs or has run.
    pub(super) has_started: bool,
}

/// The daemon's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DaemonPod {
    pub(super) address: IpAddr,
    /// Which manifest it was started with.
    pub(super) base: String,
}

/// What the pods of an object are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) workers: BTreeMap<String, BTreeMap<WorkerName, WorkerPod>>,
    /// Pods to delete, with the reason: they have ended for good, or are one too many.
    pub(super) surplus: Vec<(String, String)>,
    pub(super) daemon: Option<DaemonPod>,
    /// Why the daemon does not run.
    pub(super) daemon_failing: Option<String>,
}

impl Facts {
    /// Of everything that is known of an object.
    pub(super) fn of(key: &Key, scope: &Scope, now: Time) -> Self {
        Self::of_pods(key, scope.pods.iter().map(|(name, pod)| (name, pod.as_ref())), now)
    }

    /// Of pods by name.
    pub(super) fn of_pods<'a>(
        key: &Key,
        pods: impl Iterator<Item = (&'a String, &'a Pod)>,
        now: Time,
    ) -> Self {
        let mut facts = Self::default();
        let mut newest = None;
        for (name, pod) in pods {
            if is_daemon(pod) {
                facts.take_daemon(pod, &mut newest);
            } else if let Some((vertex, worker)) = identity(key, pod) {
                facts.take_worker(name, pod, (vertex, worker), now);
            }
        }
        facts
    }

    fn take_daemon(&mut self, pod: &Pod, newest: &mut Option<i64>) {
        if pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let created = pod.metadata.creation_timestamp.as_ref().map(|at| at.0.as_millisecond());
        if *newest > created {
            return;
        }
        *newest = created;
        let status = pod.status.as_ref();
        let annotations = pod.metadata.annotations.as_ref();
        let base = annotations.and_then(|annotations| annotations.get(HASH_ANNOTATION)).cloned();
        self.daemon_failing = status.and_then(|status| trouble(status).or_else(|| unscheduled(status)));
        self.daemon = status
            .and_then(|status| status.pod_ip.as_deref()?.parse().ok())
            .map(|address| DaemonPod { address, base: base.unwrap_or_default() });
    }

    fn take_worker(&mut self, name: &str, pod: &Pod, (vertex, worker): (String, WorkerName), now: Time) {
        let nothing = PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&nothing);
        let ending = pod.metadata.deletion_timestamp.as_ref().map(|at| at.0.as_millisecond());
        let is_over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
        if is_over {
            if ending.is_none() {
                let why = status.reason.clone().or_else(|| status.message.clone());
                self.surplus.push((name.to_owned(), why.unwrap_or_else(|| "it has ended".to_owned())));
            }
            return;
        }
        if let Some(ending) = ending
            && (has_ended(status) || now.millis() > ending.saturating_add(LOST_AFTER_MS))
        {
            return;
        }
        let (is_ready, since) = readiness(pod, status);
        let found = WorkerPod {
            pod: name.to_owned(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            is_ready,
            since,
            failing: trouble(status),
            pending: unscheduled(status),
            restarts: containers(status).map(|one| u32::try_from(one.restart_count).unwrap_or(0)).sum(),
            is_ending: ending.is_some(),
            has_started: numa(status)
                .is_some_and(|numa| numa.started == Some(true) || numa.restart_count > 0),
        };
        let of_vertex = self.workers.entry(vertex).or_default();
        let Some(other) = of_vertex.remove(&worker) else {
            of_vertex.insert(worker, found);
            return;
        };
        // One that goes has its successor beside it; otherwise two controllers have made one each.
        let (kept, surplus) = if rank(&found) > rank(&other) { (found, other) } else { (other, found) };
        if !surplus.is_ending {
            self.surplus.push((surplus.pod, "another pod is the same worker".to_owned()));
        }
        of_vertex.insert(worker, kept);
    }
}

fn rank(pod: &WorkerPod) -> (bool, bool, bool) {
    (!pod.is_ending, pod.is_ready, pod.has_started)
}

fn is_daemon(pod: &Pod) -> bool {
    let component = pod.metadata.labels.as_ref().and_then(|labels| labels.get(COMPONENT_LABEL));
    component.is_some_and(|component| matches!(component.as_str(), "daemon" | "mono-vertex-daemon"))
}

/// Which worker a pod is.
fn identity(key: &Key, pod: &Pod) -> Option<(String, WorkerName)> {
    let label = |name: &str| pod.metadata.labels.as_ref()?.get(name);
    let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name);
    let vertex = match key.kind {
        ObjectKind::Pipeline => label(VERTEX_LABEL)?.clone(),
        ObjectKind::MonoVertex => (label(COMPONENT_LABEL)? == "mono-vertex").then(|| key.name.clone())?,
    };
    let revision = Revision::from_text(annotation(HASH_ANNOTATION)?);
    let replica = annotation(REPLICA_ANNOTATION)?.parse().ok()?;
    Some((vertex, WorkerName { revision, replica }))
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
}

fn numa(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.iter().flatten().find(|one| one.name == NUMA)
}

/// Whether our container has ended, so that nothing of the worker is left but its user's containers.
fn has_ended(status: &PodStatus) -> bool {
    match numa(status) {
        Some(numa) => {
            let state = numa.state.as_ref();
            state.is_some_and(|state| state.terminated.is_some())
                || !numa.started.unwrap_or(false) && numa.restart_count == 0
        }
        None => true,
    }
}

fn readiness(pod: &Pod, status: &PodStatus) -> (bool, Time) {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let changed = condition.and_then(|condition| condition.last_transition_time.as_ref());
    let since = changed.or(pod.metadata.creation_timestamp.as_ref()).map(|at| at.0.as_millisecond());
    (
        condition.is_some_and(|condition| condition.status == "True"),
        Time::from_millis(since.unwrap_or_default()),
    )
}

/// Why a pod cannot work: the first container that is in the way.
pub(in crate::kube) fn trouble(status: &PodStatus) -> Option<String> {
    containers(status).find_map(|container| {
        let state = container.state.as_ref()?;
        let name = &container.name;
        if let Some(waiting) = &state.waiting {
            let reason = waiting.reason.as_deref().filter(|reason| BAD.contains(reason))?;
            let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
            let exit =
                last.map(|last| ended(last.exit_code, last.reason.as_deref(), last.message.as_deref()));
            let words = exit.or_else(|| waiting.message.clone()).unwrap_or_default();
            return Some(format!("container {name}: {reason}: {words}"));
        }
        let over = state.terminated.as_ref().filter(|over| over.exit_code != 0)?;
        let words = ended(over.exit_code, over.reason.as_deref(), over.message.as_deref());
        Some(format!("container {name}: {words}"))
    })
}

/// Only the last line is repeated: where a program left no message, the kubelet takes the end of its log for one.
fn ended(code: i32, reason: Option<&str>, message: Option<&str>) -> String {
    let lines = message.into_iter().flat_map(str::lines).map(str::trim);
    // A hint of Rust's about its backtraces is no reason.
    let last = lines.rev().find(|line| !line.is_empty() && !line.starts_with("note: "));
    let said = last.map(|line| format!(": {line}")).unwrap_or_default();
    match reason {
        Some(reason) if reason != "Error" => format!("it ended with code {code} ({reason}){said}"),
        _ => format!("it ended with code {code}{said}"),
    }
}

/// Why no node takes a pod.
pub(in crate::kube) fn unscheduled(status: &PodStatus) -> Option<String> {
    let condition = status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled")?;
    let waits = condition.status == "False";
    waits.then(|| format!("no node takes its pod: {}", condition.message.as_deref().unwrap_or_default()))
}
