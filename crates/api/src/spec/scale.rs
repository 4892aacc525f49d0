//! Scaling settings of a vertex or mono vertex.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Bounds and pace of automatic scaling.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Scale {
    /// Leave the replica count to somebody else. Default false.
    pub disabled: Option<bool>,
    /// Fewest replicas. Default 0.
    pub min: Option<i32>,
    /// Most replicas. Default 50.
    pub max: Option<i32>,
    /// Seconds of history that rates are taken from. Default 120, at most 600.
    pub lookback_seconds: Option<u32>,
    /// Seconds a source sleeps at zero replicas before it looks again. Default 120.
    pub zero_replica_sleep_seconds: Option<u32>,
    /// Seconds in which a backlog should be done. Default 20.
    pub target_processing_seconds: Option<u32>,
    /// The percentage of the buffer that should be free. Default 50.
    pub target_buffer_availability: Option<u32>,
    /// Deprecated: stands in for the next two.
    pub replicas_per_scale: Option<u32>,
    /// Largest step up. Default 2.
    pub replicas_per_scale_up: Option<u32>,
    /// Largest step down. Default 2.
    pub replicas_per_scale_down: Option<u32>,
    /// Seconds between steps up. Default 90.
    pub scale_up_cooldown_seconds: Option<u32>,
    /// Seconds between steps down. Default 90.
    pub scale_down_cooldown_seconds: Option<u32>,
    /// Other bounds at other times.
    pub cron: Option<ScaleCron>,
}

/// Other bounds at other times.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ScaleCron {
    /// IANA name of the time zone. Default UTC.
    pub timezone: Option<String>,
    /// The first active one counts.
    pub schedules: Vec<ScaleSchedule>,
}

/// Bounds between a start and an end.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ScaleSchedule {
    /// When it becomes active: six fields, seconds first.
    pub start: String,
    /// When it ends: six fields, seconds first.
    pub end: String,
    /// Fewest replicas while active. Required.
    pub min: Option<i32>,
    /// Most replicas while active. Required.
    pub max: Option<i32>,
}
