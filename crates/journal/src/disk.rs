//! The door to the disk: the few calls a journal makes, so that a simulated disk can stand behind it.
//! What may be assumed of an implementation is written at each call and nowhere else.

mod file;

use std::io::{self, IoSlice};

pub use file::FileDisk;

/// A flat directory of files, held by one journal at a time.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file, empty even if one of that name existed, for reading and writing.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, replacing what had it. Atomic: after a crash it has one name or the other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Handles that are open go on reading it.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and deletions so far durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// A number that no other journal is likely to get.
    fn identity(&self) -> u64;

    /// The name of the place in messages, such as a path.
    fn place(&self) -> String;
}

/// An open file of a [`Disk`]. Written by one thread at a time, read by many.
pub trait DiskFile: Send + Sync + 'static {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes from `offset` on; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all the parts one after the other from `offset` on. When it fails, any part of them may be in the
    /// file.
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes what was written so far, and the length, durable.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to a length.
    fn truncate(&self, length: u64) -> io::Result<()>;
}
