//! A version that is given more of the work step by step, beside a stable version with its full capacity. Invariant: the
//! stable version keeps all its workers until the last step is over.

use std::collections::BTreeMap;

use api::resolve::CanaryStep;
use api::revision::Revision;

use super::memory::Stage;
use super::rolling::{self, Change, Limits, Shed};
use super::{Step, Turn};
use crate::{Event, Waiting};

/// How many workers a version needs for its percentage of the work.
fn needed(desired: u32, weight: u32) -> u32 {
    let exact = (u64::from(desired) * u64::from(weight)).div_ceil(100);
    (exact as u32).min(desired)
}

/// The percentage that the steps up to this one ask for.
fn weight_at(steps: &[CanaryStep], step: usize) -> u32 {
    let set = steps.iter().take(step + 1).rev().find_map(|step| match step {
        CanaryStep::SetWeight(weight) => Some(*weight),
        CanaryStep::Analyse(_) | CanaryStep::Wait(_) | CanaryStep::WaitForWord => None,
    });
    set.unwrap_or(0).min(100)
}

impl Turn<'_> {
    /// One turn of a canary.
    pub(super) fn canary(&mut self, to: &Revision, stable: &Revision, limits: Limits) -> Step {
        let steps = self.input.update.canary.as_slice();
        loop {
            let (step, weight) = self.canary_stage();
            if step < steps.len() && !self.is_frozen() && self.skips_steps(to, stable) {
                self.enter(steps.len(), weight, to);
                continue;
            }
            let largest = (0..=step).map(|step| weight_at(steps, step)).max().unwrap_or(0);
            let limits = limits.with_surge(needed(limits.desired, largest));
            let Some(present) = steps.get(step) else {
                let frozen = self.is_frozen();
                rolling::roll(&mut self.roster, Change { to, stable: Some(stable), frozen }, limits);
                return Step { shares: rolling::shares_by_ready(&self.roster, to), holding: false };
            };
            let wanted = needed(limits.desired, weight_at(steps, step));
            self.beside(to, stable, wanted, limits);
            if self.is_frozen() || !self.step_is_over(present, to, wanted) {
                let complete = self.roster.available(to) >= wanted;
                let shares = self.canary_shares(to, stable, weight, limits);
                return Step { shares, holding: complete && self.is_step_waiting(present) };
            }
            let weight =
                if let CanaryStep::SetWeight(weight) = present { (*weight).min(100) } else { weight };
            self.enter(step + 1, weight, to);
        }
    }

    fn canary_stage(&self) -> (usize, u32) {
        match self.memory.rollout.as_ref().map(|rollout| &rollout.stage) {
            Some(Stage::Canary { step, since: _, weight }) => (*step, *weight),
            Some(Stage::Rolling | Stage::Recreate | Stage::BlueGreen { .. }) | None => (0, 0),
        }
    }

    /// So many workers of a version beside all of the stable one.
    pub(super) fn beside(&mut self, to: &Revision, stable: &Revision, count: u32, limits: Limits) {
        self.roster.trim_lost(to, count);
        rolling::fill(&mut self.roster, stable, limits.desired, limits.ceiling);
        if !self.is_frozen() {
            rolling::fill(&mut self.roster, to, count, limits.ceiling);
        }
        rolling::trim(&mut self.roster, stable, limits.desired);
        if self.roster.ready(stable) >= limits.floor {
            rolling::trim(&mut self.roster, to, count);
        }
        let goals = [stable, to];
        // The version on trial is no capacity that anybody relies on.
        let serves = |revision: &Revision| revision != to;
        rolling::shed(
            &mut self.roster,
            to,
            Shed { floor: limits.floor, goals: &goals, serves: &serves, spared: None },
        );
    }

    /// Whether nobody wants the steps, or there is no stable version to compare with or to spare.
    fn skips_steps(&self, to: &Revision, stable: &Revision) -> bool {
        let forced = self.memory.rollout.as_ref().is_some_and(|rollout| rollout.forced);
        forced || (self.is_broken(stable) && self.roster.available(to) > 0)
    }

    /// Whether the present step is over, so that the next one begins.
    fn step_is_over(&mut self, present: &CanaryStep, to: &Revision, wanted: u32) -> bool {
        let now = self.input.now;
        let available = self.roster.available(to) >= wanted;
        let Some(rollout) = self.memory.rollout.as_mut() else { return false };
        let Stage::Canary { since, .. } = rollout.stage else { return false };
        let told = available && std::mem::take(&mut rollout.go_on);
        match present {
            CanaryStep::SetWeight(_) => {
                // Put back what was said before there was anything to wait for.
                rollout.go_on |= told;
                available
            }
            CanaryStep::Analyse(duration) => {
                let passed = now.since(since) >= *duration && rollout.judge.passes();
                (passed || told) && available
            }
            CanaryStep::Wait(duration) => (now.since(since) >= *duration || told) && available,
            CanaryStep::WaitForWord => told,
        }
    }

    /// Whether the step waits for nothing but time or a word.
    fn is_step_waiting(&self, present: &CanaryStep) -> bool {
        let Some(Stage::Canary { since, .. }) = self.memory.rollout.as_ref().map(|rollout| &rollout.stage)
        else {
            return false;
        };
        match present {
            CanaryStep::SetWeight(_) => false,
            CanaryStep::Analyse(duration) => self.input.now.since(*since) < *duration,
            CanaryStep::Wait(_) | CanaryStep::WaitForWord => true,
        }
    }

    fn enter(&mut self, step: usize, weight: u32, to: &Revision) {
        let steps = self.input.update.canary.as_slice();
        let now = self.input.now;
        let analyses = matches!(steps.get(step), Some(CanaryStep::Analyse(_)));
        let Some(rollout) = self.memory.rollout.as_mut() else { return };
        rollout.stage = Stage::Canary { step, since: now, weight };
        rollout.marks.at = now;
        if analyses {
            self.judge_afresh(to);
        }
        let about = self.about();
        let message = match steps.get(step) {
            Some(CanaryStep::SetWeight(next)) => format!("version {to} is to have {next} % of the work"),
            Some(CanaryStep::Analyse(time)) => {
                format!(
                    "version {to} has {weight} % of the work and is judged for {}",
                    super::progress::span(*time)
                )
            }
            Some(CanaryStep::Wait(time)) => {
                format!(
                    "version {to} has {weight} % of the work; waiting for {}",
                    super::progress::span(*time)
                )
            }
            Some(CanaryStep::WaitForWord) => {
                let message = format!("version {to} has {weight} % of the work; promote it or abort it");
                self.events.push(Event::normal(about.clone(), "RolloutPaused", message.clone()));
                message
            }
            None => format!("version {to} has passed all steps and takes over"),
        };
        let place = (step + 1).min(steps.len());
        let message = format!("step {place} of {}: {message}", steps.len());
        self.events.push(Event::normal(about, "CanaryStep", message));
    }

    /// The version on trial has its percentage when all its workers are ready, and less with fewer of them.
    fn canary_shares(
        &self,
        to: &Revision,
        stable: &Revision,
        weight: u32,
        limits: Limits,
    ) -> BTreeMap<Revision, u32> {
        let more = self.was_serving(to)
            || self.roster.revisions().iter().any(|other| other != to && other != stable);
        if self.roster.ready(stable) < limits.floor && more {
            // An edit came in the middle: the stable version has yet to get its capacity back.
            return rolling::shares_by_ready(&self.roster, to);
        }
        let all = needed(limits.desired, weight).max(1);
        let ready = self.roster.ready(to).min(all);
        let effective = (u64::from(weight) * u64::from(ready) / u64::from(all)) as u32;
        let mut shares = BTreeMap::from([(stable.clone(), 100 - effective)]);
        if effective > 0 {
            shares.insert(to.clone(), effective);
        }
        shares
    }

    /// Whether there are ready workers of the version from before this rollout: it was interrupted by another one.
    pub(super) fn was_serving(&self, to: &Revision) -> bool {
        let started = self.memory.rollout.as_ref().map(|rollout| rollout.started);
        started.is_some_and(|started| self.roster.has_older(to, started))
    }

    /// Says what a canary waits for.
    pub(super) fn canary_waiting(&self, to: &Revision) -> Option<Waiting> {
        let steps = self.input.update.canary.as_slice();
        let (step, weight) = self.canary_stage();
        let Some(Stage::Canary { since, .. }) = self.memory.rollout.as_ref().map(|rollout| &rollout.stage)
        else {
            return None;
        };
        let place = format!("step {} of {}", step + 1, steps.len());
        let (reason, message) = match steps.get(step)? {
            CanaryStep::SetWeight(weight) => {
                let wanted = needed(self.input.desired, *weight);
                let ready = self.roster.available(to);
                (
                    "WorkersNotReady",
                    format!("{place}: {ready} of {wanted} workers for {weight} % of the work"),
                )
            }
            CanaryStep::Analyse(duration) => {
                let verdict = self.memory.rollout.as_ref().and_then(|rollout| rollout.judge.verdict.as_ref());
                let so_far = verdict.map_or("no records yet", |verdict| verdict.message.as_str());
                let end = since.after(*duration);
                let reason = if self.input.now >= end { "InsufficientData" } else { "Analysis" };
                (reason, format!("{place}: judged at {weight} % of the work: {so_far}"))
            }
            CanaryStep::Wait(duration) => {
                let left = since.after(*duration).since(self.input.now);
                (
                    "RolloutPaused",
                    format!("{place}: {weight} % of the work for {} more", super::progress::span(left)),
                )
            }
            CanaryStep::WaitForWord => (
                "RolloutPaused",
                format!("{place}: {weight} % of the work until somebody promotes or aborts it"),
            ),
        };
        Some(Waiting::new(self.about(), reason, message))
    }
}
