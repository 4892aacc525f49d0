//! A view of the file system for each user-code process, in which `/var/run/numaflow` is a directory of its own.
//!
//! SDK servers bind fixed paths, so two of them on one machine would meet. On Linux the process is started through a
//! launcher: our own binary once more, which makes a private mount namespace (as root, or inside a user namespace),
//! binds the directories and starts the program. The launcher stays as the program's parent, hands its exit code on and
//! takes the whole process group with it when our process dies. What is started, when and how often is for
//! [`super::process`]. Invariant: nothing outside of the namespace is mounted, hidden or removed; as root, missing
//! mount points below `/run` and `/var/numaflow` are created as empty directories.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod request;
#[cfg(target_os = "linux")]
mod view;
#[cfg(target_os = "linux")]
mod watch;

#[cfg(test)]
mod tests;

pub use request::{Mount, Request};

/// The hidden command of our binary that is the launcher: `tidegate user-code-launcher …`.
pub const SUBCOMMAND: &str = "user-code-launcher";
/// The exit code of a launcher that could not start the program.
pub const EXIT_NOT_STARTED: u8 = 125;
/// Added to the number of the signal that ended the program.
pub const EXIT_SIGNAL_BASE: u8 = 128;
/// Where SDK servers bind their sockets.
pub const SOCKETS: &str = "/var/run/numaflow";
/// Where SDK servers leave what went wrong.
pub const RUNTIME: &str = "/var/numaflow/runtime";
/// Where SDK servers look for side inputs.
pub const SIDE_INPUTS: &str = "/var/numaflow/side-inputs";

/// Why user code cannot be given a view of its own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launcher was called with arguments it does not know.
    #[error("understand the launcher's argument {0:?}")]
    Argument(String),
    /// There are no mount namespaces here.
    #[error(
        "give user code its own {SOCKETS}: this system has no mount namespaces; pass each SDK server its paths (for \
         example `sock_path=` and `server_info_file=` in Python, `with_socket_file` in Rust, `WithSockAddr` in Go) \
         from the variable TIDEGATE_RUN_DIR, and run with --open-paths"
    )]
    Unsupported,
    /// The kernel refuses namespaces.
    #[error(
        "make a private mount namespace: run as root, or permit user namespaces (sysctl user.max_user_namespaces, \
         kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0), or pass SDK servers \
         their paths from the variable TIDEGATE_RUN_DIR and run with --open-paths"
    )]
    Refused(#[source] io::Error),
    /// A mount point cannot be made.
    #[error("make the mount point {}", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory or file cannot be mounted.
    #[error("mount {} at {}", from.display(), at.display())]
    Mount {
        /// What is mounted.
        from: PathBuf,
        /// Where.
        at: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process that asked for the program is gone.
    #[error("start {0:?}: the process that asked for it has ended")]
    Abandoned(OsString),
    /// The program cannot be started.
    #[error("start {program:?}")]
    Program {
        /// The program.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The launcher itself cannot be started or watched.
    #[error("run the launcher {}", path.display())]
    Launcher {
        /// The binary that was to be the launcher.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A trial run of the launcher failed.
    #[error("prepare a view of the file system for user code: {0}")]
    Trial(String),
}

/// An error and its causes on one line, as the launcher prints it.
pub fn describe(error: &Error) -> String {
    let mut text = format!("tidegate: failed to {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        write!(text, ": {inner}").expect("writing to a string cannot fail");
        cause = inner.source();
    }
    text
}

/// The launcher's body: makes the view that the arguments ask for, runs the program in it and returns its exit code
/// (128 + signal when a signal ended it). Must be called before the process has a second thread.
#[cfg(target_os = "linux")]
pub fn launch(args: impl Iterator<Item = OsString>) -> Result<u8, Error> {
    let request = Request::parse(args)?;
    view::enter()?;
    view::mount_all(&request)?;
    let Some((program, args)) = request.command.split_first() else {
        return Ok(0);
    };
    watch::run(request.parent, program, args)
}

/// The launcher's body on a system without mount namespaces: always an error.
#[cfg(not(target_os = "linux"))]
pub fn launch(args: impl Iterator<Item = OsString>) -> Result<u8, Error> {
    Request::parse(args)?;
    Err(Error::Unsupported)
}

/// The binary that is started as the launcher.
#[derive(Clone, Debug)]
pub struct Launcher {
    path: PathBuf,
}

impl Launcher {
    /// A launcher from the binary at `path`, which must call [`launch`] for the command [`SUBCOMMAND`].
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The command line that runs a request. Environment, directory and streams are the caller's.
    pub fn command(&self, request: &Request) -> Command {
        let mut command = Command::new(&self.path);
        name_as_ours(&mut command);
        command.arg(SUBCOMMAND).args(request.to_args());
        command
    }

    /// Makes the view once without a program in it, so that a system that cannot do it is known before anything
    /// starts. `scratch` is an empty directory of the caller.
    pub fn try_out(&self, scratch: &Path) -> Result<(), Error> {
        let targets = [SOCKETS, RUNTIME, SIDE_INPUTS];
        let mounts = targets.map(|target| Mount::writable(scratch, Path::new(target)));
        let request = Request {
            parent: std::process::id(),
            stage: scratch.join("stage"),
            mounts: mounts.to_vec(),
            command: Vec::new(),
        };
        let mut command = self.command(&request);
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|source| Error::Launcher { path: self.path.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("tidegate: failed to ");
        Err(Error::Trial(if said.is_empty() { output.status.to_string() } else { said.to_owned() }))
    }
}

/// Lists of processes show our name, not the path by which the binary was found.
#[cfg(unix)]
fn name_as_ours(command: &mut Command) {
    std::os::unix::process::CommandExt::arg0(command, "tidegate");
}

#[cfg(not(unix))]
fn name_as_ours(_command: &mut Command) {}
