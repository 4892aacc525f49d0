//! Whether the user code of a container answers: its process runs, it says what it is, and its `IsReady` says yes.
//!
//! The sessions that carry messages are the doors' own; this looks from beside them, for as long as the worker lives.
//! Invariant: an answer belongs to one process. When that process ends the answer counts no more.

use std::path::PathBuf;
use std::sync::Arc;

use connect::udf::Component;
use connect::udf::probe::{Found, Vigil};
use tokio::sync::{Notify, watch};

use crate::local::process::{self, State};

/// What is known of one container.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) component: Component,
    pub(super) process: process::Handle,
    answer: watch::Receiver<Answer>,
}

/// The last answer, and whose it is.
#[derive(Clone, Debug, Default)]
struct Answer {
    pid: u32,
    is_ready: bool,
    /// It was ready once, and why it is not any more.
    lost: Option<String>,
}

/// What a container is doing, as far as its worker is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Starting,
    Ready,
    Failing(String),
}

impl Watched {
    /// What is known, and the loop that finds it out. The loop ends when the supervisor of the process does.
    pub(super) fn new(
        component: Component,
        directory: PathBuf,
        process: process::Handle,
        changed: Arc<Notify>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (tell, answer) = watch::channel(Answer::default());
        let probe = Probe { component, directory, process: process.clone(), tell, changed };
        (Self { component, process, answer }, probe.run())
    }

    pub(super) fn health(&self) -> Health {
        let container = self.component.container();
        let status = self.process.status.borrow();
        let pid = match &status.state {
            State::Waiting | State::Stopped => return Health::Starting,
            State::BackOff { exit, .. } => return Health::Failing(format!("{container} {exit}")),
            State::Running { pid } => *pid,
        };
        let answer = self.answer.borrow();
        if answer.pid == pid && answer.is_ready {
            return Health::Ready;
        }
        match &answer.lost {
            Some(why) if answer.pid == pid => {
                Health::Failing(format!("{container} does not answer: failed to {why}"))
            }
            Some(_) | None if status.restarts > 0 => {
                Health::Failing(format!("{container} was started again and is not ready yet"))
            }
            Some(_) | None => Health::Starting,
        }
    }

    /// How often the process was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.process.status.borrow().restarts
    }
}

struct Probe {
    component: Component,
    directory: PathBuf,
    process: process::Handle,
    tell: watch::Sender<Answer>,
    changed: Arc<Notify>,
}

impl Probe {
    async fn run(mut self) {
        loop {
            let state = self.process.status.borrow_and_update().state.clone();
            self.changed.notify_one();
            let ended = match state {
                State::Running { pid } => {
                    let mut status = self.process.status.clone();
                    tokio::select! {
                        () = self.ask(pid) => false,
                        changed = status.wait_for(|status| status.state != State::Running { pid }) => changed.is_err(),
                    }
                }
                State::Waiting | State::Stopped | State::BackOff { .. } => {
                    self.process.status.changed().await.is_err()
                }
            };
            if ended {
                return;
            }
        }
    }

    /// Asks one process again and again.
    async fn ask(&self, pid: u32) {
        let mut vigil = Vigil::new(self.component, self.directory.clone());
        loop {
            match vigil.next().await {
                Found::Ready => self.say(Answer { pid, is_ready: true, lost: None }),
                Found::Lost(why) => self.say(Answer { pid, is_ready: false, lost: Some(why) }),
            }
        }
    }

    fn say(&self, answer: Answer) {
        let is_other = self.tell.send_if_modified(|current| {
            let is_other = (current.pid, current.is_ready) != (answer.pid, answer.is_ready);
            *current = answer;
            is_other
        });
        if is_other {
            self.changed.notify_one();
        }
    }
}
