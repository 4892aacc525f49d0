//! Update strategies with every default filled in. The invariant: percentages and ratios parse, because `check`
//! has parsed them before.

use std::time::Duration;

use crate::spec::stock::IntOrString;
use crate::spec::update::PrometheusQuery;
use crate::spec::{self, UpdateStrategy};

const MAX_UNAVAILABLE: Share = Share::Percent(25);
const MAX_SURGE: Share = Share::Count(1);
const MIN_READY_SECONDS: u32 = 5;
pub(crate) const PROGRESS_DEADLINE_SECONDS: u32 = 600;
const PREVIEW_SECONDS: u32 = 60;
const KEEP_OLD_SECONDS: u32 = 300;
const MIN_RECORDS: u64 = 100;
const MAX_ERROR_RATIO: f64 = 0.01;
const MAX_LATENCY_RATIO: f64 = 1.5;
const OUTPUT_RATIO_TOLERANCE: f64 = 0.05;

/// How a change reaches running workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The way of it.
    pub kind: UpdateKind,
    /// How many workers may be missing.
    pub max_unavailable: Share,
    /// How many workers may be too many.
    pub max_surge: Share,
    /// How long a worker must stay ready before it counts.
    pub min_ready: Duration,
    /// Without progress for so long a rollout has failed.
    pub progress_deadline: Duration,
    /// Go back to the last good revision without being asked.
    pub auto_rollback: bool,
    /// Steps of a canary, in order.
    pub canary: Vec<CanaryStep>,
    /// Settings of a blue-green switch.
    pub blue_green: BlueGreen,
    /// What a new revision is judged by.
    pub analysis: Analysis,
}

/// The way of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateKind {
    /// All old workers go, then all new ones come.
    Recreate,
    /// Some at a time.
    #[default]
    RollingUpdate,
    /// A growing share of the work, judged in between.
    Canary,
    /// A second set, then one switch.
    BlueGreen,
}

impl UpdateKind {
    /// The words that name one.
    pub const NAMES: [&'static str; 4] = ["RollingUpdate", "Recreate", "Canary", "BlueGreen"];

    /// Reads one of [`Self::NAMES`]; the empty text is `RollingUpdate`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "RollingUpdate" => Some(Self::RollingUpdate),
            "Recreate" => Some(Self::Recreate),
            "Canary" => Some(Self::Canary),
            "BlueGreen" => Some(Self::BlueGreen),
            _ => None,
        }
    }
}

/// So many, or such a share of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl Share {
    /// Reads `3`, `"3"` or `"25%"`; nothing when it is neither, or negative.
    pub fn parse(value: &IntOrString) -> Option<Self> {
        match value {
            IntOrString::Int(count) => u32::try_from(*count).ok().map(Self::Count),
            IntOrString::String(text) => match text.strip_suffix('%') {
                Some(percent) => digits(percent).map(Self::Percent),
                None => digits(text).map(Self::Count),
            },
        }
    }

    /// The count of `total`, a fraction left out.
    pub fn of_rounded_down(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => saturate(u64::from(total) * u64::from(percent) / 100),
        }
    }

    /// The count of `total`, a fraction made whole.
    pub fn of_rounded_up(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => saturate((u64::from(total) * u64::from(percent)).div_ceil(100)),
        }
    }

    /// True when it is none of any total.
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn saturate(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// One step of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryStep {
    /// Give the new revision that percentage of the work.
    SetWeight(u32),
    /// Judge it for so long.
    Analyse(Duration),
    /// Wait so long.
    Wait(Duration),
    /// Wait until somebody says to go on.
    WaitForWord,
}

/// Settings of a blue-green switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlueGreen {
    /// Switch without being asked.
    pub auto_promote: bool,
    /// The time between ready and the switch.
    pub preview: Duration,
    /// How long the old set stays after the switch.
    pub keep_old: Duration,
}

