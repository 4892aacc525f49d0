//! One user-code process: started, watched, restarted and stopped as a kubelet would do it.
//!
//! What runs, in which environment and with which mounts was decided before ([`super::program`], [`environment`],
//! [`volumes`]); whether the program answers on its socket is for the session with it. Invariant: at most one process
//! group per container is alive, and sockets and info files of an earlier one are gone before the next one starts.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use connect::incident::{Incident, Incidents};
use tokio::process::Child;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::namespace::{self, Launcher};

mod backoff;
pub mod environment;
mod exit;
mod group;
mod lines;
mod log;
mod starter;
pub mod volumes;

#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use exit::Exit;
pub use lines::{Echo, Line, Stream};
pub use starter::Starter;

use group::Group;
use lines::Output;
use log::LogFile;

/// How long a program has after SIGTERM when nothing else is said.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long output of a program that has ended is still waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a killed process group may take to be gone.
const REAPING: Duration = Duration::from_secs(5);
/// The variable that tells user code where to bind its sockets.
pub const RUN_DIR_VARIABLE: &str = "TIDEGATE_RUN_DIR";

/// Why a user-code process cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory of the container cannot be made or emptied.
    #[error("prepare the directory {} of {container}", path.display())]
    Directory {
        /// The container.
        container: Name,
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log file cannot be opened.
    #[error("open the log {} of {container}", path.display())]
    Log {
        /// The container.
        container: Name,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process did not go away.
    #[error("end process group {group} of {container}: it is still there {REAPING:?} after SIGKILL")]
    Immortal {
        /// The container.
        container: Name,
        /// Its process group.
        group: u32,
    },
}

/// Which container of which replica, as people see it: `cat[0]/udf`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The vertex; for a mono vertex its own name.
    pub vertex: String,
    /// The replica.
    pub replica: u16,
    /// The container, such as `udf`.
    pub container: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]/{}", self.vertex, self.replica, self.container)
    }
}

/// The directories of one container on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// What the program sees as `/var/run/numaflow`. Its path is short, because a socket path has at most 107 bytes.
    pub sockets: PathBuf,
    /// What it sees as `/var/numaflow/runtime`.
    pub runtime: PathBuf,
    /// What it sees as `/var/numaflow/side-inputs`.
    pub side_inputs: PathBuf,
    /// Where the launcher makes its mounts.
    pub stage: PathBuf,
    /// Files made from secrets and config maps.
    pub files: PathBuf,
}

impl Directories {
    /// The directories of the container with a number that is unique below `run_dir`.
    pub fn below(run_dir: &Path, number: u32) -> Self {
        let rest = run_dir.join(format!("{number}.d"));
        Self {
            sockets: run_dir.join(number.to_string()),
            runtime: rest.join("runtime"),
            side_inputs: rest.join("side-inputs"),
            stage: rest.join("stage"),
            files: rest.join("files"),
        }
    }

    fn all(&self) -> [&Path; 5] {
        let Self { sockets, runtime, side_inputs, stage, files } = self;
        [sockets, runtime, side_inputs, stage, files]
    }
}

/// A container to look after.
#[derive(Clone, Debug)]
pub struct Container {
    /// Whose it is.
    pub name: Name,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// Where it is started.
    pub working_dir: PathBuf,
    /// Variables on top of our own environment; of equal names the last wins.
    pub env: Vec<(String, String)>,
    /// Its own directories.
    pub directories: Directories,
    /// Volumes and their places.
    pub mounts: Vec<namespace::Mount>,
    /// Where its output is kept.
    pub log: PathBuf,
    /// How long it has after SIGTERM.
    pub grace: Duration,
}

/// What all user-code processes of one run share.
#[derive(Clone)]
pub struct Host {
    /// Starts programs in a view of their own; `None` starts them in the open, and they must be told their paths.
    pub launcher: Option<Launcher>,
    /// The thread that starts them.
    pub starter: Starter,
    /// Who gets every line of output.
    pub echo: Echo,
}

/// What a user-code process is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not been started yet.
    Waiting,
    /// It runs.
    Running {
        /// Its process, which leads its group.
        pid: u32,
    },
    /// It has ended, or could not be started, and is started again after this wait.
    BackOff {
        /// How long the wait is.
        wait: Duration,
        /// How it ended.
        exit: Exit,
    },
    /// It was stopped and stays so.
    Stopped,
}

/// What is known about a user-code process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// How often it was started again.
    pub restarts: u32,
}

/// A cheap handle on a supervised process.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Whose it is.
    pub name: Name,
    /// Where its output is kept.
    pub log: PathBuf,
    /// What it is doing, as it changes.
    pub status: watch::Receiver<Status>,
    restart: Arc<Notify>,
}

impl Handle {
    /// Asks for the process to be stopped and started again, because it hangs or breaks its protocol.
    pub fn restart(&self) {
        self.restart.notify_one();
    }
}

/// The loop around one process.
pub struct Supervisor {
    container: Container,
    host: Host,
    incidents: Incidents,
    status: watch::Sender<Status>,
    restart: Arc<Notify>,
    backoff: Backoff,
}

/// How one life of the process came to its end.
enum Ending {
    /// By itself, or because it could not be started.
    Own(Exit),
    /// Somebody asked for a restart.
    Restarted(Exit),
    /// The supervisor was told to stop.
    Stopped,
}

impl Supervisor {
    /// A supervisor of a container and the handle on it. Nothing starts before [`Supervisor::run`].
    pub fn new(container: Container, host: Host, incidents: Incidents) -> (Self, Handle) {
        assert!(!container.command.is_empty(), "a container has a command");
        let (status, receiver) = watch::channel(Status { state: State::Waiting, restarts: 0 });
        let restart = Arc::new(Notify::new());
        let (name, log) = (container.name.clone(), container.log.clone());
        let handle = Handle { name, log, status: receiver, restart: Arc::clone(&restart) };
        (Self { container, host, incidents, status, restart, backoff: Backoff::default() }, handle)
    }

