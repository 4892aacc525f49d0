//! The names of the files in a journal's directory, and nothing else. Files with other names are not ours
//! and are left alone.

/// What a file in the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A segment and its number.
    Segment(u32),
    /// A complete checkpoint and its number.
    Checkpoint(u64),
    /// A checkpoint that was being written.
    Partial,
}

/// Room kept for settlements on a full disk.
pub(crate) const RESERVE: &str = "reserve";
/// The same while it is being filled.
pub(crate) const RESERVE_PARTIAL: &str = "reserve.partial";
/// Locked while a journal is open.
pub(crate) const LOCK: &str = "lock";
/// A checkpoint that is being written.
pub(crate) const PARTIAL: &str = "checkpoint.partial";

const SEGMENT: &str = ".segment";
const CHECKPOINT: &str = ".checkpoint";

pub(crate) fn segment(number: u32) -> String {
    format!("{number:010}{SEGMENT}")
}

pub(crate) fn checkpoint(number: u64) -> String {
    format!("{number:020}{CHECKPOINT}")
}

pub(crate) fn parse(name: &str) -> Option<Kind> {
    let digits = |text: &str, width: usize| {
        (text.len() == width && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u64>().ok())
            .flatten()
    };
    if let Some(stem) = name.strip_suffix(SEGMENT) {
        return digits(stem, 10).and_then(|n| u32::try_from(n).ok()).map(Kind::Segment);
    }
    if let Some(stem) = name.strip_suffix(CHECKPOINT) {
        return digits(stem, 20).map(Kind::Checkpoint);
    }
    (name == PARTIAL).then_some(Kind::Partial)
}
