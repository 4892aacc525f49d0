//! The commit thread: takes what is queued, writes it as one group, makes it durable, shows it, answers it; and
//! between groups one small piece of upkeep. It decides alone about files; its parts are in `committer/`.
//!
//! The invariant: nothing is shown or answered before it is durable, and nothing is written after a failure.

mod full;
mod publish;
mod upkeep;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use crate::cache::Ages;
use crate::checkpoint::Writer;
use crate::compact::{Moved, Mover};
use crate::disk::Disk;
use crate::error::Error;
use crate::hub::{Log, Segment, Shared};
use crate::locks::read;
use crate::options::Options;
use crate::queue::Pending;
use crate::recover;

use upkeep::Closer;
pub(crate) use upkeep::Upkeep;
use write::Layout;

pub(crate) use write::create_segment;

/// What the commit thread knows about a segment beside its file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Length of the file.
    pub(crate) length: u64,
    pub(crate) live_frames: u64,
    /// What re-appending the unsettled frames would take.
    pub(crate) live_cost: u64,
    /// Number of the last record in it; the one before its first while it has none.
    pub(crate) last_record: u64,
    /// Something in it cannot be read, so that it stays until all of it is settled.
    pub(crate) unreadable: bool,
}

pub(crate) struct Committer<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) identity: u64,
    /// The segment that is written to.
    active: Arc<Segment<D::File>>,
    /// Whether the active segment has bytes (or a cut) that were not synced.
    active_dirty: bool,
    /// Closed segments that were not synced; always empty with `Durability::Disk`.
    unsynced: Vec<Arc<Segment<D::File>>>,
    pub(crate) usage: BTreeMap<u32, Usage>,
    next_record: u64,
    /// The last record that is known to be on the disk.
    durable_record: u64,
    /// The logs as far as this thread has looked; the first `named` of them have their name in the journal.
    logs: Vec<Arc<Log>>,
    named: usize,
    ages: Ages,
    upkeep: Upkeep<D>,
    layout: Layout,
    group: Vec<Pending>,
    /// Set by the first failure.
    failure: Option<Error>,
    /// Whether anything was written since the journal was opened.
    wrote: bool,
}

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Worked,
    Idle,
    Ended,
}

impl<D: Disk> Committer<D> {
    /// Recovers the journal in `disk`, or begins one.
    pub(crate) fn open(disk: D, options: Options) -> Result<Committer<D>, Error> {
        options.check()?;
        let recovered = recover::recover(disk, options)?;
        let damaged = recovered.damaged;
        let shared = Arc::new(recovered.shared);
        let logs = read(&shared.logs).all.clone();
        let mut committer = Committer {
            identity: recovered.identity,
            active: recovered.active,
            active_dirty: false,
            unsynced: Vec::new(),
            usage: recovered.usage,
            next_record: recovered.next_record,
            durable_record: recovered.next_record - 1,
            named: logs.len(),
            logs,
            ages: Ages::new(shared.options.cache_bytes),
            upkeep: Upkeep::new(recovered.checkpoint, recovered.accepted),
            layout: Layout::default(),
            group: Vec::new(),
            failure: None,
            wrote: false,
            shared,
        };
        committer.count_all();
        if damaged {
            // What was accepted as lost must stay so: the next opening shall not complain about it again.
            committer.begin_segment()?;
            committer.complete_checkpoint()?;
        }
        committer.open_reserve()?;
        Ok(committer)
    }

    pub(crate) fn shared(&self) -> Arc<Shared<D>> {
        Arc::clone(&self.shared)
    }

    /// The commit thread's whole life.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        self.shared.queue.set_committer(thread::current().id());
        let guard = PanicGuard(self.shared());
        let closing = Closer::start().map_err(|e| self.shared.place.io("start", "the closing thread", e));
        let closing = match closing {
            Ok((closer, thread)) => {
                self.upkeep.closer = Some(closer);
                Ok(thread)
            }
            Err(error) => {
                self.fail(error.clone(), &mut Vec::new());
                Err(error)
            }
        };
        while self.turn(true) != Turn::Ended {}
        let result = self.finish();
        drop(guard);
        // The closer went with the committer, so that its thread comes to an end.
        closing?.join().map_err(|_| Error::Panicked)?;
        result
    }

    /// One turn that does not wait. Returns whether there was anything to do.
    pub(crate) fn step(&mut self) -> bool {
        self.turn(false) == Turn::Worked
    }

    /// Writes what is queued and the mark that all of it is durable.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.shared.queue.close();
        while self.turn(false) == Turn::Worked {}
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        self.close()
    }

    fn turn(&mut self, wait: bool) -> Turn {
        if self.failure.is_some() {
            return Turn::Ended;
        }
        let upkeep = self.upkeep_is_due();
        let mut group = std::mem::take(&mut self.group);
        let open = self.shared.queue.take(&mut group, self.shared.options.group_bytes, wait && !upkeep);
        let turn = if group.is_empty() && !open {
            Turn::Ended
        } else if group.is_empty() && !upkeep {
            Turn::Idle
        } else {
            self.work(&mut group);
            Turn::Worked
        };
        self.group = group;
        turn
    }

    fn work(&mut self, group: &mut Vec<Pending>) {
        match self.next_moves() {
            Ok(moved) => self.commit(group, moved),
            Err(error) => self.fail(error, group),
        }
        if self.failure.is_none()
            && let Err(error) = self.checkpoint_step()
        {
            self.fail(error, group);
        }
    }

    /// Writes a group with the frames to be moved in front of it, and answers it.
    fn commit(&mut self, group: &mut Vec<Pending>, moved: Moved) {
        if group.is_empty() && moved.is_empty() {
            return;
        }
        match self.write_unless_full(group, &moved) {
            Ok(Some(written)) => self.publish(group, moved, &written),
            Ok(None) => self.commit_on_full_disk(group),
            Err(error) => self.fail(error, group),
        }
    }

    /// Stops everything: what the disk holds is not known any more.
    fn fail(&mut self, cause: Error, group: &mut Vec<Pending>) {
        let error = Error::Poisoned { cause: Arc::new(cause) };
        self.failure = Some(error.clone());
        let waiting = self.shared.queue.fail(&error);
        for pending in group.drain(..).chain(waiting) {
            (pending.done)(Err(error.clone()));
        }
    }
}

/// Refuses and answers what is queued if the commit thread panics, so that nobody waits for ever.
struct PanicGuard<D: Disk>(Arc<Shared<D>>);

impl<D: Disk> Drop for PanicGuard<D> {
    fn drop(&mut self) {
        if thread::panicking() {
            let cause = Arc::new(Error::Panicked);
            let error = Error::Poisoned { cause };
            for pending in self.0.queue.fail(&error) {
                (pending.done)(Err(error.clone()));
            }
        }
    }
}

impl<D: Disk> Upkeep<D> {
    fn new(checkpoint: recover::Latest, accepted: Vec<(u32, u64, u64)>) -> Self {
        Upkeep {
            checkpoint_number: checkpoint.number,
            checkpoint_bytes: checkpoint.bytes,
            written_since: 0,
            dead_bytes: 0,
            dead_bytes_tried: 0,
            writer: None::<Writer<D::File>>,
            to_move: std::collections::VecDeque::new(),
            mover: None::<Mover>,
            accepted,
            reserve_lost: false,
            closer: None,
        }
    }
}
