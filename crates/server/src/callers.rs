//! Those who are being served, each on a task of its own. Invariant: at most [`CALLERS_MAX`] are served at once, and none
//! of them keeps the end from coming for longer than [`GRACE`].

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Callers that are served at once; others wait to be taken.
const CALLERS_MAX: usize = 256;
/// How long callers may take to say what they want.
pub(crate) const HEAD: Duration = Duration::from_secs(10);
/// How long callers may take to finish at the end.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait when no caller can be taken, such as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why a caller left before the end.
type Left = Box<dyn std::error::Error + Send + Sync>;

/// The callers of one server.
pub(crate) struct Callers {
    calls: JoinSet<Result<(), Left>>,
    ended: CancellationToken,
}

impl Callers {
    /// Nobody yet. `ended` tells those who are served to finish; it is cancelled by [`Callers::end`].
    pub(crate) fn new(ended: CancellationToken) -> Self {
        Self { calls: JoinSet::new(), ended }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.calls.len() < CALLERS_MAX
    }

    /// Serves one, from the first request to the last.
    pub(crate) fn serve<E: Into<Left>>(
        &mut self,
        call: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.calls.spawn(async { call.await.map_err(Into::into) });
    }

    /// Waits until one of them has left.
    pub(crate) async fn leave(&mut self) {
        match self.calls.join_next().await {
            Some(call) => note(call),
            None => std::future::pending().await,
        }
    }

    /// Lets them finish, and cuts off those that do not.
    pub(crate) async fn end(mut self) {
        self.ended.cancel();
        let finished = tokio::time::timeout(GRACE, async {
            while let Some(call) = self.calls.join_next().await {
                note(call);
            }
        });
        if finished.await.is_err() {
            tracing::warn!(callers = self.calls.len(), "callers that did not finish were cut off");
        }
    }
}

/// Notes that nobody could be taken, and waits a little before the next attempt.
pub(crate) async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a caller could not be taken");
    tokio::time::sleep(ACCEPT_AGAIN).await;
}

fn note(call: Result<Result<(), Left>, JoinError>) {
    match call {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error: &(dyn std::error::Error + Send + Sync) = &*error;
            tracing::debug!(error, "a caller left");
        }
        Err(error) => tracing::error!(error = %io::Error::other(error), "a call failed"),
    }
}
