//! Taking a lock. A poisoned lock means that an invariant was found broken while it was held; going on with
//! what it guards could write wrong bytes, so every taker stops as well.

use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

const BROKEN: &str = "an invariant of the journal was found broken by another thread";

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(BROKEN)
}

pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().expect(BROKEN)
}

pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().expect(BROKEN)
}
