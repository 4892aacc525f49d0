//! Tools of the cases: bounded waits, numbered messages, and a claimed unit with the errors already looked at.
//!
//! A call that answers `Retry` is made again here, so that every case holds also through a buffer that is out of
//! reach now and then.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;
use tokio::task::JoinSet;

use crate::door::buffer::{
    Buffer, Claim, Claimed, Commit, Committed, Committer, Level, Output, Passage, Reader, Stored,
    VertexSettings, WhenFull,
};
use crate::door::{Class, Error};
use crate::frame::Body;
use crate::{
    Epoch, Incarnation, Message, Name, Origin, Place, Position, Progress, Slot, Time, Topology, Unit, UnitId,
};

/// How long anything may take before the case fails. Far longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a call that answers `Retry` is made.
pub(super) const RETRIES_MAX: u32 = 10_000;
/// A read that takes what there is.
pub(super) const PLENTY: usize = 1 << 20;

/// The result of `future`, or a failure that says what did not happen.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_or(|| what.to_owned(), future).await
}

/// The same with something to say that is looked up only after a failure.
pub(super) async fn within_or<T>(what: impl FnOnce() -> String, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("{}: it has not happened within {} s", what(), PATIENCE.as_secs()))
}

/// Polls a future a number of times, whether or not it was woken, with a turn for everybody else in between. None
/// when it is not ready by then.
pub(super) async fn polled<F: Future>(mut future: Pin<&mut F>, polls: u32) -> Option<F::Output> {
    for _ in 0..polls {
        let once = poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
        if let Poll::Ready(result) = once.await {
            return Some(result);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Tasks of a case. A panic in one fails the case.
#[derive(Default)]
pub(super) struct Crew(JoinSet<()>);

impl Crew {
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Waits until all have ended by themselves.
    pub(super) async fn join(&mut self, what: &str) {
        within(what, async {
            while let Some(ended) = self.0.join_next().await {
                Self::check(ended);
            }
        })
        .await;
    }

    /// Fails the case if a task that has ended has panicked. Does not wait.
    pub(super) fn look(&mut self) {
        while let Some(ended) = self.0.try_join_next() {
            Self::check(ended);
        }
    }

    /// Ends all where they are.
    pub(super) async fn abort(&mut self) {
        self.0.abort_all();
        while let Some(ended) = self.0.join_next().await {
            Self::check(ended);
        }
    }

    fn check(ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

pub(super) fn name(text: &str) -> Name {
    SmolStr::new(text)
}

/// A vertex without limits that matter.
pub(super) fn vertex(text: &str, partitions: u16, slots_per_partition: u16) -> VertexSettings {
    let topology = Topology { partitions, slots_per_partition };
    VertexSettings { name: name(text), topology, writers: 1, messages_max: 1 << 40, bytes_max: 1 << 40 }
}

/// A source, two partitions of two slots that it writes to, and two vertices behind them.
pub(super) fn world() -> Vec<VertexSettings> {
    vec![vertex("in", 1, 1), vertex("map", 2, 2), vertex("out", 2, 2), vertex("side", 1, 2)]
}

pub(super) fn slot(partition: u16, number: u16) -> Slot {
    Slot { partition, number }
}

pub(super) fn place(vertex: &str, slot: Slot) -> Place {
    Place { vertex: name(vertex), slot }
}

pub(super) fn source(vertex: &str, number: u32) -> UnitId {
    UnitId { vertex: name(vertex), unit: Unit::Source(number) }
}

pub(super) fn slot_unit(vertex: &str, slot: Slot) -> UnitId {
    UnitId { vertex: name(vertex), unit: Unit::Slot(slot) }
}

/// The messages with these numbers.
pub(super) fn body(numbers: impl IntoIterator<Item = u64>) -> Body {
    let message = |number: u64| {
        let offset = Origin::Numbered { number, partition: 0 };
        let value = Bytes::copy_from_slice(&number.to_be_bytes());
        Message::from_source(name("in"), offset, value, Time::from_millis(number as i64))
    };
    let messages: Vec<_> = numbers.into_iter().map(message).collect();
    Body::encode(&messages)
}

/// One message whose encoded form has this many bytes exactly.
pub(super) fn body_of_size(bytes: usize) -> Body {
    let encoded = |len: usize| {
        let offset = Origin::Numbered { number: 1, partition: 0 };
        Body::encode([&Message::from_source(name("in"), offset, Bytes::from(vec![7; len]), Time::MIN)])
    };
    let mut len = bytes;
    loop {
        let body = encoded(len);
        match body.payload.len().checked_sub(bytes) {
            Some(0) => return body,
            Some(over) => len -= over,
            None => panic!("no message is encoded in {bytes} bytes"),
        }
    }
}

/// An ordinary output: it waits for room.
pub(super) fn output(vertex: &str, slot: Slot, body: Body) -> Output {
    Output { to: place(vertex, slot), body, when_full: WhenFull::Wait, passage: Passage::Onward }
}

/// The numbers in a frame, checked against its header.
pub(super) fn numbers(stored: &Stored, slot: Slot) -> Vec<u64> {
    let messages = match stored.frame.messages(stored.sequence, slot.partition) {
        Ok(messages) => messages,
        Err(error) => panic!("frame {} of slot {slot} cannot be read: {error}", stored.sequence),
    };
    let number = |message: &Message| {
        let bytes: [u8; 8] = message.value[..].try_into().expect("a numbered message has eight bytes");
        u64::from_be_bytes(bytes)
    };
    messages.iter().map(number).collect()
}

/// A claimed unit.
pub(super) struct Owner {
    pub(super) claim: Claim,
    pub(super) progress: Progress,
    pub(super) reader: Option<Box<dyn Reader>>,
    pub(super) committer: Box<dyn Committer>,
}

/// The claim of an incarnation under an epoch.
pub(super) fn claim_of(unit: &UnitId, owner: u64, epoch: u64) -> Claim {
    Claim { unit: unit.clone(), owner: Incarnation(owner), replica: owner as u16, epoch: Epoch(epoch) }
}

/// Fails unless the call was refused because the unit is somebody else's.
pub(super) fn expect_lost<T>(what: &str, result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("{what}: it succeeded, but the unit has another owner"),
        Err(error) => assert_eq!(error.class(), Class::Lost, "{what}: {}", error.chain()),
    }
}

pub(super) fn no_error<T>(what: &str, result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {:?}: {}", error.class(), error.chain()),
    }
}

impl Owner {
    /// Claims, as often as it takes. Fails the case on any other error.
    pub(super) async fn claim(buffer: &Arc<dyn Buffer>, unit: &UnitId, owner: u64, epoch: u64) -> Self {
        no_error(&format!("claim {unit}"), Self::try_claim(buffer, unit, owner, epoch).await)
    }

    pub(super) async fn try_claim(
        buffer: &Arc<dyn Buffer>,
        unit: &UnitId,
        owner: u64,
        epoch: u64,
    ) -> Result<Self, Error> {
        let claim = claim_of(unit, owner, epoch);
        for _ in 0..RETRIES_MAX {
            match within(&format!("claim {unit}"), buffer.claim(claim.clone())).await {
                Err(error) if error.class() == Class::Retry => tokio::task::yield_now().await,
                Err(error) => return Err(error),
                Ok(Claimed { progress, reader, committer }) => {
                    return Ok(Self { claim, progress, reader, committer });
                }
            }
        }
        panic!("claim {unit}: {RETRIES_MAX} attempts were to be repeated");
    }

    /// Commits, as often as it takes and however long it waits for room. Notes the progress.
    pub(super) async fn try_commit(&mut self, commit: Commit) -> Result<Committed, Error> {
        for _ in 0..RETRIES_MAX {
            match self.committer.commit(commit.clone()).await {
                Err(error) if error.class() == Class::Retry => tokio::task::yield_now().await,
                Err(error) => return Err(error),
                Ok(committed) => {
                    assert_eq!(committed.stored.len(), commit.outputs.len(), "each output has an answer");
                    self.progress = commit.progress;
                    return Ok(committed);
                }
            }
        }
        panic!("commit {}: {RETRIES_MAX} attempts were to be repeated", self.claim.unit);
    }

    /// Commits within the bound of waits.
    pub(super) async fn commit(&mut self, commit: Commit) -> Committed {
        let what = format!("commit {}", self.claim.unit);
        no_error(&what, within(&what, self.try_commit(commit)).await)
    }

    /// A commit that moves a source by one.
    pub(super) fn next(&self, outputs: Vec<Output>) -> Commit {
        let sequence = self.progress.position.sequence + 1;
        let progress = Progress::to(Position { sequence, index: 0 });
        Commit { outputs, progress, ids: Vec::new(), stamp: Time::from_millis(sequence as i64) }
    }

    /// Commits outputs and moves a source by one. Gives the numbers under which they are stored.
    pub(super) async fn write(&mut self, outputs: Vec<Output>) -> Vec<u64> {
        let committed = self.commit(self.next(outputs)).await;
        committed
            .stored
            .into_iter()
            .map(|stored| stored.expect("an output that waits is not left out"))
            .collect()
    }

    /// Commits a progress and nothing else.
    pub(super) async fn settle(&mut self, progress: Progress) {
        self.commit(Commit { progress, ..Commit::default() }).await;
    }

    /// Settles everything up to and including a frame.
    pub(super) async fn settle_through(&mut self, sequence: u64) {
        self.settle(Progress::to(Position::after(sequence))).await;
    }

    pub(super) async fn try_read(&mut self, bytes_max: usize) -> Result<Vec<Stored>, Error> {
        self.reader.as_mut().expect("the unit of a slot has a reader").read(bytes_max).await
    }

    /// Reads at least one frame within the bound of waits.
    pub(super) async fn read(&mut self, bytes_max: usize) -> Vec<Stored> {
        let what = format!("read {}", self.claim.unit);
        let frames = no_error(&what, within(&what, self.try_read(bytes_max)).await);
        assert!(!frames.is_empty(), "{what}: a read gives at least one frame");
        frames
    }

    /// Reads so many frames, which must be in order.
    pub(super) async fn read_frames(&mut self, count: usize) -> Vec<Stored> {
        let mut frames: Vec<Stored> = Vec::new();
        while frames.len() < count {
            frames.extend(self.read(PLENTY).await);
        }
        assert_eq!(frames.len(), count, "{}: more frames than were written", self.claim.unit);
        assert!(frames.is_sorted_by(|left, right| left.sequence < right.sequence), "sequences grow");
        frames
    }

    /// Fails if there is a frame to read. Only for a slot to which nothing is being written.
    pub(super) async fn expect_nothing(&mut self) {
        let unit = self.claim.unit.clone();
        let mut read = Box::pin(self.try_read(PLENTY));
        if let Some(frames) = polled(read.as_mut(), 200).await {
            panic!("{unit}: nothing was left to read, and there was {frames:?}");
        }
    }

    pub(super) async fn try_known(&mut self, ids: &[SmolStr]) -> Result<Vec<bool>, Error> {
        let what = format!("look ids up for {}", self.claim.unit);
        for _ in 0..RETRIES_MAX {
            match within(&what, self.committer.known(ids)).await {
                Err(error) if error.class() == Class::Retry => tokio::task::yield_now().await,
                other => return other,
            }
        }
        panic!("{what}: {RETRIES_MAX} attempts were to be repeated");
    }

    pub(super) async fn known(&mut self, ids: &[SmolStr]) -> Vec<bool> {
        no_error("look ids up", self.try_known(ids).await)
    }

    pub(super) async fn release(self) {
        let what = format!("release {}", self.claim.unit);
        no_error(&what, within(&what, self.committer.release()).await);
    }
}

/// The levels of a vertex in the order of its slots, with a check that every slot is there once.
pub(super) async fn levels(buffer: &Arc<dyn Buffer>, vertex: &VertexSettings) -> Vec<Level> {
    let what = format!("levels of {}", vertex.name);
    for _ in 0..RETRIES_MAX {
        match within(&what, buffer.levels(&vertex.name)).await {
            Err(error) if error.class() == Class::Retry => tokio::task::yield_now().await,
            other => {
                let mut levels = no_error(&what, other);
                levels.sort_by(|left, right| left.place.cmp(&right.place));
                let count = vertex.topology.slots() as usize + 1;
                assert_eq!(levels.len(), count, "{what}: one for each slot and one for the retry slot");
                assert!(
                    levels.is_sorted_by(|left, right| left.place < right.place),
                    "{what}: each slot once"
                );
                return levels;
            }
        }
    }
    panic!("{what}: {RETRIES_MAX} attempts were to be repeated");
}

/// The level of one slot.
pub(super) async fn level(buffer: &Arc<dyn Buffer>, vertex: &VertexSettings, slot: Slot) -> Level {
    let mut all = levels(buffer, vertex).await;
    let at = all.iter().position(|level| level.place.slot == slot).expect("the slot belongs to the vertex");
    all.swap_remove(at)
}
