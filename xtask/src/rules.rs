//! The rules of `STYLE.md` that can be told from the text of the sources.
//!
//! Each group of rules has its file; what they see is a [`Source`]. Rules that need the compiler are clippy's, rules
//! about dependencies are in `deps`. Invariant: a rule looks at one file and nothing else, so findings do not depend
//! on the order of files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::finding::Finding;
use crate::source::Source;

mod places;
mod purity;
mod shape;
mod words;

#[cfg(test)]
mod tests;

/// Directories that hold Rust sources.
const ROOTS: [&str; 3] = ["crates", "e2e", "xtask"];

/// What the rules say about all sources.
pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    /// Worth knowing, but no failure.
    pub(crate) notes: Vec<Finding>,
}

/// Reads every Rust source below `root` and applies every rule.
pub(crate) fn check(root: &Path) -> Result<Verdict> {
    let mut verdict = Verdict { findings: Vec::new(), notes: Vec::new() };
    for directory in ROOTS {
        visit(root, &root.join(directory), &mut verdict)?;
    }
    Ok(verdict)
}

fn visit(root: &Path, directory: &Path, verdict: &mut Verdict) -> Result<()> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        paths.push(entry.with_context(|| format!("list {}", directory.display()))?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                visit(root, &path, verdict)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            apply(&Source::parse(relative, &text), verdict);
        }
    }
    Ok(())
}

/// Applies every rule to one file.
fn apply(source: &Source, verdict: &mut Verdict) {
    if source.is_generated {
        return;
    }
    verdict.findings.extend(shape::findings(source));
    verdict.findings.extend(words::findings(source));
    verdict.findings.extend(purity::findings(source));
    verdict.findings.extend(places::findings(source));
    verdict.notes.extend(shape::notes(source));
}
