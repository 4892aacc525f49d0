//! How much of a partition is taken, and by whom. Each writing vertex has its share of a partition, so that the
//! faster side of a join cannot starve the slower one; what goes round in a circle may use twice the share. A commit
//! is let in as a whole while anything of the share is left, and units look before they take, so each unit of the
//! writing vertex may pass the share by one commit. What goes round and leaves no more than it found is let in always.
//! Invariant: what is reserved is given back exactly once, when its frame is settled or was not stored.

use std::collections::HashMap;
use std::sync::Mutex;

use model::Name;
use model::door::buffer::{Passage, VertexSettings};
use tokio::sync::Notify;

pub(super) struct Room {
    share_messages: u64,
    share_bytes: u64,
    taken: Mutex<HashMap<(u16, Name), Taken>>,
    freed: Notify,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    messages: u64,
    bytes: u64,
}

impl Room {
    pub(super) fn new(settings: &VertexSettings) -> Self {
        let writers = u64::from(settings.writers.max(1));
        Self {
            share_messages: (settings.messages_max / writers).max(1),
            share_bytes: (settings.bytes_max / writers).max(1),
            taken: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Notified whenever something was given back.
    pub(super) fn freed(&self) -> &Notify {
        &self.freed
    }

    /// Whether the writer may put one more frame into the partition. A frame is let in while anything is left, so
    /// that a limit smaller than a frame does not lock up.
    pub(super) fn has(&self, partition: u16, writer: &Name, passage: Passage) -> bool {
        let factor = match passage {
            Passage::Onward => 1,
            Passage::Around => 2,
        };
        let taken = self.lock().get(&(partition, writer.clone())).copied().unwrap_or_default();
        taken.messages < self.share_messages * factor && taken.bytes < self.share_bytes * factor
    }

    pub(super) fn take(&self, partition: u16, writer: &Name, messages: u64, bytes: u64) {
        let mut all = self.lock();
        let taken = all.entry((partition, writer.clone())).or_default();
        taken.messages += messages;
        taken.bytes += bytes;
    }

    pub(super) fn give_back(&self, partition: u16, writer: &Name, messages: u64, bytes: u64) {
        let mut all = self.lock();
        let taken = all.get_mut(&(partition, writer.clone())).expect("only what was taken is given back");
        assert!(taken.messages >= messages, "more messages given back than taken");
        assert!(taken.bytes >= bytes, "more bytes given back than taken");
        taken.messages -= messages;
        taken.bytes -= bytes;
        drop(all);
        self.freed.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(u16, Name), Taken>> {
        self.taken.lock().expect("nothing panics while the room is locked")
    }
}
