//! Bytes cut into lines, whatever they come from. A line ends with a line feed, or a carriage return and a line feed;
//! neither belongs to it. The last line of an input may lack its end.
//!
//! Lines are slices of what was read, never copies. Invariant: every byte is in exactly one line or is a line end,
//! and [`Lines::given`] grows by what was given out, so it can serve as a position.

use bytes::{Bytes, BytesMut};

/// The longest line, in bytes without its end.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// How much is read at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// A line that is longer than any message should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line that starts at byte {start} has more than {LINE_BYTES_MAX} bytes; is this a text file?")]
pub struct TooLong {
    /// Where the line starts.
    pub start: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where the line starts.
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whole lines, and after the end of the input perhaps one without its end.
    whole: Bytes,
    /// What follows them.
    partial: BytesMut,
    given: u64,
}

impl Lines {
    /// Lines of an input that starts at this offset.
    pub(super) fn starting_at(offset: u64) -> Self {
        Self { given: offset, ..Self::default() }
    }

    /// Up to where lines have been given out.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Up to where the input has been read.
    pub(super) fn read(&self) -> u64 {
        self.given + (self.whole.len() + self.partial.len()) as u64
    }

    /// Where to put what is read next; [`Lines::cut`] follows.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        self.partial.reserve(CHUNK_BYTES);
        &mut self.partial
    }

    /// Makes lines of what was put into [`Lines::space`].
    pub(super) fn cut(&mut self) -> Result<(), TooLong> {
        debug_assert!(self.whole.is_empty(), "nothing is read while there are lines to give out");
        if let Some(end) = memchr::memrchr(b'\n', &self.partial) {
            self.whole = self.partial.split_to(end + 1).freeze();
        } else if self.partial.len() > LINE_BYTES_MAX + 1 {
            return Err(TooLong { start: self.given });
        }
        Ok(())
    }

    /// The input has ended: what is left is a line too.
    pub(super) fn finish(&mut self) {
        debug_assert!(self.whole.is_empty(), "nothing is read while there are lines to give out");
        self.whole = self.partial.split().freeze();
    }

    /// Gives out at most `lines_max` lines.
    pub(super) fn take(&mut self, lines_max: usize) -> Result<Vec<Line>, TooLong> {
        let mut lines = Vec::new();
        while lines.len() < lines_max && !self.whole.is_empty() {
            let end = memchr::memchr(b'\n', &self.whole);
            let with_end = end.map_or(self.whole.len(), |end| end + 1);
            let text = &self.whole[..end.unwrap_or(with_end)];
            let len = text.strip_suffix(b"\r").filter(|_| end.is_some()).unwrap_or(text).len();
            if len > LINE_BYTES_MAX {
                // The lines before it are given first; the next call comes back here.
                return if lines.is_empty() { Err(TooLong { start: self.given }) } else { Ok(lines) };
            }
            let bytes = self.whole.split_to(with_end).slice(..len);
            lines.push(Line { start: self.given, bytes });
            self.given += with_end as u64;
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests;
