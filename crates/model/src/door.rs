//! The four doors between a vertex and everything else: [`source`], [`map`], [`sink`] and [`buffer`].
//!
//! Calls are batch-sized and object-safe. At each door an error answers one question, its [`Class`]; nobody looks at
//! its text. Each door has one conformance suite (feature `conformance`) that every implementation runs.

use std::error::Error as StdError;

pub mod buffer;
pub mod mail;
pub mod map;
pub mod sink;
pub mod source;
pub mod store;

/// What the caller of a door may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same call may succeed later.
    Retry,
    /// This message cannot pass, whoever tries; others can.
    Reject,
    /// This unit belongs to somebody else: stop it, keep the rest.
    Lost,
    /// This worker cannot go on.
    Fatal,
}

/// What went wrong behind a door: what was attempted, what it means for the caller, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{attempted}")]
pub struct Error {
    class: Class,
    attempted: String,
    #[source]
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a deeper cause. `attempted` reads well after "failed to".
    pub fn new(class: Class, attempted: impl Into<String>) -> Self {
        Self { class, attempted: attempted.into(), cause: None }
    }

    /// An error with its cause.
    pub fn caused(
        class: Class,
        attempted: impl Into<String>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { class, attempted: attempted.into(), cause: Some(cause.into()) }
    }

    /// What the caller may do.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The whole chain of causes in one line, for logs and people.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and its causes in one line, for logs and people.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
