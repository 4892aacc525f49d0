//! Manifest files: named, listed and read.
//!
//! Invariant: reading ends, whatever is named: at most [`BYTES_MAX`] bytes of a file and [`FILES_MAX`] files of a
//! directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use platform::local::program::IMAGE_MAP_FILE;

/// The most that is read of one file; what is allowed is decided later and is less.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most files that are taken from one directory.
const FILES_MAX: usize = 10_000;
/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// A file that was read.
pub(crate) struct Input {
    /// Its name in messages.
    pub(crate) name: String,
    /// Where it is; `None` when it is no file.
    pub(crate) path: Option<PathBuf>,
    /// Its content.
    pub(crate) bytes: Vec<u8>,
}

/// Reads files; of a directory all `.yaml`, `.yml` and `.json` files in it and below, by name.
pub(crate) fn read_all(names: &[PathBuf]) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for name in names {
        if name.as_os_str() == STANDARD_INPUT {
            let bytes = read_at_most(io::stdin()).context("read standard input")?;
            inputs.push(Input { name: "stdin".to_owned(), path: None, bytes });
            continue;
        }
        let mut files = Vec::new();
        list(name, &mut files).with_context(|| format!("read {}", name.display()))?;
        if files.is_empty() {
            bail!("find a manifest in {}: it has no .yaml, .yml or .json file", name.display());
        }
        for file in files {
            let opened = File::open(&file).and_then(read_at_most);
            let bytes = opened.with_context(|| format!("read {}", file.display()))?;
            inputs.push(Input { name: file.display().to_string(), path: Some(file), bytes });
        }
    }
    Ok(inputs)
}

fn read_at_most(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file itself, or the manifests of a directory.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        let is_link = fs::symlink_metadata(&entry)?.is_symlink();
        if entry.is_dir() && !is_link {
            list(&entry, files)?;
        } else if is_manifest(&entry) {
            files.push(entry);
        }
        if files.len() > FILES_MAX {
            return Err(io::Error::other(format!("there are more than {FILES_MAX} files in it")));
        }
    }
    Ok(())
}

/// Whether a file of a directory is one; an image map is not.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_image_map = path.file_name().is_some_and(|name| name == IMAGE_MAP_FILE);
    matches!(extension, "yaml" | "yml" | "json") && !is_image_map
}
