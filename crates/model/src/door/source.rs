//! The door through which messages come from outside.
//!
//! Order and durability: messages are given in the source's order. A source forgets a message only after it was
//! acknowledged, or, when it is resumable, may be asked for it again by position. Acknowledgements come in the order
//! in which messages were given, after they are durable downstream.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Error;
use crate::verdict::Nack;
use crate::{Message, Position};

/// What a source is opened into: the half that reads and the half that answers, so that an acknowledgement never
/// waits for a read.
pub struct Opened {
    /// Gives messages.
    pub source: Box<dyn Source>,
    /// Takes acknowledgements.
    pub answers: Box<dyn Answers>,
    /// How the source remembers.
    pub memory: Memory,
}

/// How a source remembers what is done, and so what has to be remembered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Its offsets grow and it can be asked to go on after a position: [`Batch::end`] is stored with each commit,
    /// and nothing has to be acknowledged.
    Position,
    /// It hands out what was not acknowledged again. Message ids are stored with each commit so that a repetition is
    /// recognised.
    Ids,
    /// It hands out what was not acknowledged again, under offsets that mean nothing to us: repetitions pass.
    Opaque,
}

/// What one read gave.
#[derive(Debug, Default)]
pub struct Batch {
    /// The messages, in order. Their ids are [`crate::Id::source`] of their offset.
    pub messages: Vec<Message>,
    /// One for each message, or none at all when the source wants no acknowledgements.
    pub receipts: Vec<Receipt>,
    /// Where to go on after this batch, for a source with [`Memory::Position`].
    pub end: Option<Position>,
}

/// The source's own word for a message, to be given back when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The offset as the source gave it.
    pub offset: Bytes,
    /// The source partition, as the source counts.
    pub partition: i32,
}

/// How a message is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done for good.
    Done,
    /// It was recognised as a repetition of one that is done, or is being done right now.
    Repeated,
    /// It goes back to the source.
    Nack(Nack),
}

/// Gives messages.
#[async_trait]
pub trait Source: Send {
    /// Says where to go on; called once, before the first read, with the position of the unit's last commit (zero for
    /// a unit that never committed). A source that does not have [`Memory::Position`] has nothing to do here.
    async fn resume(&mut self, from: Position) -> Result<(), Error>;

    /// Waits until there is a message, at most about `wait`, and gives at most `messages_max`; an empty batch says
    /// that there was nothing. `Ok(None)` says that there never will be anything again.
    ///
    /// Dropping the future loses nothing: what it had taken is given by the next read, or was not acknowledged and
    /// will be handed out again.
    async fn read(&mut self, messages_max: usize, wait: Duration) -> Result<Option<Batch>, Error>;
}

/// Takes what became of messages.
#[async_trait]
pub trait Answers: Send {
    /// Answers messages in the order they were given. When it fails with `Retry` the same call is made again.
    async fn answer(&mut self, answers: &[(Receipt, Answer)]) -> Result<(), Error>;

    /// How many messages wait outside, when the source can tell.
    async fn pending(&mut self) -> Result<Option<u64>, Error>;

    /// Releases what the source holds outside. Messages given and not answered are left for the next reader.
    async fn close(&mut self) -> Result<(), Error>;
}
