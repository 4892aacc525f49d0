//! A worker's seat at the store where the workers of a vertex agree how many share its rate.
//!
//! Invariant: the worker is given its part within [`JOIN_MAX`] and an answer of the store, whatever the store does, and
//! while it is silent the worker keeps the part it has.

use std::sync::Arc;
use std::time::Duration;

use model::door::store::{Agreement, Registered, Store};
use model::door::{Class, Error};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Begin, Part, Throttle};

/// How often a member says that it is there and hears who else is; the reference's interval.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// The longest wait between attempts at a store that does not answer.
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a worker waits to be agreed upon before it begins all the same.
const JOIN_MAX: Duration = Duration::from_secs(2);
/// How long leaving may take. Whoever does not leave is forgotten in time.
const LEAVE_MAX: Duration = Duration::from_millis(500);

/// See the head of this file.
pub(crate) struct Seat {
    pub(crate) throttle: Throttle,
    pub(crate) store: Arc<dyn Store>,
    /// The replica number: the worker's place while there is no agreement about it.
    pub(crate) replica: u16,
    /// When a silent member stops counting.
    pub(crate) ttl: Duration,
    /// The ramp goes on where a former worker of the name left off.
    pub(crate) resumes: bool,
}

/// What a member makes of what it has heard.
struct Mind {
    began: Instant,
    /// How many members it believes in; none before it has registered.
    believed: Option<u64>,
    failures: u32,
}

impl Seat {
    /// Keeps the seat until the worker begins nothing any more.
    pub(crate) async fn run(self, leave: CancellationToken) {
        let mut mind = Mind { began: Instant::now(), believed: None, failures: 0 };
        loop {
            tokio::select! {
                biased;
                () = leave.cancelled() => break,
                heard = timeout(ANSWER_MAX, self.ask(&mut mind)) => {
                    let slow = || Error::new(Class::Retry, format!("get an answer within {} s", ANSWER_MAX.as_secs()));
                    self.make_of(&mut mind, heard.unwrap_or_else(|_| Err(slow())));
                }
            }
            let wait = (SYNC_EVERY * 2u32.saturating_pow(mind.failures.min(16))).min(AGAIN_MAX);
            tokio::select! {
                () = leave.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        // A store that was silent a moment ago is not waited for.
        if mind.believed.is_some() && mind.failures == 0 {
            let left = timeout(LEAVE_MAX, self.store.deregister(self.throttle.reached(), self.ttl)).await;
            if let Ok(Err(error)) = left {
                warn!(
                    error = error.chain(),
                    "the store of the rate limit was not told that a worker has left"
                );
            }
        }
    }

    async fn ask(&self, mind: &mut Mind) -> Result<Agreement, Error> {
        let believed = if let Some(believed) = mind.believed {
            believed
        } else {
            let Registered { members, reached } = self.store.register(self.ttl).await?;
            if let Some(reached) = reached.filter(|_| self.resumes && !self.throttle.is_open()) {
                self.throttle.resume(reached);
            }
            mind.believed = Some(members);
            members
        };
        self.store.sync(believed, self.ttl).await
    }

    fn make_of(&self, mind: &mut Mind, heard: Result<Agreement, Error>) {
        let waited = mind.began.elapsed() >= JOIN_MAX;
        let replica = u64::from(self.replica);
        match heard {
            Ok(agreement) => {
                if mind.failures > 0 {
                    info!(members = agreement.members, "the store of the rate limit answers again");
                }
                mind.failures = 0;
                mind.believed = Some(agreement.members);
                let begin = if agreement.members == 1 { Begin::AtOnce } else { Begin::NextSecond };
                if agreement.settled() {
                    self.throttle.give(Part { members: agreement.members, place: agreement.place }, begin);
                } else if self.throttle.is_open() || waited {
                    // Whoever counts more members than there are takes less than it might.
                    let members = agreement.members.max(agreement.largest).max(1);
                    self.throttle.give(Part { members, place: replica % members }, begin);
                }
            }
            Err(error) => {
                mind.failures = mind.failures.saturating_add(1);
                if mind.failures.is_power_of_two() {
                    let (failures, error) = (mind.failures, error.chain());
                    warn!(
                        failures,
                        error, "the store of the rate limit does not answer; going on without it"
                    );
                }
                if waited && !self.throttle.is_open() {
                    // Nobody knows how many there are; at least as many as are needed for this number.
                    self.throttle.give(Part { members: replica + 1, place: replica }, Begin::NextSecond);
                }
            }
        }
    }
}