    /// Keeps the process running until told to stop, then ends it: SIGTERM, the grace period, SIGKILL. Dropping the
    /// future kills the process group at once.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let name = self.container.name.clone();
        let opened = LogFile::open(&self.container.log);
        let mut log = opened.map_err(|source| Error::Log {
            container: name.clone(),
            path: self.container.log.clone(),
            source,
        })?;
        loop {
            self.prepare()?;
            let started = Instant::now();
            let mut output = Output::new(&name, &self.host.echo, &mut log);
            let ending = live(&self.container, &self.host, &self.status, &mut output, (&stop, &self.restart));
            let exit = match ending.await? {
                Ending::Own(exit) | Ending::Restarted(exit) => exit,
                Ending::Stopped => break,
            };
            let last_lines = output.last_errors();
            let wait = self.backoff.after(started.elapsed());
            self.report(&exit, wait, last_lines);
            self.status.send_modify(|status| {
                status.state = State::BackOff { wait, exit };
                status.restarts += 1;
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => break,
            }
        }
        self.status.send_modify(|status| status.state = State::Stopped);
        Ok(())
    }

    /// Makes the directories and empties the one with the sockets.
    fn prepare(&self) -> Result<(), Error> {
        let Container { name, directories, .. } = &self.container;
        let failed =
            |path: &Path, source| Error::Directory { container: name.clone(), path: path.to_owned(), source };
        for path in directories.all() {
            fs::create_dir_all(path).map_err(|source| failed(path, source))?;
        }
        empty(&directories.sockets).map_err(|source| failed(&directories.sockets, source))
    }

    fn report(&self, exit: &Exit, wait: Duration, last_lines: String) {
        let name = &self.container.name;
        let (code, message) = match exit {
            Exit::NotStarted(why) => ("not-started", format!("{name} could not be started: {why}")),
            Exit::Asked => ("restarted", format!("{name} was stopped because it did not answer")),
            Exit::Code(_) | Exit::Signal(_) => ("crashed", format!("{name} {exit}")),
        };
        self.incidents.report(Incident {
            container: name.container.clone(),
            code: code.into(),
            message: format!("{message}; it is started again in {wait:?}"),
            details: last_lines,
            messages: Vec::new(),
            at: SystemTime::now(),
        });
    }
}

/// One life of the process, from start to end.
async fn live(
    container: &Container,
    host: &Host,
    status: &watch::Sender<Status>,
    output: &mut Output<'_>,
    (stop, restart): (&CancellationToken, &Notify),
) -> Result<Ending, Error> {
    let mut child = match host.starter.start(container.to_command(host)).await {
        Ok(child) => child,
        Err(error) => return Ok(Ending::Own(Exit::NotStarted(error.to_string()))),
    };
    let Some(pid) = child.id() else {
        return Ok(Ending::Own(Exit::NotStarted("it was gone at once".to_owned())));
    };
    let mut group = Group::of(pid);
    output.attach(&mut child);
    status.send_modify(|status| status.state = State::Running { pid });
    tracing::debug!(container = %container.name, pid, "user code started");
    let is_stopping = tokio::select! {
        ended = output.until_end(&mut child) => {
            group.kill();
            output.drain(LAST_WORDS).await;
            return Ok(Ending::Own(Exit::of(ended, host.launcher.is_some(), &output.last_errors())));
        }
        () = stop.cancelled() => true,
        () = restart.notified() => false,
    };
    end(container, &mut child, &mut group, output).await?;
    Ok(if is_stopping { Ending::Stopped } else { Ending::Restarted(Exit::Asked) })
}

/// SIGTERM, the grace period, SIGKILL.
async fn end(
    container: &Container,
    child: &mut Child,
    group: &mut Group,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    group.terminate();
    if tokio::time::timeout(container.grace, output.until_end(child)).await.is_err() {
        tracing::warn!(container = %container.name, grace = ?container.grace, "user code ignores SIGTERM and is killed");
    }
    group.kill();
    let gone = tokio::time::timeout(REAPING, child.wait()).await;
    if gone.is_err() {
        return Err(Error::Immortal { container: container.name.clone(), group: group.id() });
    }
    output.drain(LAST_WORDS).await;
    Ok(())
}

impl Container {
    /// The command line of one life.
    fn to_command(&self, host: &Host) -> std::process::Command {
        let mut command = match &host.launcher {
            None => {
                let mut command = std::process::Command::new(&self.command[0]);
                command.args(&self.command[1..]).env(RUN_DIR_VARIABLE, &self.directories.sockets);
                command
            }
            Some(launcher) => {
                let mut command = launcher.command(&self.to_request());
                command.env(RUN_DIR_VARIABLE, namespace::SOCKETS);
                command
            }
        };
        command.envs(self.env.iter().map(|(name, value)| (name, value))).current_dir(&self.working_dir);
        command
    }

    fn to_request(&self) -> namespace::Request {
        let Directories { sockets, runtime, side_inputs, stage, files: _ } = &self.directories;
        let mut mounts = vec![
            namespace::Mount::writable(sockets, Path::new(namespace::SOCKETS)),
            namespace::Mount::writable(runtime, Path::new(namespace::RUNTIME)),
            namespace::Mount::read_only(side_inputs, Path::new(namespace::SIDE_INPUTS)),
        ];
        mounts.extend(self.mounts.iter().cloned());
        namespace::Request {
            parent: std::process::id(),
            stage: stage.clone(),
            mounts,
            command: self.command.iter().map(Into::into).collect(),
        }
    }
}

/// Removes everything inside a directory.
fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
