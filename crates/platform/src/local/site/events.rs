//! What happened at a site, the latest of it. Invariant: numbers grow by one with each event, so that a reader who knows
//! the last number it has seen misses nothing that is still kept.

use std::collections::VecDeque;
use std::sync::Mutex;

use plan::Time;

use crate::view;

/// Events that are kept.
const KEPT: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Events {
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    last: u64,
    kept: VecDeque<view::Event>,
}

impl Events {
    pub(super) fn add(&self, object: &str, event: plan::Event, at: Time) {
        tracing::info!(object, about = %event.about, reason = %event.reason, message = %event.message, "event");
        let mut log = self.lock();
        log.last += 1;
        let number = log.last;
        log.kept.push_back(view::Event { number, at, object: object.to_owned(), event });
        if log.kept.len() > KEPT {
            log.kept.pop_front();
        }
    }

    /// Those after a number, the oldest first.
    pub(super) fn after(&self, object: Option<&str>, after: u64, limit: usize) -> Vec<view::Event> {
        let log = self.lock();
        let wanted =
            |event: &&view::Event| event.number > after && object.is_none_or(|object| event.object == object);
        log.kept.iter().filter(wanted).take(limit).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().expect("nothing panics while the events are locked")
    }
}
