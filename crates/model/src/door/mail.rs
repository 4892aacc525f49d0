//! The door to a place where processes leave each other notes: the latest under each key counts, whoever wrote it.
//!
//! Notes carry what may be late or lost without harm: orders to workers and what workers say of themselves. Whatever has
//! to be true goes through [`buffer`](super::buffer). Promises: a watch first gives every note that lies there, then each
//! change of the latest; notes that were replaced before they were given may be left out, the latest never is. The notes
//! of one writer under one key are given in the order in which they were written.

use async_trait::async_trait;
use bytes::Bytes;

use super::Error;

/// A key has so many tokens: what it is about, a vertex, and a worker of it.
pub const KEY_TOKENS: usize = 3;

/// A place for notes. A key is [`KEY_TOKENS`] tokens of letters, digits, `-` and `_`, joined by dots.
#[async_trait]
pub trait Mail: Send + Sync {
    /// Leaves a note, in place of the one that lies there. `Retry` when that cannot be done at the moment.
    async fn put(&self, key: &str, note: Bytes) -> Result<(), Error>;

    /// Takes a note away. One that is not there is no error.
    async fn remove(&self, key: &str) -> Result<(), Error>;

    /// Watches all keys that begin with these tokens, such as `report.map`.
    async fn watch(&self, under: &str) -> Result<Box<dyn Watch>, Error>;
}

/// Notes as they change.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next change. Dropping the future loses nothing. After an error the watch goes on by itself, unless
    /// the error is `Fatal`.
    async fn next(&mut self) -> Result<Change, Error>;
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The note; none when it was taken away.
    pub note: Option<Bytes>,
}
