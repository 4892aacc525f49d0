//! How the program ends: exit codes, and what is printed on the way out.
//!
//! The codes are documented in docs/exit-codes.md. Invariant: every failure is one readable sentence on standard error
//! with its causes, and a panic is one too.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use platform::local::namespace;

use crate::client;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done,
    /// It failed, or there were complaints.
    Failed,
    /// The flags or the manifest cannot be used.
    Usage,
    /// It stopped, and messages are kept for the next run; or a pause ended before everything was drained.
    Left,
    /// The object failed or was rolled back.
    GivenUp,
    /// What was waited for took too long.
    TimedOut,
    /// There are differences, or changes that replace workers.
    Different,
    /// The changes need a drain.
    NeedsDrain,
    /// The changes are refused.
    Refused,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Left => 3,
            Self::GivenUp => 4,
            Self::TimedOut => 5,
            Self::Different => 10,
            Self::NeedsDrain => 11,
            Self::Refused => 12,
        }
    }
}

/// What a command comes to.
pub(crate) type Outcome = Result<Exit, Failure>;

/// A failure and the code it ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// The user has to change flags, files or the manifest.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let is_usage = error.downcast_ref().is_some_and(client::Error::is_usage);
        Self { exit: if is_usage { Exit::Usage } else { Exit::Failed }, error }
    }
}

/// Says what failed and gives the code.
pub(crate) fn of(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(Failure { error, .. }) if is_closed_pipe(&error) => ExitCode::from(Exit::Done.code()),
        Err(Failure { exit, error }) => {
            say(format_args!("tidegate: failed to {error:#}"));
            ExitCode::from(exit.code())
        }
    }
}

/// The code of the launcher of user code.
pub(crate) fn of_launcher(outcome: Result<u8, namespace::Error>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(namespace::describe(&error));
            ExitCode::from(namespace::EXIT_NOT_STARTED)
        }
    }
}

/// A reader that has read enough, such as `head`, is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A line on standard error. When that is gone there is nobody left to tell.
pub(crate) fn say(line: impl Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Makes a panic readable.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("without a message");
        let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
        say(format_args!(
            "tidegate: failed because of a defect in tidegate{place}: {text}\n\
             What was acknowledged is safe in the state directory. Please report this line, with RUST_BACKTRACE=1 set \
             for a trace."
        ));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            say(trace);
        }
    }));
}
