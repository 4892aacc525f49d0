//! What people say about a rollout, and edits of the manifest. Invariant: a word is obeyed once, and an edit ends what
//! was said about the version before it.

use api::resolve::CanaryStep;
use api::revision::Revision;

use super::Turn;
use super::history::State;
use super::memory::{Held, Rollout, Stage, Why};
use crate::Event;
use crate::wanted::WordKind;

impl Turn<'_> {
    /// Takes notice of an edit and of the last word.
    pub(super) fn take_notice(&mut self) {
        if self.memory.wanted.as_ref() != Some(self.input.wanted) {
            self.memory.wanted = Some(self.input.wanted.clone());
            self.memory.held = None;
            self.memory.rolled_back = None;
        }
        let Some(word) = self.input.word.filter(|word| word.number > self.memory.obeyed) else { return };
        self.memory.obeyed = word.number;
        match &word.kind {
            WordKind::Promote => self.promote(),
            WordKind::PromoteFully => self.promote_fully(),
            WordKind::Abort => self.abort(),
            WordKind::Undo { to } => self.undo(*to),
            WordKind::Serve { to } => {
                self.say("Restarted", format!("version {to} serves in place of the one that was kept"));
                self.serve(to.clone());
            }
            WordKind::Retry => self.retry(),
        }
    }

    fn promote(&mut self) {
        let steps = self.input.update.canary.as_slice();
        let Some(rollout) = self.forward() else { return self.retry() };
        rollout.failed = None;
        let waits = match &rollout.stage {
            Stage::Canary { step, .. } => match steps.get(*step) {
                Some(CanaryStep::SetWeight(_)) | None => false,
                Some(CanaryStep::Analyse(_) | CanaryStep::Wait(_) | CanaryStep::WaitForWord) => true,
            },
            Stage::BlueGreen { .. } => true,
            Stage::Rolling | Stage::Recreate => false,
        };
        if waits {
            rollout.go_on = true;
        } else {
            rollout.forced = true;
        }
        let to = rollout.to.clone();
        self.renew_deadline();
        self.say("Promoted", format!("somebody promoted version {to}"));
    }

    fn promote_fully(&mut self) {
        if self.forward().is_none() {
            self.retry();
            self.aim();
        }
        let Some(rollout) = self.forward() else { return };
        rollout.failed = None;
        rollout.forced = true;
        let to = rollout.to.clone();
        self.renew_deadline();
        self.say("Promoted", format!("somebody promoted version {to} past all steps"));
    }

    fn abort(&mut self) {
        let Some(rollout) = self.forward() else {
            return self.say("AbortIgnored", "no version is on its way".to_owned());
        };
        let to = rollout.to.clone();
        if rollout.from.is_none() {
            let message = format!("there is no version to go back to from {to}");
            return self.say("AbortIgnored", message);
        }
        self.roll_back("Aborted", "somebody aborted it");
    }

    fn undo(&mut self, number: Option<u64>) {
        let back = match number {
            Some(number) => self.memory.numbered(number).cloned(),
            None => match self.forward().and_then(|rollout| rollout.from.clone()) {
                Some(from) => Some(from),
                None => self.memory.version_before().cloned(),
            },
        };
        let Some(serve) = back else {
            let known: Vec<String> = self.memory.history.iter().map(|past| past.number.to_string()).collect();
            let asked = number.map_or("an earlier one".to_owned(), |number| format!("number {number}"));
            let message = format!("{asked} is not among the versions that are kept: {}", known.join(", "));
            return self.events.push(Event::warning(self.about(), "UndoRefused", message));
        };
        self.say("Undo", format!("somebody asked for version {serve}"));
        self.serve(serve);
    }

    fn retry(&mut self) {
        self.memory.held = None;
        self.memory.rolled_back = None;
        let now = self.input.now;
        let Some(rollout) = self.memory.rollout.as_mut().filter(|rollout| rollout.failed.is_some()) else {
            return;
        };
        rollout.failed = None;
        rollout.started = now;
        rollout.judge = super::judge::Judge::default();
        let to = rollout.to.clone();
        self.renew_deadline();
        self.memory.record(&to, State::RollingOut, now);
        self.say("RolloutRetried", format!("version {to} is tried again"));
    }

    /// Serves a version whatever the manifest asks for.
    fn serve(&mut self, serve: Revision) {
        let wanted = self.input.wanted.clone();
        self.memory.held = (serve != wanted).then_some(Held { wanted, serve });
    }

    /// The rollout, if it goes to a version that may be given up.
    fn forward(&mut self) -> Option<&mut Rollout> {
        self.memory.rollout.as_mut().filter(|rollout| rollout.why != Why::Return)
    }

    fn renew_deadline(&mut self) {
        if let Some(rollout) = &mut self.memory.rollout {
            rollout.marks.at = self.input.now;
        }
    }

    fn say(&mut self, reason: &str, message: String) {
        self.events.push(Event::normal(self.about(), reason, message));
    }
}
