//! The door to user code that turns messages into messages.

use std::sync::Arc;

use async_trait::async_trait;

use super::Error;
use crate::verdict::Reply;
use crate::{Message, Time};

/// Turns messages into messages.
///
/// One call may be under way for each of several units; implementations share what they have between them. Order and
/// durability: none; a call that was not answered may be made again with the same messages.
#[async_trait]
pub trait Map: Send + Sync {
    /// Gives one reply for each message, in the order of the messages. `watermark` is the vertex's input watermark.
    ///
    /// A crash, a hang or a broken protocol of user code is reported where errors of user code are kept, and the
    /// messages without a reply are given to user code again once it is back; so this returns an error only when it
    /// never can: `Reject` when user code refuses a message as such, `Fatal` otherwise. Dropping the future gives the
    /// messages up.
    async fn map(&self, messages: Arc<Vec<Message>>, watermark: Time) -> Result<Vec<Reply>, Error>;

    /// Whether user code answers at this moment. False is not an error.
    async fn ready(&self) -> bool;
}
