//! Why an engine cannot go on. Invariant: what passes by itself is told apart from what somebody has to mend.

use std::path::PathBuf;

use crate::local::process;

/// Why something cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal cannot be used.
    #[error("open the journal in {}", directory.display())]
    Journal {
        /// Its directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: journal::Error,
    },
    /// The buffer cannot be used.
    #[error("open the buffers: {0}")]
    Buffer(String),
    /// The buffer cannot be looked at for the moment; workers go on as they were told.
    #[error("look at the buffers: {0}")]
    Away(String),
    /// The broker that the buffers are on cannot be used.
    #[error(transparent)]
    Broker(#[from] connect::buffer::broker::Error),
    /// A door of a vertex cannot be opened.
    #[error(transparent)]
    Open(#[from] connect::open::Error),
    /// A vertex is of a kind that this build cannot run.
    #[error("run vertex {vertex}: {why}")]
    Unsupported {
        /// The vertex.
        vertex: String,
        /// What is missing.
        why: &'static str,
    },
    /// Something is named that there is not.
    #[error("find {what}: there is none")]
    Unknown {
        /// What.
        what: String,
    },
    /// The environment of a user container cannot be made.
    #[error("prepare container {container}")]
    Container {
        /// The container, as `vertex[replica]/container`.
        container: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// User code cannot be looked after.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A task ended in a way that none ever should.
    #[error("keep {worker} running: {why}")]
    Task {
        /// Whose.
        worker: String,
        /// What happened.
        why: String,
    },
}

/// The buffers cannot be looked at.
pub(super) fn unreadable(error: &model::door::Error) -> Error {
    if error.class() == model::door::Class::Retry {
        Error::Away(error.chain())
    } else {
        Error::Buffer(error.chain())
    }
}
