//! Waits of the suites that can end in a failure, and never in a hang.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// How long anything may take before a case fails. Far longer than anything takes.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// How often a call that answers `Retry` is made.
pub(super) const RETRIES_MAX: u32 = 10_000;

/// The result of `future`, or a failure that says what did not happen.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(result) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: it has not happened within {} s", PATIENCE.as_secs())
    };
    result
}

/// Polls a future a number of times, whether or not it was woken, with a turn for everybody else in between. None
/// when it is not ready by then.
pub(super) async fn polled<F: Future>(mut future: Pin<&mut F>, polls: u32) -> Option<F::Output> {
    for _ in 0..polls {
        let once = poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
        if let Poll::Ready(result) = once.await {
            return Some(result);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Lets everybody else have so many turns.
pub(super) async fn pause(turns: u32) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}
