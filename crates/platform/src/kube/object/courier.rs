//! Who talks to the daemon while the loop of an object goes on: one task that says the latest wishes again and again and
//! keeps the latest look. Invariant: the loop never waits for a daemon; an answer that is old is no answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::exchange::{Look, Wishes};
use crate::kube::chain;
use crate::kube::daemon::Link;

/// How long a look counts.
const FRESH: Duration = Duration::from_secs(5);
/// How long after a failure the daemon is asked again: the first time, and at most.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// What the daemon is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) address: IpAddr,
    pub(super) token: Arc<str>,
    pub(super) wishes: Arc<Wishes>,
    /// How often it is asked what it sees.
    pub(super) pace: Duration,
}

/// What the daemon has said.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    look: Option<(Instant, Arc<Look>)>,
    /// Why it does not answer.
    pub(super) failure: Option<String>,
}

impl Answer {
    /// The latest look, if it still counts.
    pub(super) fn look(&self) -> Option<&Look> {
        let (at, look) = self.look.as_ref()?;
        (at.elapsed() < FRESH).then_some(look)
    }
}

/// A handle of the task, which ends with it.
pub(super) struct Courier {
    orders: watch::Sender<Option<Order>>,
    answers: watch::Receiver<Answer>,
    _task: JoinSet<()>,
}

impl Courier {
    pub(super) fn start() -> Self {
        let (orders, told) = watch::channel(None);
        let (tell, answers) = watch::channel(Answer::default());
        let mut task = JoinSet::new();
        task.spawn(run(told, tell));
        Self { orders, answers, _task: task }
    }

    /// Says something else from now on; nothing when there is no daemon to be told.
    pub(super) fn tell(&self, order: Option<Order>) {
        self.orders.send_if_modified(|before| {
            let differs = *before != order;
            *before = order;
            differs
        });
    }

    /// The latest answer.
    pub(super) fn answer(&self) -> Answer {
        self.answers.borrow().clone()
    }

    /// Returns when the daemon has answered again, or has failed to.
    pub(super) async fn answered(&mut self) {
        if self.answers.changed().await.is_err() {
            // The task only ends with this handle.
            std::future::pending::<()>().await;
        }
    }
}

async fn run(mut orders: watch::Receiver<Option<Order>>, answers: watch::Sender<Answer>) {
    let (mut link, mut again) = (Link::default(), AGAIN);
    loop {
        let order = orders.borrow_and_update().clone();
        let wait = match order {
            None => None,
            Some(Order { address, token, wishes, pace }) => {
                match link.exchange(address, &token, &wishes).await {
                    Ok(look) => {
                        again = AGAIN;
                        answers.send_replace(Answer {
                            failure: look.failure.clone(),
                            look: Some((Instant::now(), Arc::new(look))),
                        });
                        Some(pace)
                    }
                    Err(error) => {
                        answers.send_modify(|answer| answer.failure = Some(chain(&error)));
                        let wait = again;
                        again = (again * 2).min(AGAIN_MAX);
                        Some(wait)
                    }
                }
            }
        };
        let changed = match wait {
            Some(wait) => {
                tokio::select! {
                    changed = orders.changed() => changed,
                    () = tokio::time::sleep(wait) => Ok(()),
                }
            }
            None => orders.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}
