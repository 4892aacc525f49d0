//! A finding: one broken rule, where it is, and what to do about it.
//!
//! How findings are collected and counted lives with the checks. Invariant: the text of a finding is one line that
//! starts with the place, so that editors and people can jump to it.

use std::fmt;
use std::path::PathBuf;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the workspace root.
    path: PathBuf,
    /// Counted from 1; 0 means the whole file.
    line: usize,
    what: String,
    remedy: String,
}

impl Finding {
    /// A finding at a line of a file; line 0 means the whole file.
    pub(crate) fn at(
        path: impl Into<PathBuf>,
        line: usize,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), line, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, remedy } = self;
        write!(f, "{}", path.display())?;
        if *line > 0 {
            write!(f, ":{line}")?;
        }
        write!(f, ": {what}; {remedy}")
    }
}
