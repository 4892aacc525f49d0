//! Waiting for something to become true in another process: the one place that polls.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// The longest any condition is waited for.
pub const LIMIT: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it has not after [`LIMIT`]; `what` says what was waited for.
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, condition)
}

/// Waits for so long until `condition` gives a value.
///
/// # Panics
/// When it has not by then; `what` says what was waited for.
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Calls `look` at a steady pace, until it says to stop.
pub fn every(interval: Duration, mut look: impl FnMut() -> ControlFlow<()>) {
    let mut next = Instant::now();
    while look().is_continue() {
        next = (next + interval).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Lets a random time pass, so that what is done next comes at any moment of what is going on.
pub fn a_while(random: &mut fastrand::Rng, longest: Duration) {
    std::thread::sleep(longest.mul_f64(random.f64()));
}
