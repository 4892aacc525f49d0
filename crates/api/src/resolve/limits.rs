//! Limits with every default filled in. The invariant: batch size and concurrency are at least one.

use std::time::Duration;

use crate::Duration as Written;
use crate::spec::{
    MonoVertexLimits, PipelineLimits, RateLimit as RateLimitSpec, RateLimitModes, RateLimitStore,
    VertexLimits,
};

const READ_BATCH_SIZE: u64 = 500;
const READ_TIMEOUT: Written = Written::from_secs(1);
const BUFFER_MAX_LENGTH: u64 = 30_000;
const BUFFER_USAGE_LIMIT_PERCENT: u32 = 80;
const RATE_MIN: u64 = 1;
const RATE_RAMP_UP: Written = Written::from_secs(1);
const RATE_TTL: Written = Written::from_secs(180);
const GO_BACK_COOL_DOWN: Written = Written::from_secs(5);
const PERCENTAGE: u32 = 50;

/// How much a vertex takes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Messages in one batch, at most.
    pub read_batch_size: u64,
    /// How long a batch waits to fill, at most.
    pub read_timeout: Duration,
    /// Messages in one buffer partition, at most.
    pub buffer_max_length: u64,
    /// The percentage of that length at which writers wait.
    pub buffer_usage_limit_percent: u32,
    /// Messages in flight, at most.
    pub concurrency: u64,
    /// How many messages per second are read; nothing means as many as there are.
    pub rate_limit: Option<RateLimit>,
}

impl Limits {
    /// Messages in one buffer partition at which writers wait.
    pub fn buffer_usable_length(&self) -> u64 {
        let usable = u128::from(self.buffer_max_length) * u128::from(self.buffer_usage_limit_percent) / 100;
        u64::try_from(usable).unwrap_or(u64::MAX).max(1)
    }

    /// Field by field: the vertex, then the pipeline, then what is built in. A concurrency that the vertex does
    /// not set comes from the pipeline, where it is the *pipeline's* batch size if it is not set either.
    pub(super) fn of_vertex(pipeline: Option<&PipelineLimits>, vertex: Option<&VertexLimits>) -> Self {
        let none = PipelineLimits::default();
        let (pipeline, vertex) = (pipeline.unwrap_or(&none), vertex.unwrap_or(&none));
        let pipeline_batch = pipeline.read_batch_size.unwrap_or(READ_BATCH_SIZE);
        Self {
            read_batch_size: vertex.read_batch_size.unwrap_or(pipeline_batch),
            read_timeout: vertex.read_timeout.or(pipeline.read_timeout).unwrap_or(READ_TIMEOUT).to_std(),
            buffer_max_length: vertex
                .buffer_max_length
                .or(pipeline.buffer_max_length)
                .unwrap_or(BUFFER_MAX_LENGTH),
            buffer_usage_limit_percent: vertex
                .buffer_usage_limit
                .or(pipeline.buffer_usage_limit)
                .unwrap_or(BUFFER_USAGE_LIMIT_PERCENT),
            concurrency: vertex.concurrency.or(pipeline.concurrency).unwrap_or(pipeline_batch),
            rate_limit: rate_limit(vertex.rate_limit.as_ref(), pipeline.rate_limit.as_ref()),
        }
    }

    pub(super) fn of_mono_vertex(limits: Option<&MonoVertexLimits>) -> Self {
        let none = MonoVertexLimits::default();
        let limits = limits.unwrap_or(&none);
        let read_batch_size = limits.read_batch_size.unwrap_or(READ_BATCH_SIZE);
        Self {
            read_batch_size,
            read_timeout: limits.read_timeout.unwrap_or(READ_TIMEOUT).to_std(),
            buffer_max_length: BUFFER_MAX_LENGTH,
            buffer_usage_limit_percent: BUFFER_USAGE_LIMIT_PERCENT,
            concurrency: limits.concurrency.unwrap_or(read_batch_size),
            rate_limit: rate_limit(limits.rate_limit.as_ref(), None),
        }
    }
}

/// How many messages per second are read.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// The target; nothing means none.
    pub max: Option<u64>,
    /// Messages per second at the start of the ramp.
    pub min: u64,
    /// How long the way from `min` to `max` takes.
    pub ramp_up: Duration,
    /// Where pods agree about their shares; nothing means each on its own.
    pub store: Option<RateLimitStore>,
    /// How the rate reacts to demand.
    pub mode: RateLimitMode,
    /// Start the ramp where a pod of the same name left off.
    pub resumed_ramp_up: bool,
    /// When a silent pod stops counting.
    pub ttl: Duration,
}

/// How the rate reacts to demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateLimitMode {
    /// The ramp goes up with time alone.
    Scheduled,
    /// The ramp goes up while there is any demand.
    Relaxed,
    /// The ramp goes up only while so much of the present rate is used.
    OnlyIfUsed {
        /// In percent.
        threshold: u32,
    },
    /// The ramp also goes down when too little is used.
    GoBackN {
        /// How long too little use is borne.
        cool_down: Duration,
        /// By how much it goes down, in percent.
        ramp_down: u32,
        /// The share that must be used, in percent.
        threshold: u32,
    },
}

/// The vertex's limit if it has one, with what it leaves open taken from the pipeline's; else the pipeline's.
fn rate_limit(vertex: Option<&RateLimitSpec>, pipeline: Option<&RateLimitSpec>) -> Option<RateLimit> {
    let own = vertex.or(pipeline)?;
    let none = RateLimitSpec::default();
    let base = pipeline.unwrap_or(&none);
    Some(RateLimit {
        max: own.max.or(base.max),
        min: own.min.or(base.min).unwrap_or(RATE_MIN),
        ramp_up: own.ramp_up_duration.or(base.ramp_up_duration).unwrap_or(RATE_RAMP_UP).to_std(),
        store: own.store.clone().or_else(|| base.store.clone()),
        mode: mode(own.modes.as_ref()),
        resumed_ramp_up: own.resumed_ramp_up.unwrap_or(false),
        ttl: own.ttl.unwrap_or(RATE_TTL).to_std(),
    })
}

fn mode(modes: Option<&RateLimitModes>) -> RateLimitMode {
    let Some(RateLimitModes { scheduled, relaxed: _, only_if_used, go_back_n }) = modes else {
        return RateLimitMode::Relaxed;
    };
    if scheduled.is_some() {
        return RateLimitMode::Scheduled;
    }
    if let Some(settings) = only_if_used {
        return RateLimitMode::OnlyIfUsed { threshold: settings.threshold_percentage.unwrap_or(PERCENTAGE) };
    }
    match go_back_n {
        None => RateLimitMode::Relaxed,
        Some(settings) => RateLimitMode::GoBackN {
            cool_down: settings.cool_down_period.unwrap_or(GO_BACK_COOL_DOWN).to_std(),
            ramp_down: settings.ramp_down_percentage.unwrap_or(PERCENTAGE),
            threshold: settings.threshold_percentage.unwrap_or(PERCENTAGE),
        },
    }
}
