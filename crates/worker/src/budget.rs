//! What the units of one worker hold in memory together, so that many units that all wait for room stay within one
//! bound. A unit that holds nothing may always read: nobody waits for another one for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all units hold at which nobody reads more who holds something. Each may go beyond it by one read.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What all units of a worker hold, in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(crate) fn share(&self) -> Share {
        Share { all: self.0.clone(), own: 0 }
    }
}

/// What one unit holds of it; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Share {
    pub(crate) fn take(&mut self, bytes: usize) {
        self.own += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        assert!(self.own >= bytes, "a unit gives back what it holds");
        self.own -= bytes;
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn may_read(&self) -> bool {
        self.own == 0 || self.all.load(Ordering::Relaxed) < HELD_BYTES_MAX
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_something_waits_when_all_hold_much_and_who_holds_nothing_reads() {
        let budget = Budget::default();
        let (mut one, mut two) = (budget.share(), budget.share());
        one.take(HELD_BYTES_MAX);
        assert!(!one.may_read());
        assert!(two.may_read());
        two.take(10);
        assert!(!two.may_read());
        one.give_back(HELD_BYTES_MAX / 2);
        assert!(one.may_read());
        assert!(two.may_read());
        two.take(HELD_BYTES_MAX);
        assert!(!one.may_read());
        drop(two);
        assert!(one.may_read());
    }
}
