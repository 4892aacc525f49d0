//! The journal as its users see it: open, submit, read, ask, close. The work is done elsewhere: writing on the
//! commit thread (`committer`), reading in `read`, recovery in `recover`. Nothing here touches the disk itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::committer::Committer;
use crate::disk::Disk;
use crate::error::Error;
use crate::hub::Shared;
use crate::locks::{lock, read};
use crate::options::Options;
use crate::queue::{Answer, Pending};
use crate::status::{LogStats, Status};
use crate::transaction::{Entry, LogId, Receipt, Sequences, Transaction};

/// An open journal. All calls may be made from many threads at once.
///
/// Dropping it closes it; an error is then lost, so call [`Journal::close`] where it matters.
pub struct Journal<D: Disk> {
    shared: Arc<Shared<D>>,
    thread: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal in `disk`, or begins one if there is none. Recovers what a crash left: reads what no
    /// checkpoint covers, cuts the unfinished end (see [`Status::cut`]) and makes what is left durable.
    ///
    /// Blocks until all of it is done, and starts the commit thread. Fails with [`Error::Damaged`] if durable
    /// bytes are not what was written, unless [`Options::accept_damage`] is set.
    pub fn open(disk: D, options: Options) -> Result<Journal<D>, Error> {
        let committer = Committer::open(disk, options)?;
        let shared = committer.shared();
        let place = shared.place.clone();
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || committer.run())
            .map_err(|e| place.io("start", "the commit thread", e))?;
        Ok(Journal { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Opens the journal without a commit thread: nothing is written except by [`Stepper::step`]. For
    /// simulations, where each step must be repeatable. A submit into a full queue waits until another thread
    /// steps.
    pub fn open_stepped(disk: D, options: Options) -> Result<(Journal<D>, Stepper<D>), Error> {
        let committer = Committer::open(disk, options)?;
        let journal = Journal { shared: committer.shared(), thread: Mutex::new(None) };
        Ok((journal, Stepper { committer }))
    }

    /// The log of this name; it is begun if there is none. Names are 1 to 255 bytes.
    ///
    /// A name survives from the first transaction that uses the log on. The handle is valid until the journal
    /// is closed.
    pub fn log(&self, name: &str) -> Result<LogId, Error> {
        self.shared.open_log(name)
    }

    /// All logs with their names, in the order in which they were begun.
    pub fn logs(&self) -> Vec<(String, LogId)> {
        let table = read(&self.shared.logs);
        table.all.iter().map(|log| (log.name.clone(), log.id)).collect()
    }

    /// Hands a transaction to the commit thread and returns the sequences of its appends. The order of these
    /// calls is the order in the journal.
    ///
    /// `done` is called exactly once, on the commit thread, when the transaction is durable and visible to
    /// `read`, `get` and `stats`, or has failed; never if this call returns an error. It must be short and must not
    /// panic: the next group is not written before it returns, and a panic stops the journal.
    ///
    /// Waits while [`Options::queue_bytes`] or [`Options::queue_transactions`] are exceeded. A caller that
    /// must not wait keeps what it has in flight below these.
    ///
    /// A transaction may settle any sequence that has been given out. [`Error::SettledAhead`] if it settles one
    /// that has not. The sequences of a transaction that fails stay unused until the journal is opened anew;
    /// then they may be given again. Those of durable transactions never are.
    pub fn submit(
        &self,
        transaction: Transaction,
        done: impl FnOnce(Result<Receipt, Error>) + Send + 'static,
    ) -> Result<Sequences, Error> {
        transaction.check(&self.shared.options)?;
        self.shared.check_logs(&transaction)?;
        self.shared.queue.push(Pending::new(transaction, Box::new(done)))
    }

    /// Submits a transaction and waits until it is durable. Not to be called from a `done`.
    pub fn commit(&self, transaction: Transaction) -> Result<Receipt, Error> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done: Answer = Box::new(move |result| {
            // The receiver waits below; it cannot be gone.
            sender.try_send(result).expect("one answer fits");
        });
        self.submit(transaction, done)?;
        receiver.recv().map_err(|mpsc::RecvError| self.shared.queue.stopped().unwrap_or(Error::Closed))?
    }

    /// Reads durable, unsettled frames of a log in order, from the first one whose sequence is at least `from`,
    /// and adds them to `into`. Returns how many it added; 0 means that there is none.
    ///
    /// Stops before the sum of their lengths (each counted with 32 bytes more) would exceed `max_bytes`, but
    /// gives at least one frame if there is one. Frames that are not cached are read from the disk and checked;
    /// [`Error::Damaged`] if one is not what was appended, after the frames before it have been given.
    pub fn read(
        &self,
        log: LogId,
        from: u64,
        max_bytes: usize,
        into: &mut Vec<Entry>,
    ) -> Result<usize, Error> {
        self.shared.read_log(log, from, max_bytes, into)
    }

    /// First and last sequence, number and bytes of the unsettled frames of a log. Exact and cheap.
    pub fn stats(&self, log: LogId) -> Result<LogStats, Error> {
        Ok(lock(&self.shared.find_log(log)?.index).stats())
    }

    /// The value of a key, as of the last durable transaction.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        read(&self.shared.state).map.get(key).cloned()
    }

    /// All keys that begin with `prefix`, in order, with their values, as of the last durable transaction.
    pub fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        read(&self.shared.state).scan(prefix)
    }

    /// What the journal knows about itself.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Writes everything that was submitted, answers it, and ends the commit thread. Later submits fail with
    /// [`Error::Closed`]; reading still works. A second call does nothing.
    pub fn close(&self) -> Result<(), Error> {
        self.shared.queue.close();
        let Some(thread) = lock(&self.thread).take() else { return Ok(()) };
        if thread.thread().id() == thread::current().id() {
            // Called from a `done`: the thread ends by itself when its queue is empty.
            return Ok(());
        }
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl<D: Disk> Drop for Journal<D> {
    fn drop(&mut self) {
        self.shared.queue.close();
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            // The result belongs to `close`; here it only matters that the thread is gone.
            drop(thread.join());
        }
    }
}

impl<D: Disk> std::fmt::Debug for Journal<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.shared.counters.durable_record.load(Ordering::Relaxed);
        f.debug_struct("Journal")
            .field("place", &self.shared.place.0)
            .field("records", &last)
            .finish_non_exhaustive()
    }
}

/// The commit thread of a journal opened with [`Journal::open_stepped`], turned by hand.
pub struct Stepper<D: Disk> {
    committer: Committer<D>,
}

impl<D: Disk> Stepper<D> {
    /// Writes one group of what is queued, or does one piece of upkeep. Returns false if there was nothing to
    /// do. Never waits for anything but the disk.
    pub fn step(&mut self) -> bool {
        self.committer.step()
    }

    /// What the commit thread does last, after the journal was closed: everything queued, and the mark that
    /// all of it is durable.
    pub fn finish(self) -> Result<(), Error> {
        self.committer.finish()
    }
}
