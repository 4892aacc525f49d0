//! Reaching user code: from its info file to a connection that answers, for as long as it takes.
//!
//! Invariant: nothing is believed because it stands in a file. An info file is read again before every attempt, and
//! only a process that takes the connection and answers a readiness call counts as there.

use std::time::Duration;

use futures::future::BoxFuture;
use model::door::chain;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::info::Info;
use super::probe::{self, ANSWER_WAIT, Obstacle};
use super::session::trouble::Trouble;
use super::{Component, Settings};
use crate::incident::{Incident, Incidents};

/// Waits between looks for a process that is not there yet; short at first, since a process that starts with us is
/// there within milliseconds.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Waits between streams that break one after the other.
const PAUSE_MIN: Duration = Duration::from_millis(50);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Growing waits between attempts.
pub(crate) struct Pause {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Pause {
    pub(crate) fn between_streams() -> Self {
        Self::between(PAUSE_MIN, PAUSE_MAX)
    }

    pub(crate) fn between(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The wait before the next attempt.
    pub(crate) fn grow(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.max);
        wait
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

/// One user container as seen from here.
#[derive(Clone)]
pub(crate) struct Peer {
    pub component: Component,
    pub settings: Settings,
    pub incidents: Incidents,
}

impl Peer {
    /// Waits until user code is there. Says what is in the way once it has been for as long as an answer may take,
    /// at once when waiting alone will not help.
    pub(crate) async fn reach(&self) -> (Channel, Info) {
        let since = Instant::now();
        let mut told: Option<Instant> = None;
        let mut pause = Pause::between(LOOK_MIN, LOOK_MAX);
        loop {
            let obstacle = match self.attempt().await {
                Ok(reached) => return reached,
                Err(obstacle) => obstacle,
            };
            let code = obstacle.code();
            let patience =
                if code == "unreachable" { self.settings.unresponsive_after } else { Duration::ZERO };
            let quiet =
                told.map_or(since.elapsed() < patience, |at| at.elapsed() < self.settings.unresponsive_after);
            if !quiet {
                told = Some(Instant::now());
                let message = format!(
                    "user code is not there after {} s: failed to {}",
                    since.elapsed().as_secs(),
                    chain(&obstacle)
                );
                self.report(code, message, String::new(), Vec::new());
            }
            tokio::time::sleep(pause.grow()).await;
        }
    }

    /// Reaches user code and opens a stream with it, for as long as it takes; every failure is told.
    pub(crate) async fn establish<'o, S>(
        &self,
        open: impl Fn(Channel, Info) -> BoxFuture<'o, Result<S, Trouble>>,
    ) -> S {
        let mut pause = Pause::between_streams();
        loop {
            let (channel, info) = self.reach().await;
            match open(channel, info).await {
                Ok(stream) => return stream,
                Err(trouble) => {
                    let (code, message, details) = match trouble {
                        Trouble::Crashed { message, details } => ("crashed", message, details),
                        Trouble::Protocol { message, .. } => ("protocol", message, String::new()),
                        Trouble::Left => ("crashed", "it ended the stream".to_owned(), String::new()),
                    };
                    self.report(
                        code,
                        format!("user code did not shake hands: {message}"),
                        details,
                        Vec::new(),
                    );
                }
            }
            tokio::time::sleep(pause.grow()).await;
        }
    }

    async fn attempt(&self) -> Result<(Channel, Info), Obstacle> {
        let Settings { directory, own_version, .. } = &self.settings;
        probe::reach(self.component, directory, own_version).await
    }

    /// Whether the process behind `channel` answers at this moment.
    pub(crate) async fn answers(&self, channel: Channel) -> bool {
        probe::ready(channel, self.component, ANSWER_WAIT).await.is_ok()
    }

    /// As [`Peer::answers`], for whatever connection there is at this moment.
    pub(crate) async fn ready(&self, reached: &watch::Receiver<Option<Channel>>) -> bool {
        let channel = reached.borrow().clone();
        match channel {
            Some(channel) => self.answers(channel).await,
            None => false,
        }
    }

    pub(crate) fn report(&self, code: &'static str, message: String, details: String, messages: Vec<String>) {
        self.incidents.report(Incident {
            container: self.component.container().to_owned(),
            code: code.into(),
            message,
            details,
            messages,
            at: std::time::SystemTime::now(),
        });
    }
}
