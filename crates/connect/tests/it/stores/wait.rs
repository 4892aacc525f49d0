//! Waiting for a server in another process, which only a poll can see; bounded.

use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until it is so, and gives what came of it; if it never is, tells what was wrong last.
pub(super) async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut wrong = String::new();
    let wait = async {
        loop {
            match holds().await {
                Ok(found) => return found,
                Err(error) => wrong = error,
            }
            a_moment().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited in vain until {what}: {wrong}"))
}

/// The time between two looks, for loops that have their own bound.
pub(super) async fn a_moment() {
    tokio::time::sleep(LOOK_AGAIN).await;
}
