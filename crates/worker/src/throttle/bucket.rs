//! How many messages may begin in each second: the arithmetic of a rate limit. Pure.
//!
//! A rate is reached over a ramp, in a way that its mode says; every member of a pool computes the same rate and takes its
//! part of it. Invariant: over all members that know the same second, the same rate and the same members, the parts of one
//! second add up to the whole rate, and over as many seconds as there are members each has the same part.

use std::time::Duration;

/// A rate that is reached over a ramp. All numbers are messages per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Where the ramp ends.
    pub max: u64,
    /// Where it begins.
    pub min: u64,
    /// How long the way takes.
    pub ramp_up: Duration,
    /// What moves it.
    pub mode: Mode,
}

/// What moves a rate along its ramp, at the first demand in a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Time alone.
    Scheduled,
    /// Demand: each second in which there was any is a step up.
    Relaxed,
    /// Use: a step up after a second of which so much was used.
    OnlyIfUsed {
        /// In percent.
        threshold: u32,
    },
    /// Use, and lack of it: a step up or a step down.
    GoBackN {
        /// Seconds without demand that cost nothing more than one step.
        cool_down: Duration,
        /// Beyond that, the part of a step that each second without demand takes away, in percent.
        ramp_down: u32,
        /// In percent.
        threshold: u32,
    },
}

/// Which part of a rate a member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// How many members there are; at least one.
    pub(crate) members: u64,
    /// Which of them this is.
    pub(crate) place: u64,
}

impl Part {
    /// Of so many messages, how many this member may take in this second. What cannot be divided goes round.
    fn of(self, messages: u64, second: u64) -> u64 {
        let Self { members, place } = self;
        let turn = (place % members + second % members) % members;
        let upto =
            |members_before: u64| u128::from(messages) * u128::from(members_before) / u128::from(members);
        (upto(turn + 1) - upto(turn)) as u64
    }
}

/// The messages that may still begin in the present second.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// How far up the ramp it is.
    reached: f64,
    /// The second of the last demand; none before the first.
    second: Option<u64>,
    /// What this second began with.
    given: u64,
    /// What is left of it. Below zero when more began than should have; then the next seconds begin with less.
    left: i64,
}

impl Bucket {
    /// A bucket at the foot of its ramp.
    pub(crate) fn new(rate: Rate) -> Self {
        let reached = rate.min.min(rate.max) as f64;
        Self { rate, reached, second: None, given: 0, left: 0 }
    }

    /// Goes on where a former one had got to, as far as that is on the ramp.
    pub(crate) fn resume(&mut self, reached: u64) {
        self.reached = reached.clamp(self.rate.min.min(self.rate.max), self.rate.max) as f64;
    }

    /// How far up the ramp it is, in whole messages.
    pub(crate) fn reached(&self) -> u64 {
        self.reached as u64
    }

    /// How many messages may begin, asked because there is demand. Seconds never go back; an earlier one counts as the
    /// last.
    pub(crate) fn demand(&mut self, second: u64, part: Part) -> u64 {
        if self.second.is_none_or(|last| second > last) {
            self.reached = self.climb(second);
            self.second = Some(second);
            self.given = part.of(self.reached as u64, second);
            let given = i64::try_from(self.given).unwrap_or(i64::MAX);
            self.left = given.saturating_add(self.left.min(0));
        }
        u64::try_from(self.left).unwrap_or(0)
    }

    /// So many messages begin.
    pub(crate) fn take(&mut self, messages: u64) {
        self.left = self.left.saturating_sub(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// Where the ramp is in this second, which is later than the last.
    fn climb(&self, second: u64) -> f64 {
        let Some(last) = self.second else { return self.reached };
        let gap = (second - last) as f64;
        let Rate { max, min, ramp_up, mode } = &self.rate;
        let (max, min) = (*max as f64, (*min).min(*max) as f64);
        let step = (max - min) / ramp_up.as_secs_f64().max(1.0);
        let reached = match mode {
            Mode::Scheduled => self.reached + step * gap,
            Mode::Relaxed => self.reached + step,
            Mode::OnlyIfUsed { threshold } if self.used(*threshold) => self.reached + step,
            Mode::OnlyIfUsed { .. } => self.reached,
            Mode::GoBackN { cool_down, ramp_down, .. } if gap > cool_down.as_secs_f64() => {
                self.reached - f64::from(*ramp_down) / 100.0 * step * (gap - 1.0)
            }
            Mode::GoBackN { threshold, .. } if self.used(*threshold) => self.reached + step,
            Mode::GoBackN { .. } => self.reached - step,
        };
        reached.clamp(min, max)
    }

    /// Whether so many percent of the last second were used. Of nothing, everything was.
    fn used(&self, threshold: u32) -> bool {
        let used = i128::from(self.given) - i128::from(self.left.max(0));
        used * 100 >= i128::from(threshold) * i128::from(self.given)
    }
}

#[cfg(test)]
mod tests;
