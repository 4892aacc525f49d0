//! How much and how often: batch and buffer limits, rate limits, retries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Empty;
use super::auth::{RedisAuth, Tls};
use crate::duration::Duration;

/// Limits of a whole pipeline, which its vertices inherit field by field.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PipelineLimits {
    /// Messages in one batch, at most. Default 500.
    #[schemars(range(min = 1))]
    pub read_batch_size: Option<u64>,
    /// How long a batch waits to fill, at most. Default 1s.
    pub read_timeout: Option<Duration>,
    /// Messages in one buffer partition, at most. Default 30000.
    pub buffer_max_length: Option<u64>,
    /// The percentage of that length at which writers wait. Default 80.
    pub buffer_usage_limit: Option<u32>,
    /// How many messages per second are read.
    pub rate_limit: Option<RateLimit>,
    /// Messages in flight, at most. Default: `readBatchSize`.
    #[schemars(range(min = 1))]
    pub concurrency: Option<u64>,
}

/// Limits of one vertex; a field that is not set is taken from the pipeline.
pub type VertexLimits = PipelineLimits;

/// Limits of a mono vertex, which has no buffers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MonoVertexLimits {
    /// Messages in one batch, at most. Default 500.
    #[schemars(range(min = 1))]
    pub read_batch_size: Option<u64>,
    /// How long a batch waits to fill, at most. Default 1s.
    pub read_timeout: Option<Duration>,
    /// How many messages per second are read.
    pub rate_limit: Option<RateLimit>,
    /// Messages in flight, at most. Default: `readBatchSize`.
    #[schemars(range(min = 1))]
    pub concurrency: Option<u64>,
}

/// How many messages per second may be read.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RateLimit {
    /// The target: messages per second of the vertex with a shared store, of one pod without.
    pub max: Option<u64>,
    /// Messages per second at the start of the ramp. Default 1.
    pub min: Option<u64>,
    /// How long the way from `min` to `max` takes. Default 1s.
    pub ramp_up_duration: Option<Duration>,
    /// Where pods agree about their shares; without it each pod is on its own.
    pub store: Option<RateLimitStore>,
    /// How the rate reacts to demand. Default relaxed.
    pub modes: Option<RateLimitModes>,
    /// Start the ramp where a pod of the same name left off. Default false.
    pub resumed_ramp_up: Option<bool>,
    /// When a silent pod stops counting. Default 180s.
    pub ttl: Option<Duration>,
}

/// Where pods agree about their shares.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RateLimitStore {
    /// In the memory of each process: shared by the workers of one, and by nobody else.
    pub in_memory_store: Option<Empty>,
    /// In Redis.
    pub redis_store: Option<RedisStore>,
}

/// A Redis server or a group of them under Sentinel.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RedisStore {
    /// One server or Sentinel.
    pub mode: RedisStoreMode,
    /// The server in mode `single`.
    pub url: Option<String>,
    /// The database number. Default 0.
    pub db: Option<i32>,
    /// The group in mode `sentinel`.
    pub sentinel: Option<RedisSentinel>,
}

/// How Redis is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedisStoreMode {
    /// One server.
    #[default]
    Single,
    /// A group under Sentinel.
    Sentinel,
}

/// A group of Redis servers under Sentinel.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RedisSentinel {
    /// The name of the master.
    #[schemars(length(min = 1))]
    pub master_name: String,
    /// Addresses of the sentinels.
    #[schemars(length(min = 1))]
    pub endpoints: Vec<String>,
    /// Credentials for the sentinels.
    pub sentinel_auth: Option<RedisAuth>,
    /// Credentials for the servers.
    pub redis_auth: Option<RedisAuth>,
    /// TLS towards the sentinels.
    #[serde(rename = "sentinelTLS")]
    pub sentinel_tls: Option<Tls>,
    /// TLS towards the servers.
    #[serde(rename = "redisTLS")]
    pub redis_tls: Option<Tls>,
}

/// How the rate reacts to demand: one of these.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RateLimitModes {
    /// The ramp goes up with time alone.
    pub scheduled: Option<Empty>,
    /// The ramp goes up while there is any demand.
    pub relaxed: Option<Empty>,
    /// The ramp goes up only while enough of the present rate is used.
    pub only_if_used: Option<OnlyIfUsed>,
    /// The ramp also goes down when too little is used.
    pub go_back_n: Option<GoBackN>,
}

/// Settings of `onlyIfUsed`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct OnlyIfUsed {
    /// The share of the present rate that must be used. Default 50.
    pub threshold_percentage: Option<u32>,
}

/// Settings of `goBackN`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct GoBackN {
    /// How long too little use is borne. Default 5s.
    pub cool_down_period: Option<Duration>,
    /// How much the rate falls. Default 50.
    pub ramp_down_percentage: Option<u32>,
    /// The share of the present rate that must be used. Default 50.
    pub threshold_percentage: Option<u32>,
}

/// What happens when user code or a sink fails.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RetryStrategy {
    /// How long to wait between tries.
    pub backoff: Option<Backoff>,
    /// `retry`, `fallback` or `drop` when the tries are used up. Default `retry`.
    pub on_failure: Option<String>,
}

/// Growing waits between tries.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Backoff {
    /// The first wait. Default 1ms.
    pub interval: Option<Duration>,
    /// Tries in all, the first included. Without it there is no end.
    pub steps: Option<u32>,
    /// What each wait is multiplied by. Default 1.
    pub factor: Option<f64>,
    /// The longest wait.
    pub cap: Option<Duration>,
    /// The share of a wait that is random, from 0 up to but not including 1. Default 0.
    pub jitter: Option<f64>,
}
