//! Every change that the control plane makes to files which outlive it. What a record says is not known here. Invariant:
//! each call is one step: a crash at any moment leaves the place as it was before or as it is after, and a call that
//! has returned survives a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the control plane does to files. There is one real disk; tests put one in its place that dies at a given step.
pub trait Disk: Send + Sync {
    /// Replaces a file as a whole, or makes it. Its user alone can read it.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a directory another name beside the one that it has.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a directory with everything in it. This is no single step: give it a name first that nobody reads.
    fn remove(&self, directory: &Path) -> io::Result<()>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl FileSystem {
    /// Where the bytes lie that are to replace a file, until it is replaced.
    pub fn beside(path: &Path) -> PathBuf {
        path.with_extension("json.next")
    }
}

impl Disk for FileSystem {
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let next = Self::beside(path);
        let mut file = private(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        sync_parent(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_parent(to)
    }

    fn remove(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir_all(directory)
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// A file that nobody else can read.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}
