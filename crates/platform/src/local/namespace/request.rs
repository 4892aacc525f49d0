//! What the launcher is asked to do, and its form as command-line arguments.
//!
//! Invariant: parsing what [`Request::to_args`] made gives the same request, whatever bytes are in the paths.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::Error;

const PARENT: &str = "--parent";
const STAGE: &str = "--stage";
const BIND: &str = "--bind";
const BIND_READ_ONLY: &str = "--bind-read-only";
const END: &str = "--";

/// A directory or file of the machine that appears elsewhere in the program's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory or file on the machine; absolute.
    pub from: PathBuf,
    /// Where the program sees it; absolute.
    pub at: PathBuf,
    /// Whether the program may only read it.
    pub is_read_only: bool,
}

impl Mount {
    /// A mount that the program may write to.
    pub fn writable(from: &Path, at: &Path) -> Self {
        Self { from: from.to_owned(), at: at.to_owned(), is_read_only: false }
    }

    /// A mount that the program may only read.
    pub fn read_only(from: &Path, at: &Path) -> Self {
        Self { from: from.to_owned(), at: at.to_owned(), is_read_only: true }
    }
}

/// A view and the program that runs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The process that asks; when it ends, the program is killed.
    pub parent: u32,
    /// A directory of the caller that the launcher may fill with what it needs for mounting. It may not exist yet.
    pub stage: PathBuf,
    /// What appears where.
    pub mounts: Vec<Mount>,
    /// The program and its arguments; empty to only try the mounts.
    pub command: Vec<OsString>,
}

impl Request {
    /// The launcher's arguments.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> =
            vec![PARENT.into(), self.parent.to_string().into(), STAGE.into(), self.stage.clone().into()];
        for mount in &self.mounts {
            args.push(if mount.is_read_only { BIND_READ_ONLY } else { BIND }.into());
            args.push(mount.from.clone().into());
            args.push(mount.at.clone().into());
        }
        args.push(END.into());
        args.extend(self.command.iter().cloned());
        args
    }

    /// Reads the launcher's arguments.
    pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let mut request = Self { parent: 0, stage: PathBuf::new(), mounts: Vec::new(), command: Vec::new() };
        while let Some(flag) = args.next() {
            match flag.to_str() {
                Some(PARENT) => request.parent = parse_process(&next(&mut args, &flag)?)?,
                Some(STAGE) => request.stage = next(&mut args, &flag)?.into(),
                Some(name @ (BIND | BIND_READ_ONLY)) => request.mounts.push(Mount {
                    from: next(&mut args, &flag)?.into(),
                    at: next(&mut args, &flag)?.into(),
                    is_read_only: name == BIND_READ_ONLY,
                }),
                Some(END) => {
                    request.command = args.collect();
                    return Ok(request);
                }
                _ => return Err(bad(&flag)),
            }
        }
        Err(Error::Argument("(none)".to_owned()))
    }
}

fn next(args: &mut impl Iterator<Item = OsString>, flag: &OsStr) -> Result<OsString, Error> {
    args.next().ok_or_else(|| bad(flag))
}

fn parse_process(text: &OsStr) -> Result<u32, Error> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| bad(text))
}

fn bad(argument: &OsStr) -> Error {
    Error::Argument(argument.to_string_lossy().into_owned())
}
