//! Where a rollout is, as status and as one sentence. Nothing is decided here. Invariant: it says what is so at this
//! turn, with the numbers.

use std::time::Duration;

use api::revision::Revision;
use serde::{Deserialize, Serialize};

use super::Turn;
use super::judge::Verdict;
use super::memory::{RolledBack, Stage};
use crate::Time;

/// Where a rollout is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// In one word.
    pub phase: Phase,
    /// The way of it, such as `Canary`; none when nothing is under way.
    pub kind: Option<String>,
    /// The step of a canary, from 1 up, and how many there are.
    pub step: Option<(u32, u32)>,
    /// The percentage of the work that a canary has.
    pub weight: Option<u32>,
    /// The version before.
    pub from: Option<Revision>,
    /// The version that is to serve.
    pub to: Revision,
    /// Why it stands or failed, in a word.
    pub reason: Option<String>,
    /// When it fails unless it comes further.
    pub deadline: Option<Time>,
    /// The last verdict, with what it was made from.
    pub verdict: Option<Verdict>,
    /// The version that was given up, and why.
    pub rolled_back: Option<RolledBack>,
    /// The last good version.
    pub current_hash: Option<Revision>,
    /// The version that the manifest asks for.
    pub update_hash: Revision,
    /// Workers that run the version that is to serve.
    pub updated_replicas: u32,
    /// Those of them that are ready.
    pub updated_ready_replicas: u32,
    /// Workers that are ready, of all versions.
    pub ready_replicas: u32,
    /// One sentence for people.
    pub sentence: String,
}

/// Where a rollout is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing is under way, and what serves is what is wanted.
    Complete,
    /// It is under way.
    RollingOut,
    /// It waits for a word, or for a time that somebody has set.
    Paused,
    /// It goes back to the last good version.
    RollingBack,
    /// What is wanted was given up; the last good version serves.
    RolledBack,
    /// It has failed and stays where it is.
    Failed,
}

impl Turn<'_> {
    pub(super) fn progress(&self) -> Progress {
        let to = self.target();
        let rollout = self.memory.rollout.as_ref();
        let failed = rollout.and_then(|rollout| rollout.failed.as_ref());
        let rolled_back = self.memory.rolled_back.clone();
        let update = self.input.update;
        let (step, weight) = match rollout.map(|rollout| &rollout.stage) {
            Some(Stage::Canary { step, weight, .. }) => {
                let of = update.canary.len() as u32;
                (Some(((*step as u32 + 1).min(of), of)), Some(*weight))
            }
            Some(Stage::Rolling | Stage::Recreate | Stage::BlueGreen { .. }) | None => (None, None),
        };
        let live = rollout.filter(|rollout| rollout.failed.is_none() && self.input.desired > 0);
        Progress {
            phase: self.phase(),
            kind: rollout.map(|_| format!("{:?}", update.kind)),
            step,
            weight,
            from: rollout.and_then(|rollout| rollout.from.clone()),
            reason: failed
                .map(|failure| failure.reason.clone())
                .or_else(|| Some(rolled_back.as_ref()?.failure.reason.clone())),
            deadline: live.map(|rollout| rollout.marks.at.after(update.progress_deadline)),
            verdict: self.memory.verdict.clone(),
            rolled_back,
            current_hash: self.memory.stable.clone(),
            update_hash: self.input.wanted.clone(),
            updated_replicas: self.roster.count(&to),
            updated_ready_replicas: self.roster.ready(&to),
            ready_replicas: self.roster.kept().filter(|(_, member)| member.is_ready()).count() as u32,
            sentence: self.sentence(),
            to,
        }
    }

    fn phase(&self) -> Phase {
        let given_up = self.memory.rolled_back.is_some() && self.memory.held.is_some();
        let Some(rollout) = &self.memory.rollout else {
            return if given_up { Phase::RolledBack } else { Phase::Complete };
        };
        let complete = self.blue_green_stage().0.is_some();
        let waits = self.canary_waiting(&rollout.to).is_some_and(|waiting| waiting.reason == "RolloutPaused");
        match rollout.failed {
            Some(_) => Phase::Failed,
            None if given_up => Phase::RollingBack,
            None if waits || complete => Phase::Paused,
            None => Phase::RollingOut,
        }
    }

    /// What is so, and what it waits for.
    pub(super) fn sentence(&self) -> String {
        let desired = self.input.desired;
        let to = self.target();
        let Some(rollout) = &self.memory.rollout else {
            return match &self.memory.rolled_back {
                Some(back) => {
                    format!("rolled back from {} to {}: {}", back.from, back.to, back.failure.message)
                }
                None => format!("{} of {desired} ready", self.roster.ready(&to)),
            };
        };
        let updated = self.roster.available(&to).min(desired);
        let head = format!("{updated} of {desired} updated");
        if let Some(failure) = &rollout.failed {
            return format!("{head}, failed: {}", failure.message);
        }
        let strategy = self.canary_waiting(&to).or_else(|| self.blue_green_waiting(&to));
        if let Some(waiting) = strategy.filter(|_| rollout.from.is_some()) {
            return format!("{head}, {}", waiting.message);
        }
        match self.obstacle(&to) {
            Some(obstacle) => format!("{head}, waiting for {obstacle}"),
            None => head,
        }
    }

    fn obstacle(&self, to: &Revision) -> Option<String> {
        let called = |replica: u32| format!("{}-{to}[{replica}]", self.input.vertex);
        let waits = self.roster.kept_of(to).find(|(_, member)| !self.roster.is_available(member));
        if let Some((name, member)) = waits {
            let called = called(name.replica);
            let min_ready = span(self.input.update.min_ready);
            return Some(match (member.failing(), member.is_ready(), member.worker) {
                (Some(reason), _, _) => format!("{called}, which fails: {reason}"),
                (None, true, _) => format!("{called} to be ready for {min_ready}"),
                (None, false, Some(_)) => format!("{called} to be ready"),
                (None, false, None) => format!("{called} to be started"),
            });
        }
        if self.roster.count(to) < self.input.desired {
            return Some(format!("{} workers to go before more can start", self.roster.foreign(to)));
        }
        let rollout = self.memory.rollout.as_ref()?;
        let verdict = rollout.judge.verdict.as_ref().filter(|_| rollout.from.is_some() && !rollout.forced)?;
        Some(format!("a verdict: {}", verdict.message))
    }
}

/// A time as people write it, such as `2m` or `1m30s`.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}
