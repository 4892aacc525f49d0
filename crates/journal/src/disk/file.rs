//! The real disk: a directory of files, held by a lock file. Nothing about the journal's format is known here.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile};
use crate::error::Error;
use crate::names;

/// A directory of the file system, locked against other processes as long as this value lives.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    /// Open for syncing the directory.
    handle: File,
    /// The lock goes with this file.
    _lock: File,
}

impl FileDisk {
    /// Creates the directory if it is not there, and locks it. [`Error::Locked`] if somebody holds it.
    pub fn open(directory: impl AsRef<Path>) -> Result<FileDisk, Error> {
        let directory = directory.as_ref().to_path_buf();
        let failed = |action: &'static str, file: &str, source: io::Error| Error::Io {
            action,
            file: file.to_owned(),
            place: directory.display().to_string(),
            source: Arc::new(source),
        };
        fs::create_dir_all(&directory).map_err(|e| failed("create", "the directory", e))?;
        let handle = File::open(&directory).map_err(|e| failed("open", "the directory", e))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(names::LOCK))
            .map_err(|e| failed("open", names::LOCK, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(FileDisk { directory, handle, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { directory }),
            Err(TryLockError::Error(e)) => Err(failed("lock", names::LOCK, e)),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Disk for FileDisk {
    type File = RealFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                files.push(name);
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let path = self.directory.join(name);
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).map(RealFile)
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).open(self.directory.join(name)).map(RealFile)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn identity(&self) -> u64 {
        // The standard library seeds this from the operating system's randomness.
        RandomState::new().build_hasher().finish()
    }

    fn place(&self) -> String {
        self.directory.display().to_string()
    }
}

/// A file of a [`FileDisk`].
#[derive(Debug)]
pub struct RealFile(File);

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut file = &self.0;
        // Reading is positional, so the cursor belongs to the one writer.
        file.seek(SeekFrom::Start(offset))?;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match file.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
