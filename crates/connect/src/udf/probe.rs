//! Whether user code is there: it says what it is, takes a connection, and answers its readiness call.
//!
//! Asked by the doors before they trust a process with messages, and from beside them by whoever shows what a container
//! is doing. Invariant: nothing is believed because it stands in a file; only a process that answers counts as there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::door::chain;
use proto::map::map_client::MapClient;
use proto::sink::sink_client::SinkClient;
use proto::source::source_client::SourceClient;
use proto::source_transform::source_transform_client::SourceTransformClient;
use tonic::Status;
use tonic::transport::Channel;

use super::info::{self, Info};
use super::session::trouble;
use super::{Component, OWN_VERSION, channel, version};

/// A process that has answered before answers within this, or it counts as not ready.
pub const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// A process that has just started may take long for its first answer.
const FIRST_ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Waits between questions until the first yes; short at first, since a process that starts is there within
/// milliseconds.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(250);
/// Between questions to user code that is ready.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So many questions in a row without a yes make user code that was ready count as not ready.
const MISSES_MAX: u32 = 3;

/// What stands between us and user code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error(transparent)]
    Info(#[from] info::Error),
    #[error(transparent)]
    Version(#[from] version::Incompatible),
    #[error(transparent)]
    Channel(#[from] channel::Error),
    #[error("get an answer to a readiness call: {0}")]
    NotReady(String),
}

impl Obstacle {
    /// A stable word for reports.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Version(_) => "incompatible",
            Self::Info(info::Error::Malformed(_) | info::Error::Oversized) => "protocol",
            Self::Info(_) | Self::Channel(_) | Self::NotReady(_) => "unreachable",
        }
    }
}

/// Why user code does not count as there, in words that follow "failed to".
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotThere(#[from] Obstacle);

/// Asks the user code of one container, over a connection of its own that is kept while it is answered.
#[derive(Debug)]
pub struct Probe {
    component: Component,
    directory: PathBuf,
    channel: Option<Channel>,
}

impl Probe {
    /// For the user code that has its socket in `directory`. Nothing is asked yet.
    pub fn new(component: Component, directory: PathBuf) -> Self {
        Self { component, directory, channel: None }
    }

    /// Whether user code is there; says so within seconds. Dropping the future costs a connection at most.
    pub async fn ask(&mut self) -> Result<(), NotThere> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => connect(self.component, &self.directory, OWN_VERSION).await?.0,
        };
        ready(channel.clone(), self.component, ANSWER_WAIT).await?;
        self.channel = Some(channel);
        Ok(())
    }
}

/// What is found when the answer of user code becomes another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is ready.
    Ready,
    /// It was ready, and is not any more; in words that follow "failed to".
    Lost(String),
}

/// Asks the user code of one container again and again.
#[derive(Debug)]
pub struct Vigil {
    probe: Probe,
    /// The wait before the next question; none before the first.
    wait: Option<Duration>,
    misses: u32,
    is_ready: bool,
}

impl Vigil {
    /// For the user code that has its socket in `directory`. Nothing is asked yet, and it does not count as ready.
    pub fn new(component: Component, directory: PathBuf) -> Self {
        Self { probe: Probe::new(component, directory), wait: None, misses: 0, is_ready: false }
    }

    /// Asks until the answer is another one: ready, or not any more. Dropping the future loses nothing but time.
    pub async fn next(&mut self) -> Found {
        loop {
            match self.wait {
                Some(_) if self.is_ready => tokio::time::sleep(LOOK_AGAIN).await,
                Some(wait) => tokio::time::sleep(wait).await,
                None => {}
            }
            self.wait = Some(self.wait.map_or(LOOK_MIN, |wait| (wait * 2).min(LOOK_MAX)));
            match self.probe.ask().await {
                Ok(()) => {
                    self.misses = 0;
                    if !std::mem::replace(&mut self.is_ready, true) {
                        return Found::Ready;
                    }
                }
                Err(why) => {
                    self.misses += 1;
                    if self.is_ready && self.misses >= MISSES_MAX {
                        (self.is_ready, self.wait) = (false, Some(LOOK_MIN));
                        return Found::Lost(chain(&why));
                    }
                }
            }
        }
    }
}

/// Connects to user code that says it is what is expected, and waits for its first answer.
pub(crate) async fn reach(
    component: Component,
    directory: &Path,
    own_version: &str,
) -> Result<(Channel, Info), Obstacle> {
    let (channel, info) = connect(component, directory, own_version).await?;
    ready(channel.clone(), component, FIRST_ANSWER_WAIT).await?;
    Ok((channel, info))
}

async fn connect(
    component: Component,
    directory: &Path,
    own_version: &str,
) -> Result<(Channel, Info), Obstacle> {
    let info = info::read(&component.info_file(directory)).await?;
    version::check(component, &info, own_version)?;
    let channel = channel::connect(&component.socket(directory, info.map_mode)).await?;
    Ok((channel, info))
}

/// Waits for an answer to a readiness call.
pub(crate) async fn ready(channel: Channel, component: Component, within: Duration) -> Result<(), Obstacle> {
    match tokio::time::timeout(within, is_ready(channel, component)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(status)) => Err(Obstacle::NotReady(trouble::describe(&status))),
        Err(_) => Err(Obstacle::NotReady("none came in time".to_owned())),
    }
}

/// Calls `IsReady` of the service that a component has.
async fn is_ready(channel: Channel, component: Component) -> Result<(), Status> {
    match component {
        Component::Source => SourceClient::new(channel).is_ready(()).await.map(drop),
        Component::Transformer => SourceTransformClient::new(channel).is_ready(()).await.map(drop),
        Component::Map => MapClient::new(channel).is_ready(()).await.map(drop),
        Component::Sink | Component::FallbackSink | Component::OnSuccessSink => {
            SinkClient::new(channel).is_ready(()).await.map(drop)
        }
    }
}
