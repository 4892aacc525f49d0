//! How a change reaches running workers. `type` and `rollingUpdate.maxUnavailable` are the reference's; all
//! else is Tidegate's own extension.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::stock::IntOrString;
use crate::duration::Duration;

/// How a change reaches running workers; on a pipeline it is the default of its vertices.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// `RollingUpdate` (default), or as Tidegate extensions `Recreate`, `Canary`, `BlueGreen`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// How many may be missing and how many may be too many.
    pub rolling_update: Option<RollingUpdate>,
    /// Tidegate extension: seconds a worker must stay ready before it counts. Default 5.
    pub min_ready_seconds: Option<u32>,
    /// Tidegate extension: seconds without progress after which a rollout has failed. Default 600.
    pub progress_deadline_seconds: Option<u32>,
    /// Tidegate extension: going back by itself.
    pub rollback: Option<Rollback>,
    /// Tidegate extension: steps of a canary.
    pub canary: Option<Canary>,
    /// Tidegate extension: settings of a blue-green switch.
    pub blue_green: Option<BlueGreen>,
    /// Tidegate extension: what the new revision is judged by.
    pub analysis: Option<Analysis>,
}

/// How many workers may be missing or too many during an update.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RollingUpdate {
    /// A count or a percentage. Default 25%.
    pub max_unavailable: Option<IntOrString>,
    /// Tidegate extension: a count or a percentage. Default 1.
    pub max_surge: Option<IntOrString>,
}

/// Going back to the last good revision.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Rollback {
    /// Go back without being asked. Default true.
    pub auto: Option<bool>,
}

/// A change that gets more of the work step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Canary {
    /// Done one after the other; after the last one the new revision has all the work.
    pub steps: Vec<CanaryStep>,
}

/// One step of a canary: exactly one of these.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CanaryStep {
    /// The percentage of the work that the new revision gets.
    #[schemars(range(min = 0, max = 100))]
    pub set_weight: Option<u32>,
    /// Judge the new revision for some time.
    pub analysis: Option<CanaryAnalysis>,
    /// Wait, for some time or until somebody says to go on.
    pub pause: Option<CanaryPause>,
}

/// How long to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CanaryAnalysis {
    /// For how long.
    #[serde(rename = "for")]
    pub duration: Duration,
}

/// How long to wait.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CanaryPause {
    /// For how long; without it, until somebody says to go on.
    pub duration: Option<Duration>,
}

/// A second set beside the first one, and one switch.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BlueGreen {
    /// Switch without being asked. Default true.
    pub auto_promote: Option<bool>,
    /// Seconds between ready and the switch. Default 60.
    pub preview_seconds: Option<u32>,
    /// Seconds the old set stays after the switch. Default 300.
    pub keep_old_seconds: Option<u32>,
}

/// What a new revision is judged by.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Analysis {
    /// Fewer records than this are no verdict. Default 100.
    pub min_records: Option<u64>,
    /// Largest share of errors, a percentage such as `1%`. Default 1%.
    pub max_error_ratio: Option<String>,
    /// Largest latency as a multiple of the stable revision's. Default 1.5.
    pub max_latency_ratio: Option<f64>,
    /// How far the ratio of output to input may be from the stable revision's, a percentage. Default 5%.
    pub output_ratio_tolerance: Option<String>,
    /// More queries, each of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prometheus: Vec<PrometheusQuery>,
}

/// A query whose result is held against bounds.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PrometheusQuery {
    /// What the verdict calls it.
    pub name: String,
    /// The server to ask.
    pub address: String,
    /// An expression that gives one number.
    pub query: String,
    /// Smallest good value.
    pub min: Option<f64>,
    /// Largest good value.
    pub max: Option<f64>,
}
