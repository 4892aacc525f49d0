//! The buffer of one pipeline on a NATS server, opened with everything that belongs to it. Streams that are missing are
//! made as the settings say; those that are there stay as they are. Invariant: dropping what was opened is the death of a
//! process to everybody else, and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use lane::{Driver, Lanes, layout};
use model::door::buffer::{Buffer, VertexSettings};
use model::door::mail::Mail;
use model::door::{self, Class};
use smol_str::SmolStr;
use tokio::time::Instant;

use super::jetstream::config::BufferConfig;
use super::jetstream::streams::{self, Made};
use super::jetstream::{ConnectError, Nats, Settings, StreamPlan};

/// How long a server that is starting is waited for.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long the streams of a pipeline are waited for that somebody else makes.
const STREAMS_WITHIN: Duration = Duration::from_mins(5);
/// The first and the longest pause between two looks whether a stream is there.
const STREAM_PAUSE: Duration = Duration::from_millis(50);
const STREAM_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A pipeline, as its processes see it.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What the names of its streams begin with; see [`prefix`].
    pub prefix: String,
    /// What this process is called among those of the pipeline, the same over its lives.
    pub process: String,
    /// All vertices.
    pub vertices: Vec<VertexSettings>,
}

/// A buffer and what belongs to it.
pub struct Opened {
    /// The buffer.
    pub buffer: Arc<dyn Buffer>,
    /// Where the pipeline's processes leave each other notes.
    pub mail: Arc<dyn Mail>,
    /// What has to run for as long as the buffer is used.
    pub driver: Driver,
    /// Whether this process may take its units for its own.
    pub lease: Lease,
    /// The protocol itself, for what only the owner of the whole asks.
    pub lanes: Arc<Lanes<Nats>>,
}

/// Whether a process may take its units for its own: not while the broker has answered nothing for [`lane::LEASE`].
#[derive(Clone)]
pub struct Lease(Arc<Lanes<Nats>>);

impl Lease {
    /// How often the broker was silent for so long, the present silence included.
    pub fn lapses(&self) -> u64 {
        self.0.lapses()
    }

    /// It is silent for so long now.
    pub fn is_out(&self) -> bool {
        self.0.out_of_reach() > lane::LEASE
    }
}

/// Why a buffer cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A stream is missing and cannot be made.
    #[error(transparent)]
    Stream(#[from] streams::Error),
    /// What lies in the streams cannot be used.
    #[error("open the buffer on the broker")]
    Buffer(#[source] door::Error),
}

/// What the names of a pipeline's streams begin with.
pub fn prefix(namespace: &str, pipeline: &str) -> String {
    if namespace.is_empty() { format!("default-{pipeline}") } else { format!("{namespace}-{pipeline}") }
}

fn settings(pipeline: Pipeline, config: &BufferConfig) -> lane::Settings {
    let Pipeline { prefix, process, vertices } = pipeline;
    let vertices = vertices.into_iter().map(|vertex| config.limit(vertex)).collect();
    lane::Settings { prefix: SmolStr::new(prefix), process: SmolStr::new(process), vertices }
}

/// Reaches the server, makes the streams that are missing, and opens the buffer.
pub async fn open(server: &Settings, pipeline: Pipeline) -> Result<Opened, Error> {
    let nats = Arc::new(Nats::connect_within(server, CONNECT_WITHIN).await?);
    let settings = settings(pipeline, &server.streams);
    make_missing(&nats, &settings, &server.streams).await?;
    open_on(nats, settings).await
}

/// Reaches the server, waits until somebody who knows the whole pipeline has made its streams, and opens the buffer.
pub async fn join(server: &Settings, pipeline: Pipeline) -> Result<Opened, Error> {
    let nats = Arc::new(Nats::connect_within(server, CONNECT_WITHIN).await?);
    let settings = settings(pipeline, &server.streams);
    let give_up = Instant::now() + STREAMS_WITHIN;
    for spec in layout(&settings) {
        let mut pause = STREAM_PAUSE;
        while let Err(error) = nats.validate_stream(&spec.name).await {
            if Instant::now() + pause >= give_up {
                return Err(error.into());
            }
            tracing::info!(stream = %spec.name, error = %error, "waiting for a stream");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STREAM_PAUSE_MAX);
        }
    }
    open_on(nats, settings).await
}

async fn open_on(nats: Arc<Nats>, settings: lane::Settings) -> Result<Opened, Error> {
    let (lanes, driver) = Lanes::open(nats, settings).await.map_err(Error::Buffer)?;
    Ok(Opened { mail: lanes.mail(), buffer: lanes.clone(), driver, lease: Lease(lanes.clone()), lanes })
}

async fn make_missing(nats: &Nats, settings: &lane::Settings, config: &BufferConfig) -> Result<(), Error> {
    let replicas = nats.replicas(config);
    for spec in layout(settings) {
        if nats.validate_stream(&spec.name).await.is_err() {
            let plan = StreamPlan::of(&spec, config, replicas);
            if nats.create_stream(&plan).await? == Made::Created {
                tracing::info!(stream = %plan.name, "made a stream");
            }
        }
    }
    Ok(())
}

/// Removes every stream of a pipeline, with all that lies in them. Those that are not there are passed over.
pub async fn remove(nats: &Nats, pipeline: Pipeline) -> Result<(), door::Error> {
    for spec in layout(&settings(pipeline, &BufferConfig::default())) {
        let removed = nats.delete_stream(&spec.name).await;
        removed.map_err(|error| {
            door::Error::caused(Class::Retry, format!("remove stream {}", spec.name), error)
        })?;
    }
    Ok(())
}