/// What a new revision is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Fewer records than this are no verdict.
    pub min_records: u64,
    /// Largest share of errors, from 0 to 1.
    pub max_error_ratio: f64,
    /// Largest latency as a multiple of the stable revision's.
    pub max_latency_ratio: f64,
    /// How far the ratio of output to input may be from the stable revision's, from 0 to 1.
    pub output_ratio_tolerance: f64,
    /// More queries, each of which must hold.
    pub prometheus: Vec<PrometheusQuery>,
}

impl Update {
    pub(super) fn from_spec(strategy: Option<&UpdateStrategy>) -> Self {
        let none = UpdateStrategy::default();
        let strategy = strategy.unwrap_or(&none);
        let rolling = strategy.rolling_update.clone().unwrap_or_default();
        let share =
            |written: Option<&IntOrString>, default| written.and_then(Share::parse).unwrap_or(default);
        let steps = strategy.canary.as_ref().map(|canary| canary.steps.as_slice()).unwrap_or_default();
        Self {
            kind: strategy.kind.as_deref().and_then(UpdateKind::parse).unwrap_or_default(),
            max_unavailable: share(rolling.max_unavailable.as_ref(), MAX_UNAVAILABLE),
            max_surge: share(rolling.max_surge.as_ref(), MAX_SURGE),
            min_ready: seconds(strategy.min_ready_seconds, MIN_READY_SECONDS),
            progress_deadline: seconds(strategy.progress_deadline_seconds, PROGRESS_DEADLINE_SECONDS),
            auto_rollback: strategy.rollback.as_ref().and_then(|rollback| rollback.auto).unwrap_or(true),
            canary: steps.iter().filter_map(canary_step).collect(),
            blue_green: blue_green(strategy.blue_green.as_ref()),
            analysis: analysis(strategy.analysis.as_ref()),
        }
    }
}

fn canary_step(step: &spec::CanaryStep) -> Option<CanaryStep> {
    match (&step.set_weight, &step.analysis, &step.pause) {
        (Some(weight), _, _) => Some(CanaryStep::SetWeight(*weight)),
        (_, Some(analysis), _) => Some(CanaryStep::Analyse(analysis.duration.to_std())),
        (_, _, Some(pause)) => Some(
            pause.duration.map_or(CanaryStep::WaitForWord, |duration| CanaryStep::Wait(duration.to_std())),
        ),
        (None, None, None) => None,
    }
}

fn blue_green(spec: Option<&spec::BlueGreen>) -> BlueGreen {
    let none = spec::BlueGreen::default();
    let spec = spec.unwrap_or(&none);
    BlueGreen {
        auto_promote: spec.auto_promote.unwrap_or(true),
        preview: seconds(spec.preview_seconds, PREVIEW_SECONDS),
        keep_old: seconds(spec.keep_old_seconds, KEEP_OLD_SECONDS),
    }
}

fn analysis(spec: Option<&spec::Analysis>) -> Analysis {
    let none = spec::Analysis::default();
    let spec = spec.unwrap_or(&none);
    let ratio = |text: &Option<String>, default| text.as_deref().and_then(parse_ratio).unwrap_or(default);
    Analysis {
        min_records: spec.min_records.unwrap_or(MIN_RECORDS),
        max_error_ratio: ratio(&spec.max_error_ratio, MAX_ERROR_RATIO),
        max_latency_ratio: spec.max_latency_ratio.unwrap_or(MAX_LATENCY_RATIO),
        output_ratio_tolerance: ratio(&spec.output_ratio_tolerance, OUTPUT_RATIO_TOLERANCE),
        prometheus: spec.prometheus.clone(),
    }
}

/// Reads `1%` or `0.5%` as a share from 0 up.
pub(crate) fn parse_ratio(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    (percent.is_finite() && percent >= 0.0).then_some(percent / 100.0)
}

fn seconds(count: Option<u32>, default: u32) -> Duration {
    Duration::from_secs(u64::from(count.unwrap_or(default)))
}
