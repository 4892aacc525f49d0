//! How long to wait before the next attempt, and when to give up. A [`Strategy`] is pure: the random number is an
//! argument. [`Patience`] waits, at doors that answer `Retry`.

use std::time::Duration;

use model::door::{Class, Error};
use tracing::warn;

/// What to do with what failed, attempt by attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// The wait before the second attempt.
    pub interval: Duration,
    /// What the wait is multiplied with from one attempt to the next; at least 1.
    pub factor: f64,
    /// The longest wait.
    pub cap: Duration,
    /// How much the wait varies, as a share of itself (0 to 1).
    pub jitter: f64,
    /// Attempts in one round, the first included; none means no end.
    pub attempts_max: Option<u32>,
    /// What happens after the last attempt.
    pub then: Then,
}

/// What happens after the last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on; the number of attempts has no meaning.
    Retry,
    /// The message goes to the fallback sink.
    Fallback,
    /// The message is dropped and counted.
    Drop,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(1),
            factor: 1.0,
            cap: Duration::from_millis(u64::from(u32::MAX)),
            jitter: 0.0,
            attempts_max: None,
            then: Then::Retry,
        }
    }
}

/// What comes after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this wait.
    After(Duration),
    /// The message goes to the fallback sink.
    Fallback,
    /// The message is dropped.
    Drop,
}

impl Strategy {
    /// What comes after `attempts` failed attempts; `random` lies between 0 and 1.
    pub fn next(&self, attempts: u32, random: f64) -> Next {
        let exhausted = self.attempts_max.is_some_and(|most| attempts >= most);
        match (exhausted, self.then) {
            (true, Then::Drop) => return Next::Drop,
            (true, Then::Fallback) => return Next::Fallback,
            (true, Then::Retry) | (false, _) => {}
        }
        let exponent = attempts.saturating_sub(1).min(1024) as i32;
        let spread = 1.0 + self.jitter * (2.0 * random - 1.0);
        let seconds = self.interval.as_secs_f64() * self.factor.powi(exponent) * spread;
        let cap = self.cap.as_secs_f64();
        Next::After(Duration::from_secs_f64(if seconds < cap { seconds.max(0.0) } else { cap }))
    }
}

/// The wait before a call that was answered with `Retry` is made again, at first and at most.
const REPEAT_FIRST: Duration = Duration::from_millis(10);
const REPEAT_MAX: Duration = Duration::from_secs(1);

/// Waits between calls at a door for as long as it answers `Retry`.
#[derive(Debug)]
pub(crate) struct Patience {
    wait: Duration,
    failures: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { wait: REPEAT_FIRST, failures: 0 }
    }
}

impl Patience {
    /// Returns when the call may be made again; gives the error back when that is of no use.
    pub(crate) async fn after(&mut self, error: Error) -> Result<(), Error> {
        if error.class() != Class::Retry {
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            warn!(failures = self.failures, error = error.chain(), "no success yet; trying again");
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(REPEAT_MAX);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_and_end_after_the_last_attempt() {
        let strategy = Strategy {
            interval: Duration::from_millis(10),
            factor: 3.0,
            cap: Duration::from_millis(50),
            jitter: 0.5,
            attempts_max: Some(4),
            then: Then::Drop,
        };
        assert_eq!(strategy.next(1, 0.5), Next::After(Duration::from_millis(10)));
        assert_eq!(strategy.next(1, 0.0), Next::After(Duration::from_millis(5)));
        assert_eq!(strategy.next(2, 0.5), Next::After(Duration::from_millis(30)));
        assert_eq!(strategy.next(3, 0.5), Next::After(Duration::from_millis(50)));
        assert_eq!(strategy.next(4, 0.5), Next::Drop);
        assert_eq!(Strategy { then: Then::Fallback, ..strategy.clone() }.next(4, 0.5), Next::Fallback);
        let forever = Strategy { then: Then::Retry, ..strategy };
        assert_eq!(forever.next(u32::MAX, 0.5), Next::After(Duration::from_millis(50)));
    }
}
