//! What a turn says and when to look again. Nothing is decided here. Invariant: whatever waits for time to pass is in
//! `look_again`.

use std::collections::BTreeMap;

use api::resolve::CanaryStep;
use api::revision::Revision;

use super::memory::{Memory, Stage};
use super::{Outcome, Turn};
use crate::{Time, Waiting};

impl Turn<'_> {
    pub(super) fn into_outcome(self, shares: BTreeMap<Revision, u32>) -> Outcome {
        let progress = self.progress();
        let mut waiting = self.waiting.clone();
        waiting.extend(self.waits());
        let look_again = self.look_again();
        let workers = self.roster.kept().map(|(name, _)| name.clone()).collect();
        let mut memory = Memory { workers: self.roster.into_known(), ..self.memory };
        memory.forget();
        Outcome { workers, shares, memory, waiting, events: self.events, progress, look_again }
    }

    fn waits(&self) -> Vec<Waiting> {
        let Some(rollout) = &self.memory.rollout else { return Vec::new() };
        if let Some(failure) = &rollout.failed {
            let message = format!("version {}: {}", rollout.to, failure.message);
            return vec![Waiting::new(self.about(), &failure.reason, message)];
        }
        if self.input.desired == 0 {
            let message = format!("version {} is rolled out when the vertex has workers again", rollout.to);
            return vec![Waiting::new(self.about(), "NoReplicas", message)];
        }
        let own = match &rollout.stage {
            Stage::Canary { .. } if rollout.from.is_some() => self.canary_waiting(&rollout.to),
            Stage::BlueGreen { .. } if rollout.from.is_some() => self.blue_green_waiting(&rollout.to),
            Stage::Rolling | Stage::Recreate | Stage::Canary { .. } | Stage::BlueGreen { .. } => None,
        };
        let all = || Waiting::new(self.about(), "RolloutProgressing", self.sentence());
        vec![own.unwrap_or_else(all)]
    }

    fn look_again(&self) -> Option<Time> {
        let (now, update) = (self.input.now, self.input.update);
        let mut times = vec![self.roster.next_available(), self.roster.next_gone(), self.judged_at()];
        if let Some(rollout) = self.memory.rollout.as_ref().filter(|rollout| rollout.failed.is_none()) {
            times.push(Some(rollout.marks.at.after(update.progress_deadline)));
            times.push(rollout.judge.next_look());
            match &rollout.stage {
                Stage::Canary { step, since, .. } => match update.canary.get(*step) {
                    Some(CanaryStep::Analyse(time) | CanaryStep::Wait(time)) => {
                        times.push(Some(since.after(*time)));
                    }
                    Some(CanaryStep::SetWeight(_) | CanaryStep::WaitForWord) | None => {}
                },
                Stage::BlueGreen { complete, switched } => {
                    times.push(complete.map(|since| since.after(update.blue_green.preview)));
                    times.push(switched.map(|since| since.after(update.blue_green.keep_old)));
                }
                Stage::Rolling | Stage::Recreate => {}
            }
        }
        times.into_iter().flatten().filter(|time| *time > now).min()
    }
}
