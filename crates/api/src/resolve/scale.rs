//! Scaling with every default filled in. The invariant: `min` is not above `max`.

use std::time::Duration;

use crate::spec::{self, ScaleCron};

const MAX: u32 = 50;
const LOOKBACK_SECONDS: u32 = 120;
const LOOKBACK_SECONDS_MAX: u32 = 600;
const ZERO_REPLICA_SLEEP_SECONDS: u32 = 120;
const TARGET_PROCESSING_SECONDS: u32 = 20;
const TARGET_BUFFER_AVAILABILITY_PERCENT: u32 = 50;
const STEP: u32 = 2;
const COOLDOWN_SECONDS: u32 = 90;

/// Bounds and pace of scaling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// False when somebody else decides about replicas.
    pub automatic: bool,
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// The history that rates are taken from.
    pub lookback: Duration,
    /// How long a source sleeps at zero replicas before it looks again.
    pub zero_replica_sleep: Duration,
    /// The time in which a backlog should be done.
    pub target_processing: Duration,
    /// The percentage of the buffer that should be free.
    pub target_buffer_availability_percent: u32,
    /// Largest step up.
    pub step_up: u32,
    /// Largest step down.
    pub step_down: u32,
    /// The time between steps up.
    pub cooldown_up: Duration,
    /// The time between steps down.
    pub cooldown_down: Duration,
    /// Other bounds at other times.
    pub cron: Option<ScaleCron>,
}

impl Scale {
    pub(super) fn from_spec(spec: Option<&spec::Scale>) -> Self {
        let none = spec::Scale::default();
        let spec = spec.unwrap_or(&none);
        let count = |count: Option<i32>, default: u32| {
            count.map_or(default, |count| u32::try_from(count).unwrap_or(0))
        };
        let seconds =
            |count: Option<u32>, default: u32| Duration::from_secs(u64::from(count.unwrap_or(default)));
        let max = count(spec.max, MAX);
        let step = spec.replicas_per_scale.unwrap_or(STEP);
        Self {
            automatic: !spec.disabled.unwrap_or(false),
            min: count(spec.min, 0).min(max),
            max,
            lookback: seconds(
                spec.lookback_seconds.map(|seconds| seconds.min(LOOKBACK_SECONDS_MAX)),
                LOOKBACK_SECONDS,
            ),
            zero_replica_sleep: seconds(spec.zero_replica_sleep_seconds, ZERO_REPLICA_SLEEP_SECONDS),
            target_processing: seconds(spec.target_processing_seconds, TARGET_PROCESSING_SECONDS),
            target_buffer_availability_percent: spec
                .target_buffer_availability
                .unwrap_or(TARGET_BUFFER_AVAILABILITY_PERCENT),
            step_up: spec.replicas_per_scale_up.unwrap_or(step),
            step_down: spec.replicas_per_scale_down.unwrap_or(step),
            cooldown_up: seconds(spec.scale_up_cooldown_seconds, COOLDOWN_SECONDS),
            cooldown_down: seconds(spec.scale_down_cooldown_seconds, COOLDOWN_SECONDS),
            cron: spec.cron.clone(),
        }
    }

    /// One replica per partition, whatever was asked for.
    pub(super) fn fix_at(&mut self, partitions: u32) {
        self.automatic = false;
        self.min = partitions;
        self.max = partitions;
    }

    /// `wanted`, within the bounds.
    pub(super) fn replicas_at_start(&self, wanted: u32) -> u32 {
        wanted.clamp(self.min, self.max)
    }
}
