//! User-defined functions: map, and reduce with its windows and storage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Empty;
use super::container::Container;
use super::limits::RetryStrategy;
use super::stock::{EmptyDirVolumeSource, Quantity};
use crate::duration::Duration;

/// A user-defined function; with `groupBy` it is a reduce.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Udf {
    /// The container with it.
    pub container: Option<Container>,
    /// How messages are grouped.
    pub group_by: Option<GroupBy>,
    /// What happens when it fails; for a map only, and `fallback` is not possible.
    pub retry_strategy: Option<RetryStrategy>,
}

/// How messages are grouped before they are reduced.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupBy {
    /// By time.
    pub window: Window,
    /// By key as well. Default false.
    pub keyed: Option<bool>,
    /// How long a closed window still takes messages. Default 0s.
    pub allowed_lateness: Option<Duration>,
    /// Where open windows are kept.
    pub storage: Option<PbqStorage>,
}

/// Exactly one of these members is set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Window {
    /// Windows of one length, side by side.
    pub fixed: Option<FixedWindow>,
    /// Windows of one length that overlap.
    pub sliding: Option<SlidingWindow>,
    /// Windows that end after a silence.
    pub session: Option<SessionWindow>,
    /// One stream per key that user code reorders or joins.
    pub accumulator: Option<AccumulatorWindow>,
}

/// Windows of one length, side by side.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FixedWindow {
    /// The length. Required.
    pub length: Option<Duration>,
    /// Results flow before the window closes. Default false.
    pub streaming: Option<bool>,
}

/// Windows of one length that overlap.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SlidingWindow {
    /// The length. Required.
    pub length: Option<Duration>,
    /// From one start to the next. Required.
    pub slide: Option<Duration>,
    /// Results flow before the window closes. Default false.
    pub streaming: Option<bool>,
}

/// Windows that end after a silence.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionWindow {
    /// The silence. Required.
    pub timeout: Option<Duration>,
}

/// One stream per key that user code reorders or joins.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AccumulatorWindow {
    /// How long a silent key is kept. Required.
    pub timeout: Option<Duration>,
}

/// Where open windows are kept: exactly one of these members is set.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PbqStorage {
    /// On a volume of their own, which survives the pod.
    pub persistent_volume_claim: Option<PersistenceStrategy>,
    /// On the pod's own disk or memory, which goes with the pod.
    pub empty_dir: Option<EmptyDirVolumeSource>,
    /// Nowhere.
    #[serde(rename = "no_store")]
    pub no_store: Option<Empty>,
}

/// A volume to claim.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistenceStrategy {
    /// The storage class.
    pub storage_class_name: Option<String>,
    /// The access mode. Default ReadWriteOnce.
    pub access_mode: Option<String>,
    /// The size. Default 20Gi.
    pub volume_size: Option<Quantity>,
}
