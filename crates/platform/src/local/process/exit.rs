//! How a life of a program ended, in words.

use std::fmt;
use std::io;
use std::process::ExitStatus;

use crate::local::namespace::{EXIT_NOT_STARTED, EXIT_SIGNAL_BASE};

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It never ran, with the reason.
    NotStarted(String),
    /// It was ended by us to be started again.
    Asked,
}

impl Exit {
    /// What the end of a child process says. A launcher repeats the program's end in its own exit code and says on
    /// standard error why it could not start it.
    pub(super) fn of(ended: io::Result<ExitStatus>, is_launched: bool, last_errors: &str) -> Self {
        let status = match ended {
            Ok(status) => status,
            Err(error) => return Self::NotStarted(error.to_string()),
        };
        let base = i32::from(EXIT_SIGNAL_BASE);
        match status.code() {
            Some(code) if is_launched && code == i32::from(EXIT_NOT_STARTED) => {
                let said = last_errors.lines().rev().find_map(|line| line.strip_prefix("tidegate: "));
                said.map_or(Self::Code(code), |said| Self::NotStarted(said.to_owned()))
            }
            Some(code) if is_launched && code > base => Self::Signal(code - base),
            Some(code) => Self::Code(code),
            None => Self::Signal(signal_of(status)),
        }
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> i32 {
    std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default()
}

#[cfg(not(unix))]
fn signal_of(_status: ExitStatus) -> i32 {
    0
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by signal {number}"),
            },
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::Asked => write!(f, "was stopped to be started again"),
        }
    }
}

#[cfg(unix)]
fn signal_name(number: i32) -> Option<&'static str> {
    nix::sys::signal::Signal::try_from(number).ok().map(nix::sys::signal::Signal::as_str)
}

#[cfg(not(unix))]
fn signal_name(_number: i32) -> Option<&'static str> {
    None
}
