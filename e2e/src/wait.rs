//! Waiting for something to become true in another process: the one place that polls.

use std::time::{Duration, Instant};

/// The longest any condition is waited for.
pub const LIMIT: Duration = Duration::from_mins(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it has not after [`LIMIT`]; `what` says what was waited for.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} in vain until {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}
