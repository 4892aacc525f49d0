//! What an object is doing, in a line. Invariant: the words are the same wherever the object runs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use api::spec::Phase;
use serde::{Deserialize, Serialize};

use super::About;
use crate::decide::{Progress, RolloutLine};
use crate::lifecycle::{self, Purpose};
use crate::said::thousands;
use crate::seen::WorkerState;

/// What an object is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Summary {
    /// It runs, and nothing is to be said about it.
    Running,
    /// It drains so that it can stand still.
    Pausing(Draining),
    /// It drains so that an edit can take over.
    Reshaping(Draining),
    /// It drains so that it can go.
    Deleting(Draining),
    /// It stands still.
    Paused {
        /// Everything was found drained.
        drained: bool,
        /// Messages inside, as far as anybody can tell.
        left: Option<u64>,
    },
    /// A version is on its way.
    RollingOut {
        /// Workers of that version that are ready.
        ready: u32,
        /// How many there should be.
        desired: u32,
    },
    /// A version was given up.
    RolledBack {
        /// Why.
        reason: String,
    },
    /// It cannot work.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a drain gets on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draining {
    /// Everything was found drained, and workers are going.
    pub drained: bool,
    /// Messages inside, as far as anybody can tell.
    pub left: Option<u64>,
    /// How long it takes at the present pace.
    pub estimate: Option<Duration>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("Running"),
            Self::Pausing(draining) => write!(f, "Pausing ({draining})"),
            Self::Reshaping(draining) => write!(f, "Reshaping ({draining})"),
            Self::Deleting(draining) => write!(f, "Deleting ({draining})"),
            Self::Paused { drained: true, .. } => f.write_str("Paused (drained)"),
            Self::Paused { drained: false, left: Some(left) } => {
                write!(f, "Paused ({} left)", thousands(*left))
            }
            Self::Paused { drained: false, left: None } => f.write_str("Paused (not drained)"),
            Self::RollingOut { ready, desired } => write!(f, "Rolling out ({ready}/{desired})"),
            Self::RolledBack { reason } => write!(f, "Rolled back ({reason})"),
            Self::Failed { reason } => write!(f, "Failed ({reason})"),
        }
    }
}

impl fmt::Display for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.drained {
            return f.write_str("drained, workers stop");
        }
        f.write_str("draining")?;
        if let Some(left) = self.left {
            write!(f, ", {} left", thousands(left))?;
        }
        match self.estimate {
            Some(estimate) if self.left != Some(0) => write!(f, ", ~{}", words(estimate)),
            Some(_) | None => Ok(()),
        }
    }
}

/// A duration as people say it.
fn words(duration: Duration) -> String {
    match duration.as_millis().div_ceil(1000) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", thousands(u64::try_from(seconds.div_ceil(3600)).unwrap_or(u64::MAX))),
    }
}

pub(crate) fn summary(
    life: &lifecycle::Memory,
    phase: Phase,
    progress: &Progress,
    about: &About<'_>,
    rollouts: &BTreeMap<String, RolloutLine>,
) -> Summary {
    let drained = life.verdict.is_some();
    let draining = Draining { drained, left: progress.left(), estimate: progress.estimate() };
    match life.purpose {
        Purpose::Run => running(about, rollouts),
        Purpose::Pause if phase == Phase::Paused => Summary::Paused { drained, left: progress.left() },
        Purpose::Pause => Summary::Pausing(draining),
        Purpose::Reshape => Summary::Reshaping(draining),
        Purpose::Delete | Purpose::DeleteNow => Summary::Deleting(draining),
    }
}

fn running(about: &About<'_>, rollouts: &BTreeMap<String, RolloutLine>) -> Summary {
    let failed = about.seen.vertices.iter().find_map(|(name, vertex)| {
        let reason = vertex.workers.values().find_map(|worker| match &worker.state {
            WorkerState::Failing { reason } => Some(reason),
            WorkerState::Starting | WorkerState::Ready | WorkerState::Stopping => None,
        });
        let any_ready = vertex.workers.values().any(crate::seen::Worker::is_ready);
        reason.filter(|_| !any_ready).map(|reason| format!("vertex {name}: {reason}"))
    });
    if let Some(reason) = failed {
        return Summary::Failed { reason };
    }
    if let Some(reason) = rollouts.values().find_map(|line| line.failed.clone()) {
        return Summary::Failed { reason };
    }
    let under_way = rollouts.values().filter_map(|line| line.under_way);
    if let Some((ready, desired)) = under_way.reduce(|sum, next| (sum.0 + next.0, sum.1 + next.1)) {
        return Summary::RollingOut { ready, desired };
    }
    match rollouts.values().find_map(|line| line.given_up.clone()) {
        Some(reason) => Summary::RolledBack { reason },
        None => Summary::Running,
    }
}
