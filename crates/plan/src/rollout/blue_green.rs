//! A second set of workers beside the first one, and one switch. Invariant: at any time one of the two owns everything,
//! and the first set stays complete until the second one has proved itself.

use std::collections::BTreeMap;

use api::revision::Revision;

use super::memory::Stage;
use super::rolling::{self, Limits};
use super::{Step, Turn};
use crate::{Event, Time, Waiting};

impl Turn<'_> {
    /// One turn of a blue-green update.
    pub(super) fn blue_green(&mut self, to: &Revision, stable: &Revision, limits: Limits) -> Step {
        let limits = limits.with_surge(limits.desired);
        self.beside(to, stable, limits.desired, limits);
        let now = self.input.now;
        let all = self.roster.available(to) >= limits.desired;
        let Some(rollout) = self.memory.rollout.as_mut() else {
            return Step { shares: BTreeMap::from([(to.clone(), 1)]), holding: false };
        };
        if let Stage::BlueGreen { complete, switched: None } = &mut rollout.stage {
            *complete = if all { complete.or(Some(now)) } else { None };
        }
        if !self.is_frozen() && self.switches(to, stable) {
            self.switch(to);
        }
        let (_, switched) = self.blue_green_stage();
        let shares = match switched {
            Some(_) => BTreeMap::from([(to.clone(), 1)]),
            None => self.shares_before(to, stable, limits),
        };
        if switched.is_some() {
            // Versions in between have no part in it any more.
            while let Some(name) =
                self.roster.first_to_go(|name, _| name.revision != *to && name.revision != *stable)
            {
                self.roster.retire(&name);
            }
        }
        let doubt = self.memory.rollout.as_ref().is_some_and(|rollout| rollout.judge.is_suspicious());
        Step { shares, holding: all && (switched.is_none() || self.input.settled) && !doubt }
    }

    pub(super) fn blue_green_stage(&self) -> (Option<Time>, Option<Time>) {
        match self.memory.rollout.as_ref().map(|rollout| &rollout.stage) {
            Some(Stage::BlueGreen { complete, switched }) => (*complete, *switched),
            Some(Stage::Rolling | Stage::Recreate | Stage::Canary { .. }) | None => (None, None),
        }
    }

    fn shares_before(&self, to: &Revision, stable: &Revision, limits: Limits) -> BTreeMap<Revision, u32> {
        let enough = limits.floor.max(1);
        if self.roster.ready(stable) >= enough {
            return BTreeMap::from([(stable.clone(), 1)]);
        }
        // An edit may have come in the middle: the stable version has yet to get its capacity back.
        let mut shares = rolling::shares_by_ready(&self.roster, to);
        let others = shares.iter().filter(|(revision, _)| *revision != to);
        if !self.was_serving(to) || others.map(|(_, ready)| ready).sum::<u32>() >= enough {
            shares.remove(to);
        }
        if shares.is_empty() {
            shares.insert(stable.clone(), 1);
        }
        shares
    }

    fn switches(&mut self, to: &Revision, stable: &Revision) -> bool {
        let (complete, None) = self.blue_green_stage() else { return false };
        let broken = self.is_broken(stable) && self.roster.available(to) > 0;
        let settings = &self.input.update.blue_green;
        let now = self.input.now;
        let Some(rollout) = self.memory.rollout.as_mut() else { return false };
        let previewed = |since: Time| {
            let over = settings.auto_promote && now.since(since) >= settings.preview;
            rollout.forced || over || std::mem::take(&mut rollout.go_on)
        };
        broken || complete.is_some_and(previewed)
    }

    fn switch(&mut self, to: &Revision) {
        let now = self.input.now;
        if let Some(rollout) = self.memory.rollout.as_mut() {
            rollout.stage = Stage::BlueGreen { complete: Some(now), switched: Some(now) };
            rollout.marks.at = now;
        }
        self.judge_afresh(to);
        let message = format!("version {to} is given everything at once; the other set stays warm");
        self.events.push(Event::normal(self.about(), "Promoted", message));
    }

    /// Whether more of the set that was given everything have fallen than may be missing, while the other set could
    /// take over.
    pub(super) fn has_fallen(&self, to: &Revision, stable: &Revision) -> Option<String> {
        let (_, Some(_)) = self.blue_green_stage() else { return None };
        let fallen =
            self.roster.kept_of(to).filter(|(_, member)| member.known.proven && !member.is_ready()).count()
                as u32;
        let limits = Limits::of(self.input.update, self.input.desired);
        let better = self.roster.ready(stable) > self.roster.ready(to);
        (fallen > limits.unavailable && better)
            .then(|| format!("{fallen} workers are not ready any more after they were given everything"))
    }

    /// Whether the other set need not be kept any longer.
    pub(super) fn has_kept_old(&mut self) -> bool {
        let (_, Some(since)) = self.blue_green_stage() else { return false };
        let (now, keep) = (self.input.now, self.input.update.blue_green.keep_old);
        let Some(rollout) = self.memory.rollout.as_mut() else { return false };
        let over = now.since(since) >= keep;
        self.input.settled && (rollout.forced || over || rollout.go_on)
    }

    /// Says what a blue-green update waits for.
    pub(super) fn blue_green_waiting(&self, to: &Revision) -> Option<Waiting> {
        let settings = &self.input.update.blue_green;
        let now = self.input.now;
        let (reason, message) = match self.blue_green_stage() {
            (_, Some(since)) => {
                let left = since.after(settings.keep_old).since(now);
                let left = super::progress::span(left);
                ("KeepingOld", format!("version {to} has everything; the other set is kept for {left} more"))
            }
            (Some(since), None) if settings.auto_promote => {
                let left = super::progress::span(since.after(settings.preview).since(now));
                ("Preview", format!("version {to} is complete and is given everything in {left}"))
            }
            (Some(_), None) => (
                "RolloutPaused",
                format!("version {to} is complete and waits until somebody promotes or aborts it"),
            ),
            (None, None) => return None,
        };
        Some(Waiting::new(self.about(), reason, message))
    }
}
