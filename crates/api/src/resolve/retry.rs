//! Retries, redeliveries and what is expected of user code, with every default filled in. The invariant: tries that
//! have an end are at least one.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::spec::{self, OnExhausted, RetryStrategy};

const INTERVAL: Duration = Duration::from_millis(1);
/// The longest wait when none is set.
const CAP: Duration = Duration::from_millis(u32::MAX as u64);
const HOLD_WATERMARK: Duration = Duration::from_mins(1);
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(30);

/// What happens when user code or a sink fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// The first wait.
    pub interval: Duration,
    /// Tries in all, the first included; nothing means no end.
    pub steps: Option<u32>,
    /// What each wait is multiplied by.
    pub factor: f64,
    /// The longest wait.
    pub cap: Duration,
    /// The share of a wait that is random.
    pub jitter: f64,
    /// What happens when the tries are used up.
    pub on_failure: OnFailure,
}

/// What happens when the tries are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They never are.
    #[default]
    Retry,
    /// The message goes to the fallback sink.
    Fallback,
    /// The message is dropped and counted.
    Drop,
}

impl OnFailure {
    /// The words that name one.
    pub const NAMES: [&'static str; 3] = ["retry", "fallback", "drop"];

    /// Reads one of [`Self::NAMES`]; the empty text is `retry`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "retry" => Some(Self::Retry),
            "fallback" => Some(Self::Fallback),
            "drop" => Some(Self::Drop),
            _ => None,
        }
    }
}

impl Retry {
    /// Fills in what a retry strategy does not say.
    pub fn from_spec(strategy: Option<&RetryStrategy>) -> Self {
        let none = RetryStrategy::default();
        let strategy = strategy.unwrap_or(&none);
        let backoff = strategy.backoff.clone().unwrap_or_default();
        // Unknown words mean retry, which never loses anything.
        let on_failure = strategy.on_failure.as_deref().and_then(OnFailure::parse).unwrap_or_default();
        Self {
            interval: backoff.interval.map_or(INTERVAL, crate::Duration::to_std),
            steps: backoff.steps.filter(|_| on_failure != OnFailure::Retry),
            factor: backoff.factor.unwrap_or(1.0),
            cap: backoff.cap.map_or(CAP, crate::Duration::to_std),
            jitter: backoff.jitter.unwrap_or(0.0),
            on_failure,
        }
    }
}

/// What happens to messages that fail again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// Deliveries in all; nothing means no end.
    pub deliveries_max: Option<u32>,
    /// What happens when they are used up.
    pub on_exhausted: OnExhausted,
    /// How long a waiting message holds the watermark back, at most.
    pub hold_watermark: Duration,
}

impl Redelivery {
    pub(super) fn from_spec(spec: Option<&spec::Redelivery>) -> Self {
        let none = spec::Redelivery::default();
        let spec = spec.unwrap_or(&none);
        Self {
            deliveries_max: spec.max_deliveries,
            on_exhausted: spec.on_exhausted.unwrap_or_default(),
            hold_watermark: spec.hold_watermark.map_or(HOLD_WATERMARK, crate::Duration::to_std),
        }
    }
}

/// What is expected of the user code of a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCode {
    /// After so long without an answer a message is reported.
    pub unresponsive_after: Duration,
    /// A message that made user code crash so often while it was alone there is given up; nothing means never.
    pub poison_attempts: Option<NonZeroU32>,
}

impl UserCode {
    pub(super) fn from_spec(spec: Option<&spec::UserCode>) -> Self {
        let none = spec::UserCode::default();
        let spec::UserCode { unresponsive_after, poison_attempts } = spec.unwrap_or(&none);
        Self {
            unresponsive_after: unresponsive_after.map_or(UNRESPONSIVE_AFTER, crate::Duration::to_std),
            poison_attempts: poison_attempts.and_then(NonZeroU32::new),
        }
    }
}
