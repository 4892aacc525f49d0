//! The lock on a site's directory: one process at a time. Invariant: the lock is held for as long as the value lives, and
//! ends with the process however that ends.

use std::fs::File;
use std::path::Path;

use crate::local::state;

/// Held by the process that uses a directory.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory if need be, so that nobody else can look into it, and locks it.
    pub(super) fn take(directory: &Path) -> Result<Self, state::Error> {
        if let Some(parent) = directory.parent() {
            state::make_all(parent)?;
        }
        state::make_private(directory)?;
        Ok(Self { _file: state::lock(directory)? })
    }
}
