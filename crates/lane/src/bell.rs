//! A bell: futures that wait for something to change, without a runtime. Invariant: whoever listens before looking
//! misses no ringing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// Rings for everybody who listens.
#[derive(Default)]
pub(crate) struct Bell(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    rung: u64,
    listeners: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while the bell is locked")
    }

    /// Wakes everybody who began to listen before.
    pub(crate) fn ring(&self) {
        let mut inner = self.lock();
        inner.rung += 1;
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Returns once the bell has rung after this call.
    pub(crate) fn listen(&self) -> Listen<'_> {
        let mut inner = self.lock();
        inner.listeners += 1;
        Listen { bell: self, rung: inner.rung, listener: inner.listeners }
    }
}

/// See [`Bell::listen`].
pub(crate) struct Listen<'a> {
    bell: &'a Bell,
    rung: u64,
    listener: u64,
}

impl Future for Listen<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.bell.lock();
        if inner.rung != self.rung {
            return Poll::Ready(());
        }
        let before = inner.wakers.insert(self.listener, context.waker().clone());
        // The last waker of a task takes the task with it, which may listen too.
        drop(inner);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Listen<'_> {
    fn drop(&mut self) {
        let mut inner = self.bell.lock();
        let waker = inner.wakers.remove(&self.listener);
        drop(inner);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_listener_hears_what_rings_after_it_began_and_nothing_before() {
        let bell = Bell::default();
        bell.ring();
        let mut early = bell.listen();
        assert_eq!((&mut early).now_or_never(), None);
        bell.ring();
        assert_eq!((&mut early).now_or_never(), Some(()));
        assert_eq!(bell.listen().now_or_never(), None);
        assert!(bell.lock().wakers.is_empty(), "whoever is gone leaves nothing behind");
    }
}
