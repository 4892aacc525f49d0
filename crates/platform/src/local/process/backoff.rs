//! How long to wait before a program is started again. Pure: times go in, a wait comes out.

use std::time::Duration;

/// The wait after a first crash.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(10);
/// A program that ran for so long starts from the first wait again.
const STEADY: Duration = Duration::from_mins(1);

/// Waits that double from 200 ms to 10 s and start anew after a minute of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The wait after a life of `uptime`.
    pub fn after(&mut self, uptime: Duration) -> Duration {
        let wait = if uptime >= STEADY { FIRST } else { self.next };
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}
