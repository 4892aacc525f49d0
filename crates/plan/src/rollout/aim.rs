//! How a rollout begins, how far it came, and how it ends: complete, given up, or at a standstill. Invariant: a version
//! that is given up has another one to give way to, and the way back is never given up.

use api::resolve::UpdateKind;
use api::revision::Revision;

use super::Turn;
use super::history::State;
use super::judge::{Evidence, Judge};
use super::memory::{Failure, Held, Marks, RolledBack, Rollout, Stage, Why};
use super::progress::span;
use crate::{Event, Time};
use std::time::Duration;

/// A worker that was started again so often within a rollout will not come up by itself.
const RESTARTS_MAX: u32 = 3;
/// A version is judged for at least so long after it was first given work.
const JUDGED_FOR: Duration = Duration::from_secs(10);
/// How many times as long it may take to collect enough records.
const JUDGED_FOR_TIMES: u32 = 2;

impl Turn<'_> {
    /// Begins a rollout when another version is to serve.
    pub(super) fn aim(&mut self) {
        let to = self.target();
        let stage = self.first_stage();
        if let Some(rollout) = &mut self.memory.rollout
            && rollout.to == to
        {
            let same_way = std::mem::discriminant(&rollout.stage) == std::mem::discriminant(&stage);
            if !same_way {
                rollout.stage = stage;
            }
            return;
        }
        let (why, from) = match &self.memory.stable {
            None => (Why::FirstStart, None),
            Some(stable) if *stable == to => (Why::Return, None),
            Some(stable) if self.memory.held.is_some() => (Why::Undo, Some(stable.clone())),
            Some(stable) => (Why::Edit, Some(stable.clone())),
        };
        let before = self.memory.rollout.take();
        if let Some(before) = &before {
            self.memory.supersede(&before.to);
        }
        let mixed = self.roster.revisions().iter().any(|revision| *revision != to);
        if why == Why::Return && before.is_none() && !mixed {
            return;
        }
        self.begin(to, from, why);
    }

    fn begin(&mut self, to: Revision, from: Option<Revision>, why: Why) {
        let now = self.input.now;
        if why == Why::Return {
            self.memory.record(&to, State::Active, now);
        } else {
            self.memory.record(&to, State::RollingOut, now);
        }
        let message = match (why, &from) {
            (Why::FirstStart, _) => format!("version {to} is started with {} workers", self.input.desired),
            (Why::Return, _) => format!("back to version {to}"),
            (Why::Edit | Why::Undo, Some(from)) => format!("version {to} is to take the place of {from}"),
            (Why::Edit | Why::Undo, None) => format!("version {to} is to serve"),
        };
        self.events.push(Event::normal(self.about(), "RolloutStarted", message));
        let others = self.roster.kept().filter(|(name, _)| name.revision != to).count() as u32;
        let (ready, available) = (self.roster.ready(&to), self.roster.available(&to));
        self.memory.rollout = Some(Rollout {
            to,
            from,
            why,
            started: now,
            marks: Marks { at: now, ready, available, others },
            stage: self.first_stage(),
            judge: Judge::default(),
            go_on: false,
            forced: false,
            failed: None,
        });
    }

    fn first_stage(&self) -> Stage {
        match self.input.update.kind {
            UpdateKind::Recreate => Stage::Recreate,
            _ if self.input.bound => Stage::Rolling,
            // Back to a version that was good before: nobody wants to wait for steps.
            _ if self.memory.held.is_some() => Stage::Rolling,
            UpdateKind::RollingUpdate => Stage::Rolling,
            UpdateKind::Canary => Stage::Canary { step: 0, since: self.input.now, weight: 0 },
            UpdateKind::BlueGreen => Stage::BlueGreen { complete: None, switched: None },
        }
    }

    /// Looks at what the version did since it has had work.
    pub(super) fn judge(&mut self) {
        let input = self.input;
        let Some(rollout) = &mut self.memory.rollout else { return };
        if !is_judged(rollout) || input.desired == 0 {
            return;
        }
        let has_work = match &rollout.stage {
            Stage::Rolling | Stage::Recreate => self.roster.ready(&rollout.to) > 0,
            Stage::Canary { step, weight, .. } => *weight > 0 || *step >= input.update.canary.len(),
            Stage::BlueGreen { complete: _, switched } => switched.is_some(),
        };
        let mut judge = std::mem::take(&mut rollout.judge);
        let evidence = evidence(input, &rollout.to, rollout.from.as_ref());
        if has_work && judge.since.is_none() {
            judge.begin(&evidence);
        }
        judge.look(&evidence);
        rollout.judge = judge;
        self.memory.keep_verdict();
    }

    /// Judges only what is done from here on.
    pub(super) fn judge_afresh(&mut self, to: &Revision) {
        let Some(rollout) = &mut self.memory.rollout else { return };
        if is_judged(rollout) {
            rollout.judge.begin(&evidence(self.input, to, rollout.from.as_ref()));
        }
    }

    /// Gives a version up that is known to be bad.
    pub(super) fn fail_if_bad(&mut self) {
        let Some(rollout) = self.memory.rollout.as_ref() else { return };
        if rollout.failed.is_some() || self.input.desired == 0 {
            return;
        }
        let to = rollout.to.clone();
        if rollout.judge.fails() && is_judged(rollout) {
            let message =
                rollout.judge.verdict.as_ref().map_or(String::new(), |verdict| verdict.message.clone());
            self.events.push(Event::warning(
                self.about(),
                "AnalysisFailed",
                format!("version {to}: {message}"),
            ));
            return self.fail("AnalysisFailed", &message);
        }
        let stable = rollout.from.clone();
        if let Some(message) = stable.and_then(|stable| self.has_fallen(&to, &stable)) {
            return self.fail("WorkersNotReady", &message);
        }
        if let Some(message) = self.crash_loop(&to) {
            self.fail("WorkersCrashing", &message);
        }
    }

    /// Gives a version up that has not come further for too long.
    pub(super) fn fail_if_late(&mut self) {
        let (now, deadline) = (self.input.now, self.input.update.progress_deadline);
        let Some(rollout) = self.memory.rollout.as_ref() else { return };
        if rollout.failed.is_some() || self.input.desired == 0 || now.since(rollout.marks.at) < deadline {
            return;
        }
        let for_long = format!("no progress for {}", span(deadline));
        let waits_for_verdict = self.roster.available(&rollout.to) == self.roster.count(&rollout.to);
        let undecided =
            rollout.judge.verdict.as_ref().filter(|_| waits_for_verdict && !rollout.judge.passes());
        match undecided.map(|verdict| verdict.message.clone()) {
            Some(verdict) if is_judged(rollout) => {
                let message = format!("{for_long}; the verdict has not enough data: {verdict}");
                let event = Event::warning(self.about(), "InsufficientData", message.clone());
                self.events.push(event);
                self.fail("InsufficientData", &message);
            }
            Some(_) | None => {
                let message = format!("{for_long}: {}", self.sentence());
                self.fail("ProgressDeadlineExceeded", &message);
            }
        }
    }

    /// Every worker of the version fails, and none will come up by itself.
    fn crash_loop(&self, to: &Revision) -> Option<String> {
        let started = self.memory.rollout.as_ref()?.started;
        let mut reason = None;
        for (name, member) in self.roster.kept_of(to) {
            let restarts = member.worker.map_or(0, |worker| worker.restarts);
            let own = member.known.asked >= started;
            reason = Some((name, restarts, member.failing().filter(|_| own && restarts >= RESTARTS_MAX)?));
        }
        let (name, restarts, reason) = reason?;
        Some(format!("worker {}[{}] failed {restarts} times: {reason}", self.input.vertex, name.replica))
    }

    /// Whether a version has workers and all of them are in a crash loop.
    pub(super) fn is_broken(&self, revision: &Revision) -> bool {
        let mut workers = self.roster.kept_of(revision).peekable();
        let crashes = |worker: &crate::seen::Worker| worker.restarts >= RESTARTS_MAX;
        workers.peek().is_some()
            && workers.all(|(_, member)| member.failing().is_some() && member.worker.is_some_and(crashes))
    }

    fn fail(&mut self, reason: &str, message: &str) {
        let Some(rollout) = self.memory.rollout.as_ref() else { return };
        let may_return = self.input.update.auto_rollback && rollout.why != Why::Return;
        if may_return && rollout.from.is_some() {
            return self.roll_back(reason, message);
        }
        let at = self.input.now;
        let (to, why) = (rollout.to.clone(), rollout.why);
        if let Some(rollout) = &mut self.memory.rollout {
            rollout.failed = Some(Failure { reason: reason.to_owned(), message: message.to_owned(), at });
        }
        if why != Why::Return {
            let (reason, message) = (reason.to_owned(), message.to_owned());
            self.memory.record(&to, State::Failed { reason, message }, at);
        }
        let message = format!("version {to}: {message}");
        self.events.push(Event::warning(self.about(), "RolloutFailed", message));
    }

    /// Goes back to the last good version, and remembers why.
    pub(super) fn roll_back(&mut self, reason: &str, message: &str) {
        let at = self.input.now;
        self.memory.keep_verdict();
        let Some(Rollout { to: bad, from: Some(good), judge, .. }) = self.memory.rollout.take() else {
            return;
        };
        let state = State::RolledBack { reason: reason.to_owned(), message: message.to_owned() };
        self.memory.record(&bad, state, at);
        self.memory.held = Some(Held { wanted: self.input.wanted.clone(), serve: good.clone() })
            .filter(|held| held.wanted != held.serve);
        let text = format!("from version {bad} to {good}: {message}");
        self.events.push(Event::warning(self.about(), "RolledBack", text));
        self.memory.rolled_back = Some(RolledBack {
            from: bad,
            to: good.clone(),
            failure: Failure { reason: reason.to_owned(), message: message.to_owned(), at },
            verdict: judge.verdict,
        });
        self.begin(good, None, Why::Return);
    }

    /// Notes how far it came.
    pub(super) fn mark(&mut self, holding: bool) {
        let now = self.input.now;
        let judging = self.is_in_place() && !self.suspicious();
        let Some(rollout) = &mut self.memory.rollout else { return };
        let ready = self.roster.ready(&rollout.to);
        let available = self.roster.available(&rollout.to);
        let others = self.roster.kept().filter(|(name, _)| name.revision != rollout.to).count() as u32;
        let marks = &mut rollout.marks;
        let further = ready > marks.ready || available > marks.available || others < marks.others;
        *marks = Marks {
            at: if further || holding || judging || self.input.desired == 0 { now } else { marks.at },
            ready: marks.ready.max(ready),
            available: marks.available.max(available),
            others: marks.others.min(others),
        };
    }

    /// Whether all workers run the version and count.
    fn is_in_place(&self) -> bool {
        let Some(rollout) = &self.memory.rollout else { return false };
        let desired = self.input.desired;
        let others = self.roster.kept().any(|(name, _)| name.revision != rollout.to);
        desired > 0 && !others && self.roster.available(&rollout.to) >= desired
    }

    pub(super) fn suspicious(&self) -> bool {
        self.memory
            .rollout
            .as_ref()
            .is_some_and(|rollout| is_judged(rollout) && rollout.judge.is_suspicious())
    }

    /// Ends the rollout when everything is as it should be.
    pub(super) fn complete_if_done(&mut self) {
        let Some(rollout) = &self.memory.rollout else { return };
        let to = rollout.to.clone();
        let kept_long_enough =
            self.roster.available(&to) >= self.input.desired && self.input.desired > 0 && self.has_kept_old();
        if self.is_frozen() || !(self.is_in_place() || kept_long_enough) || !self.is_judged_enough() {
            return;
        }
        let Some(rollout) = self.memory.rollout.take() else { return };
        let Rollout { why, judge, forced, .. } = rollout;
        let now = self.input.now;
        while let Some(name) = self.roster.first_to_go(|name, _| name.revision != to) {
            self.roster.retire(&name);
        }
        self.memory.record(&to, State::Active, now);
        self.memory.stable = Some(to.clone());
        let verdict = match &judge.verdict {
            Some(verdict) if !forced => format!("; judged: {}", verdict.message),
            Some(_) | None => String::new(),
        };
        if why != Why::Return && !forced && judge.passes() {
            let message = format!("version {to}{verdict}");
            self.events.push(Event::normal(self.about(), "AnalysisPassed", message));
        }
        let message = format!("version {to} serves with {} workers{verdict}", self.input.desired);
        self.events.push(Event::normal(self.about(), "RolloutComplete", message));
    }

    /// Whether there is no more to learn about the version within reasonable time.
    fn is_judged_enough(&self) -> bool {
        let Some(rollout) = self.memory.rollout.as_ref().filter(|rollout| is_judged(rollout)) else {
            return true;
        };
        let Some(since) = rollout.judge.since else { return false };
        let window = self.window();
        let so_far = self.input.now.since(since);
        if so_far < window || rollout.judge.is_suspicious() {
            return false;
        }
        rollout.judge.passes() || !rollout.judge.has_read() || so_far >= window * JUDGED_FOR_TIMES
    }

    fn window(&self) -> Duration {
        self.input.update.min_ready.max(JUDGED_FOR)
    }

    /// When a version that is in place has been judged for long enough.
    pub(super) fn judged_at(&self) -> Option<Time> {
        let since = self.memory.rollout.as_ref().filter(|rollout| is_judged(rollout))?.judge.since?;
        let ends = [since.after(self.window()), since.after(self.window() * JUDGED_FOR_TIMES)];
        ends.into_iter().find(|end| *end > self.input.now)
    }
}

/// Whether a verdict about the version matters.
fn is_judged(rollout: &Rollout) -> bool {
    rollout.from.is_some() && rollout.why != Why::Return && !rollout.forced
}

fn evidence<'a>(
    input: &'a super::Input<'_>,
    revision: &'a Revision,
    stable: Option<&'a Revision>,
) -> Evidence<'a> {
    let super::Input { signals, queries, now, .. } = *input;
    Evidence { revision, stable, signals, queries, analysis: &input.update.analysis, now }
}
