//! Disruption budgets: how many workers of a vertex a drain of nodes may take away at a time. Invariant: a budget never asks
//! for every worker there is, because a node with one of them could then not be drained at all.

use api::resolve::Update;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Owner, metadata, pod};
use crate::kube::names::Key;

/// How many of so many workers have to stay: as many as an update leaves, and all but one where that leaves all. None
/// where there is only one, which may always go.
pub fn fewest(update: &Update, desired: u32) -> Option<u32> {
    let missing = update.max_unavailable.of_rounded_down(desired).max(1);
    (desired > 1).then(|| desired.saturating_sub(missing)).filter(|fewest| *fewest > 0)
}

/// The budget of a vertex. It counts pods: a share of them would be taken of the count in the `Vertex`, which is nobody's
/// wish as long as nobody has set it.
pub fn budget(key: &Key, (vertex, fewest): (&str, u32), owner: &Owner) -> PodDisruptionBudget {
    let labels = pod::selector(key, vertex);
    PodDisruptionBudget {
        metadata: metadata(key, key.vertex(vertex), owner, labels.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(i32::try_from(fewest).unwrap_or(i32::MAX))),
            selector: Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }),
            // A worker that is not ready serves nobody, and must not keep a node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
