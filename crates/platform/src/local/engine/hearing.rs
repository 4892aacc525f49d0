//! Which workers of other processes are silent. Invariant: while nobody at all is heard, silence says more about the way
//! to the workers than about any of them; it counts against nobody until it is long, and all begin afresh after it.

use std::collections::BTreeMap;
use std::time::Duration;

use keeper::OwnersSettings;
use model::{Incarnation, Time};

/// Nobody was heard for so long: more than two times what a worker that has nothing to say lets pass.
const DEAF_AFTER: Duration = Duration::from_millis(2500);
/// After so long without a word of anybody they count as silent all the same.
const DEAF_MAX: Duration = Duration::from_secs(12);

/// What is known of the workers of other processes.
pub(super) struct Hearing {
    silent_after: Duration,
    workers: BTreeMap<Incarnation, Heard>,
    /// When anybody was heard last.
    last: Time,
}

#[derive(Clone, Copy)]
struct Heard {
    /// How often.
    count: u64,
    /// When last, as far as that counts.
    at: Time,
    is_silent: bool,
}

impl Hearing {
    pub(super) fn new() -> Self {
        let silent_after = OwnersSettings::default().silent_after;
        Self { silent_after, workers: BTreeMap::new(), last: Time::UNKNOWN }
    }

    /// From the next turn on a worker is silent that was not heard for so long.
    pub(super) fn set_silent_after(&mut self, silent_after: Duration) {
        self.silent_after = silent_after;
    }

    /// Takes note of how often each worker was heard so far; those that are not named are forgotten.
    pub(super) fn turn(&mut self, counts: impl IntoIterator<Item = (Incarnation, u64)>, now: Time) {
        let before = std::mem::take(&mut self.workers);
        let mut is_heard = false;
        for (worker, count) in counts {
            let known = before.get(&worker).filter(|known| known.count == count);
            is_heard |= known.is_none();
            let heard = known.copied().unwrap_or(Heard { count, at: now, is_silent: false });
            self.workers.insert(worker, heard);
        }
        let gap = now.since(self.last);
        if is_heard || self.workers.is_empty() {
            self.last = now;
        }
        let begins_afresh = is_heard && gap >= DEAF_AFTER;
        let is_deaf = now.since(self.last) >= DEAF_AFTER;
        let after = if is_deaf { self.silent_after.max(DEAF_MAX) } else { self.silent_after };
        for heard in self.workers.values_mut().filter(|heard| !heard.is_silent) {
            if begins_afresh {
                heard.at = now;
            }
            heard.is_silent = now.since(heard.at) >= after;
        }
    }

    /// Whether a worker was silent for too long at the last turn.
    pub(super) fn is_silent(&self, worker: Incarnation) -> bool {
        self.workers.get(&worker).is_some_and(|heard| heard.is_silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns every 100 ms: who says something at each second, up to the end; gives when each became silent, in seconds.
    fn silent_at(says: impl Fn(u64, u64) -> bool, seconds: u64) -> [Option<u64>; 3] {
        let mut hearing = Hearing::new();
        let mut counts = [1; 3];
        let mut silent = [None; 3];
        for tick in 0..seconds * 10 {
            let now = Time::from_millis(1_000_000 + i64::try_from(tick).unwrap() * 100);
            for (worker, count) in (0_u64..).zip(&mut counts) {
                *count += u64::from(tick % 10 == 0 && says(worker, tick / 10));
            }
            hearing.turn((0..).map(Incarnation).zip(counts), now);
            for (worker, silent) in (0..).map(Incarnation).zip(&mut silent) {
                *silent = hearing.is_silent(worker).then(|| silent.unwrap_or(tick / 10));
            }
        }
        silent
    }

    #[test]
    fn one_of_whom_nothing_is_heard_while_others_speak_is_silent() {
        assert_eq!(silent_at(|worker, second| worker > 0 || second < 3, 20), [Some(7), None, None]);
        let comes_back = |worker, second| worker > 0 || !(3..11).contains(&second);
        assert_eq!(silent_at(comes_back, 20), [None; 3], "whoever is heard again counts again");
    }

    #[test]
    fn a_gap_in_which_nobody_is_heard_counts_against_nobody() {
        assert_eq!(silent_at(|_, second| !(3..12).contains(&second), 20), [None; 3]);
        // One that was silent before stays it; one that does not come back is it as long after the gap as ever.
        let says = |worker, second: u64| match worker {
            0 => second < 3,
            1 => !(10..18).contains(&second),
            _ => second < 10,
        };
        assert_eq!(silent_at(says, 17), [Some(7), None, None]);
        assert_eq!(silent_at(says, 30), [Some(7), None, Some(23)]);
    }

    #[test]
    fn when_nobody_is_heard_for_long_all_are_silent() {
        assert_eq!(silent_at(|_, second| second < 3, 30), [Some(14); 3]);
        assert_eq!(silent_at(|worker, _| worker > 0, 3), [None; 3], "what was just begun has time");
    }
}
