//! The thread that starts every user-code process.
//!
//! The kernel ties a launcher's life to the *thread* that started it, so that thread must live as long as the run does;
//! threads of the runtime come and go. Invariant: the thread ends when the last [`Starter`] is dropped, and the kernel
//! then tells every launcher that is left.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// How many programs may wait to be started.
const WAITING_MAX: usize = 64;

/// A handle on the starting thread.
#[derive(Clone, Debug)]
pub struct Starter {
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Starter {
    /// Starts the thread; fails when the system gives no thread.
    pub fn new() -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(WAITING_MAX);
        std::thread::Builder::new().name("user-code-starter".to_owned()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                let _entered = job.runtime.enter();
                let started = spawn(job.command);
                // A child whose supervisor is gone is killed by being dropped.
                drop(job.reply.send(started));
            }
        })?;
        Ok(Self { jobs })
    }

    /// Starts a program as the leader of a process group, with its output piped.
    pub(super) async fn start(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let job = Job { command, runtime: Handle::current(), reply };
        let gone = || io::Error::other("the thread that starts user code has ended");
        self.jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn spawn(mut command: Command) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    tokio::process::Command::from(command).kill_on_drop(true).spawn()
}
