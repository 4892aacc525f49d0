//! Callers that wait to hear what became of their message, by id. Each hears at most once; one whose entry is given
//! up hears that it was interrupted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::desk::Seat;

/// What became of a message, as its caller has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Received,
    Refused,
}

/// Why a caller cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// Somebody else waits for the same id.
    Duplicate,
    /// Nobody will be told anything any more.
    Closed,
}

#[derive(Default)]
pub(super) struct Waiting(Mutex<Callers>);

#[derive(Default)]
struct Callers {
    by_id: HashMap<Bytes, Caller>,
    closed: bool,
}

struct Caller {
    told: oneshot::Sender<Told>,
    /// The source that has read the message, once one has.
    reader: Option<Seat>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Callers> {
        self.0.lock().expect("nothing panics while callers are locked")
    }

    /// Adds a caller.
    pub(super) fn enter(&self, id: Bytes) -> Result<oneshot::Receiver<Told>, Turned> {
        let (sender, told) = oneshot::channel();
        let mut callers = self.lock();
        if callers.closed {
            return Err(Turned::Closed);
        }
        match callers.by_id.entry(id) {
            std::collections::hash_map::Entry::Occupied(_) => Err(Turned::Duplicate),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Caller { told: sender, reader: None });
                Ok(told)
            }
        }
    }

    /// A source has read these messages and will say what becomes of them.
    pub(super) fn read<'a>(&self, ids: impl Iterator<Item = &'a [u8]>, reader: Seat) {
        let mut callers = self.lock();
        for id in ids {
            if let Some(caller) = callers.by_id.get_mut(id) {
                caller.reader = Some(reader);
            }
        }
    }

    /// Gives up everybody whose message this source has read.
    pub(super) fn give_up(&self, reader: Seat) {
        self.lock().by_id.retain(|_, caller| caller.reader != Some(reader));
    }

    /// Gives a caller up.
    pub(super) fn leave(&self, id: &[u8]) {
        self.lock().by_id.remove(id);
    }

    /// Tells callers. One that has hung up, or is not known, needs to hear nothing.
    pub(super) fn tell<'a>(&self, told: impl Iterator<Item = (&'a [u8], Told)>) {
        let mut callers = self.lock();
        for (id, told) in told {
            if let Some(caller) = callers.by_id.remove(id)
                && caller.told.send(told).is_err()
            {
                // The outcome stands, whether or not its caller is still there to hear it.
                tracing::trace!("a caller hung up before its message was done");
            }
        }
    }

    /// Gives all callers up and takes no more.
    pub(super) fn close(&self) {
        let mut callers = self.lock();
        callers.closed = true;
        callers.by_id.clear();
    }
}
