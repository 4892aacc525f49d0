//! The door through which messages leave for outside.

use async_trait::async_trait;
use bytes::Bytes;
use smol_str::SmolStr;

use super::Error;
use crate::verdict::Nack;
use crate::{Groups, Message, Time};

/// What became of one message at a sink.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is outside and durable there as far as the outside can say.
    Done,
    /// It was not taken; trying again may help.
    Failed(String),
    /// It belongs into the fallback sink.
    Fallback,
    /// It is the answer to a request: stored for it, with this value in place of its own when there is one.
    Serve(Option<Bytes>),
    /// It is done, and this goes to the on-success sink.
    OnSuccess(Option<Box<Replacement>>),
    /// It goes back to be tried again.
    Nack(Nack),
}

/// What goes to the on-success sink in place of the message.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The payload.
    pub value: Bytes,
    /// The keys.
    pub keys: Vec<SmolStr>,
    /// User metadata.
    pub user: Groups,
}

/// Takes messages out.
#[async_trait]
pub trait Sink: Send {
    /// Writes messages in order and gives one outcome for each. When this returns, every message with
    /// [`Outcome::Done`] is as durable as the sink makes it. `Retry` says that nothing can be said about any of them:
    /// the same batch is written again.
    ///
    /// Dropping the future leaves it open which of the messages are outside.
    async fn write(&mut self, messages: &[Message], watermark: Time) -> Result<Vec<Outcome>, Error>;

    /// Whether the outside takes messages at this moment. False is not an error.
    async fn ready(&self) -> bool;

    /// Flushes and lets go of the outside; nothing is written after this.
    async fn close(&mut self) -> Result<(), Error>;
}
