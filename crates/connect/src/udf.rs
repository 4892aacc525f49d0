//! User code: what speaks to it, and what stands in for it.
//!
//! A user container serves gRPC on a unix socket; this process is always its client. Here live the one
//! bidirectional [`session`] that every kind shares, the doors made of it ([`map`], [`transform`]; user-defined
//! sources and sinks stand beside the built-in ones), and [`native`] stand-ins for public demo images. What starts
//! and restarts the process that serves is not here.
//!
//! Invariant: whatever user code does, nothing given to it is lost or answered twice, and nothing here panics for it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Name;
use smol_str::SmolStr;

pub(crate) mod channel;
pub(crate) mod convert;
pub mod info;
pub mod map;
pub mod native;
pub(crate) mod peer;
pub mod probe;
pub(crate) mod session;
pub(crate) mod stream;
pub mod transform;
pub mod version;

/// The version of the platform that user code is told.
const OWN_VERSION: &str = "1.8.0";

/// What a vertex replica knows about its user code.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory that user code sees as `/var/run/numaflow`.
    pub directory: PathBuf,
    /// The vertex; results carry its name in their ids.
    pub vertex: Name,
    /// How many messages may be with user code at the same time, over all callers.
    pub concurrency: NonZeroUsize,
    /// The most messages of one batch, where user code takes batches.
    pub batch_max: NonZeroUsize,
    /// How long a batch that is not full may wait for more; zero sends what there is as soon as user code is free.
    pub batch_wait: Duration,
    /// After so long without an answer a message is reported, and again every time so much has passed.
    pub unresponsive_after: Duration,
    /// A message that made user code crash so often while it was alone there is given up; none keeps trying.
    pub poison_attempts: Option<NonZeroU32>,
    /// The version of the platform that user code is told, checked against the minimum it asks for.
    pub own_version: SmolStr,
}

impl Settings {
    /// The reference's defaults: 500 messages in flight, 30 s until an answer is missed, trying for ever.
    pub fn new(directory: impl Into<PathBuf>, vertex: Name) -> Self {
        const DEFAULT: NonZeroUsize = NonZeroUsize::new(500).expect("500 is not zero");
        Self {
            directory: directory.into(),
            vertex,
            concurrency: DEFAULT,
            batch_max: DEFAULT,
            batch_wait: Duration::ZERO,
            unresponsive_after: Duration::from_secs(30),
            poison_attempts: None,
            own_version: SmolStr::new_static(OWN_VERSION),
        }
    }
}

/// What a user container is for; decides its socket, its info file and its name in error reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// A user-defined source.
    Source,
    /// A transformer in a source vertex.
    Transformer,
    /// A map in any of its modes.
    Map,
    /// The primary sink.
    Sink,
    /// The sink for what the primary sink hands over.
    FallbackSink,
    /// The sink for what the primary sink has written.
    OnSuccessSink,
}

impl Component {
    /// What a container of this name is for; none when it has no user code that is spoken to.
    pub fn of_container(name: &str) -> Option<Self> {
        use Component::{FallbackSink, Map, OnSuccessSink, Sink, Source, Transformer};
        [Source, Transformer, Map, Sink, FallbackSink, OnSuccessSink]
            .into_iter()
            .find(|component| component.container() == name)
    }

    /// The container name, as in error reports and in `NUMAFLOW_UD_CONTAINER_TYPE`.
    pub fn container(self) -> &'static str {
        match self {
            Self::Source => "udsource",
            Self::Transformer => "transformer",
            Self::Map => "udf",
            Self::Sink => "udsink",
            Self::FallbackSink => "fb-udsink",
            Self::OnSuccessSink => "ons-udsink",
        }
    }

    /// Where user code says what it is.
    pub fn info_file(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Self::Source => "sourcer-server-info",
            Self::Transformer => "sourcetransformer-server-info",
            Self::Map => "mapper-server-info",
            Self::Sink => "sinker-server-info",
            Self::FallbackSink => "fb-sinker-server-info",
            Self::OnSuccessSink => "ons-sinker-server-info",
        })
    }

    /// Where user code listens; `mode` counts for maps only.
    pub fn socket(self, directory: &Path, mode: info::MapMode) -> PathBuf {
        directory.join(match self {
            Self::Source => "source.sock",
            Self::Transformer => "sourcetransform.sock",
            Self::Map => match mode {
                info::MapMode::Unary => "map.sock",
                info::MapMode::Batch => "batchmap.sock",
                info::MapMode::Stream => "mapstream.sock",
            },
            Self::Sink => "sink.sock",
            Self::FallbackSink => "fb-sink.sock",
            Self::OnSuccessSink => "ons-sink.sock",
        })
    }
}
