//! Where time comes from and who does things later: the executor of the seeds, or a runtime with paused time for the
//! conformance suite. The broker knows no other way to wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::executor::World;

/// Something to be done later.
pub(crate) type Deed = Box<dyn FnOnce() + Send>;

/// What a simulated broker stands on.
#[derive(Clone)]
pub(crate) enum Ground {
    /// A seed decides.
    World(World),
    /// A runtime of tokio decides.
    Runtime(Arc<Runtime>),
}

/// What is still to be done on a runtime, and when it began.
pub(crate) struct Runtime {
    start: Instant,
    deeds: Mutex<JoinSet<()>>,
}

impl Ground {
    /// The runtime that this is called on.
    pub(crate) fn runtime() -> Self {
        Self::Runtime(Arc::new(Runtime { start: Instant::now(), deeds: Mutex::default() }))
    }

    /// How long everything has lasted.
    pub(crate) fn now(&self) -> Duration {
        match self {
            Self::World(world) => world.now(),
            Self::Runtime(runtime) => runtime.start.elapsed(),
        }
    }

    pub(crate) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        match self {
            Self::World(world) => Box::pin(world.sleep(duration)),
            Self::Runtime(_) => Box::pin(tokio::time::sleep(duration)),
        }
    }

    /// Lets everybody else have a turn.
    pub(crate) async fn turn(&self) {
        match self {
            Self::World(_) => Turn::default().await,
            Self::Runtime(_) => tokio::task::yield_now().await,
        }
    }

    /// Does something after so long; at once when that is no time at all.
    pub(crate) fn later(&self, delay: Duration, deed: Deed) {
        if delay.is_zero() {
            return deed();
        }
        match self {
            Self::World(world) => world.later(delay, deed),
            Self::Runtime(runtime) => {
                let mut deeds = runtime.deeds.lock().unwrap_or_else(PoisonError::into_inner);
                while let Some(done) = deeds.try_join_next() {
                    done.unwrap();
                }
                deeds.spawn(async move {
                    tokio::time::sleep(delay).await;
                    deed();
                });
            }
        }
    }
}

/// Lets everybody else have a turn.
#[derive(Default)]
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
