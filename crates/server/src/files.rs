//! Log files, read from the end and followed: a file may grow, be cut, or be put aside as `FILE.1` at any time. Invariant:
//! a look reads at most [`LOOK_BYTES_MAX`], and only whole lines are given on.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most that is read from the end of a file.
const TAIL_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// The most that is read of a file at once.
const LOOK_BYTES_MAX: u64 = 256 * 1024;
/// The longest line; what is longer is cut into several.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One file that is read as it grows.
pub(crate) struct Follower {
    path: PathBuf,
    open: Option<Open>,
    /// The beginning of a line whose end is not written.
    rest: Vec<u8>,
}

struct Open {
    file: File,
    inode: u64,
    offset: u64,
}

impl Follower {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, open: None, rest: Vec::new() }
    }

    /// The latest lines, at most `count`; what is written later is for [`Follower::more`].
    pub(crate) fn tail(&mut self, count: usize) -> Vec<String> {
        let Ok(mut open) = Open::new(&self.path) else { return Vec::new() };
        let Ok(bytes) = open.read_end() else { return Vec::new() };
        self.open = Some(open);
        let mut lines = self.lines(&bytes);
        if lines.len() < count {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            let bytes =
                Open::new(Path::new(&older)).and_then(|mut older| older.read_end()).unwrap_or_default();
            let mut before = Self::new(PathBuf::new()).lines(&bytes);
            before.append(&mut lines);
            lines = before;
        }
        lines.split_off(lines.len().saturating_sub(count))
    }

    /// The lines written since the last look.
    pub(crate) fn more(&mut self) -> Vec<String> {
        if self.open.is_none() {
            self.open = Open::new(&self.path).ok();
        }
        let Some(open) = &mut self.open else { return Vec::new() };
        let bytes = open.read_on().unwrap_or_default();
        let is_at_end = (bytes.len() as u64) < LOOK_BYTES_MAX;
        // A file that was put aside is read to its end before the one in its place.
        if is_at_end && open.is_replaced(&self.path) {
            self.open = None;
        }
        self.lines(&bytes)
    }

    fn lines(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let mut start = 0;
        while start < self.rest.len() {
            let window = &self.rest[start..];
            let end = window.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
            let (taken, skipped) = match end {
                Some(end) => (end, end + 1),
                None if window.len() >= LINE_BYTES_MAX => (LINE_BYTES_MAX, LINE_BYTES_MAX),
                None => break,
            };
            lines.push(String::from_utf8_lossy(&window[..taken]).into_owned());
            start += skipped;
        }
        self.rest.drain(..start);
        lines
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode, offset: 0 })
    }

    /// The end of the file, from the beginning of a line on.
    fn read_end(&mut self) -> io::Result<Vec<u8>> {
        let size = self.file.metadata()?.len();
        let from = size.saturating_sub(TAIL_BYTES_MAX);
        self.file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        (&self.file).take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        self.offset = from + bytes.len() as u64;
        if from > 0 {
            let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
            bytes.drain(..first);
        }
        Ok(bytes)
    }

    fn read_on(&mut self) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() < self.offset {
            // It was cut; what is in it was written since.
            self.offset = 0;
        }
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        (&self.file).take(LOOK_BYTES_MAX).read_to_end(&mut bytes)?;
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }

    /// Whether another file has the name.
    fn is_replaced(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| found.ino() != self.inode)
    }
}

/// The time that a line begins with, as text.
pub(crate) fn time_of(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(time, _)| time)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use super::{Follower, LINE_BYTES_MAX, TAIL_BYTES_MAX};

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_file_that_grows_is_cut_or_is_put_aside_loses_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut follower = Follower::new(path.clone());
        assert!(follower.tail(10).is_empty());
        append(&path, "1\n2\nhal");
        assert_eq!(follower.more(), ["1", "2"]);
        append(&path, "f\n");
        assert_eq!(follower.more(), ["half"]);
        append(&path, "last of the old\n");
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        append(&path, "first of the new\n");
        assert_eq!(follower.more(), ["last of the old"]);
        assert_eq!(follower.more(), ["first of the new"]);
        fs::write(&path, "cut\n").unwrap();
        assert_eq!(follower.more(), ["cut"]);
        fs::remove_file(&path).unwrap();
        assert!(follower.more().is_empty());
    }

    #[test]
    fn the_tail_goes_on_in_the_file_that_was_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(dir.path().join("log.1"), "1\n2\n").unwrap();
        fs::write(&path, "3\n4\n5").unwrap();
        let mut follower = Follower::new(path.clone());
        assert_eq!(follower.tail(3), ["2", "3", "4"]);
        append(&path, "!\n");
        assert_eq!(follower.more(), ["5!"]);
        assert_eq!(Follower::new(path).tail(2), ["4", "5!"]);
    }

    #[test]
    fn a_large_file_is_read_from_near_its_end_and_a_long_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let line = "x".repeat(99);
        let text: String = (0..=TAIL_BYTES_MAX / 100).flat_map(|_| [line.as_str(), "\n"]).collect();
        fs::write(&path, text).unwrap();
        let mut follower = Follower::new(path.clone());
        let lines = follower.tail(usize::MAX);
        assert!(lines.iter().all(|found| *found == line));
        assert_eq!(lines.len() as u64, TAIL_BYTES_MAX / 100);
        append(&path, &format!("{}\n", "y".repeat(LINE_BYTES_MAX + 1)));
        let lines: Vec<usize> = follower.more().iter().map(String::len).collect();
        assert_eq!(lines, [LINE_BYTES_MAX, 1]);
    }
}
