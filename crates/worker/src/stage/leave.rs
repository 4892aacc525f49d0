//! How a unit leaves user code that does not let it go: once it is told to finish, a call that fails is not made again,
//! and one that hangs is given up. Nothing is decided here about what was committed. Invariant: what a unit gives up was
//! not committed, so that its next owner does it again.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::door::{Class, Error};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::setup::Lease;

/// How long user code may leave unanswered what a unit has in hand, once the unit was told to finish.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A lease, and how often it had lapsed when a unit began.
#[derive(Clone, Default)]
pub(crate) struct Hold {
    lease: Option<Arc<dyn Lease>>,
    since: u64,
}

impl Hold {
    /// Of a unit that begins now.
    pub(crate) fn on(lease: Option<Arc<dyn Lease>>) -> Self {
        let since = lease.as_ref().map_or(0, |lease| lease.lapses());
        Self { lease, since }
    }

    /// Nobody can have taken the unit since it began.
    fn is_sure(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.lapses() == self.since)
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("since", &self.since).finish_non_exhaustive()
    }
}

/// What the batches of one unit know of its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving {
    hold: Hold,
    finish: CancellationToken,
    /// When it was seen that the unit is told to finish.
    asked_at: Arc<OnceLock<Instant>>,
    given_up: CancellationToken,
}

impl Leaving {
    /// Of a unit that is told to finish by this.
    pub(crate) fn on(finish: CancellationToken, hold: Hold) -> Self {
        Self { hold, finish, ..Self::default() }
    }

    /// Of the same unit, for what is waited for however long it takes.
    pub(super) fn patient(&self) -> Self {
        Self { hold: self.hold.clone(), ..Self::default() }
    }

    /// Somebody else may have the unit since it began here: nothing that was read may be written outside.
    pub(crate) fn is_in_doubt(&self) -> bool {
        !self.hold.is_sure()
    }

    /// The same end for what can be given up alone.
    pub(crate) fn alone(&self) -> Self {
        Self { given_up: CancellationToken::new(), ..self.clone() }
    }

    /// Something of the unit was given up: nothing behind it can be committed, so nothing of it should begin.
    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up.is_cancelled()
    }

    /// Gives up, for all batches of the unit.
    pub(crate) fn give_up(&self) -> Error {
        self.given_up.cancel();
        Error::new(
            Class::Lost,
            "finish what is in hand: user code fails or does not answer, and the unit is to be released",
        )
    }

    /// Waits until the unit is told to finish.
    pub(super) async fn asked(&self) {
        self.finish.cancelled().await;
    }

    /// Waits until user code is not waited for any longer.
    pub(super) async fn out_of_patience(&self) {
        let unanswered = async {
            self.finish.cancelled().await;
            let asked_at = *self.asked_at.get_or_init(Instant::now);
            tokio::time::sleep_until(asked_at + ANSWER_WITHIN).await;
        };
        tokio::select! {
            () = unanswered => {}
            () = self.given_up.cancelled() => {}
        }
    }
}
