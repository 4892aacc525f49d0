//! From what a user wrote to an open door: which source, sink or store a spec asks for, and what its
//! settings mean.
//!
//! Here, and nowhere else, is the order in which kinds are picked when several are set. Connectors know nothing of
//! manifests. Invariant: specs that come here have been checked, so values that no manifest may have are not looked
//! for again; what only the world can refuse (a port, a file, a missing secret) is an error.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use api::resolve::{HttpListener, VertexSettings};
use api::spec::sink::FileSink;
use api::spec::source::{FileSource, GeneratorSource, HttpSource};
use api::spec::{AbstractSink, Source};
use model::Name;
use model::door::sink::Sink;
use model::door::source::Opened;

use crate::incident::Incidents;
use crate::secret::Secrets;
use crate::sink::user::UserSink;
use crate::source::Inputs;
use crate::source::http::{self, Listening};
use crate::source::user::UserSourceView;
use crate::{sink, source, udf};

mod rate;

pub use crate::sink::user::Role;
pub use rate::open_store;

/// What a connector may need to know about the replica that opens it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The pipeline or mono vertex.
    pub pipeline: Name,
    /// The vertex.
    pub vertex: Name,
    /// The replica of the vertex.
    pub replica: u16,
    /// The directory that user code sees as `/var/run/numaflow`.
    pub user_code_directory: PathBuf,
    /// Secrets and config maps.
    pub secrets: Secrets,
    /// Where errors of user code and connectors are kept.
    pub incidents: Incidents,
    /// The address that sources listen on which take requests.
    pub http_bind: IpAddr,
    /// What this process's sources share.
    pub inputs: Inputs,
    /// The limits of the vertex.
    pub limits: Limits,
}

impl Context {
    /// What is known of the user code of this context's directory.
    pub fn user_code(&self) -> udf::Settings {
        udf::Settings {
            concurrency: self.limits.concurrency,
            batch_max: self.limits.batch_messages,
            unresponsive_after: self.limits.unresponsive_after,
            poison_attempts: self.limits.poison_attempts,
            ..udf::Settings::new(&self.user_code_directory, self.vertex.clone())
        }
    }

    fn refused<E: std::error::Error + Send + Sync + 'static>(
        &self,
        kind: &'static str,
    ) -> impl FnOnce(E) -> Error {
        let vertex = self.vertex.clone();
        move |cause| Error::Refused { vertex, kind, cause: Box::new(cause) }
    }
}

/// The limits of a vertex that matter to connectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages in one batch, at most.
    pub batch_messages: NonZeroUsize,
    /// How long a batch waits to fill, at most.
    pub read_timeout: Duration,
    /// Messages in flight, at most.
    pub concurrency: NonZeroUsize,
    /// After so long without an answer of user code a message is reported.
    pub unresponsive_after: Duration,
    /// A message that made user code crash so often while it was alone there is given up; none keeps trying.
    pub poison_attempts: Option<NonZeroU32>,
}

impl Limits {
    /// Those of a vertex.
    pub fn of(settings: &VertexSettings) -> Self {
        let some = |count: u64| {
            NonZeroUsize::new(usize::try_from(count).unwrap_or(usize::MAX)).unwrap_or(NonZeroUsize::MIN)
        };
        let (limits, user_code) = (&settings.limits, &settings.user_code);
        Self {
            batch_messages: some(limits.read_batch_size),
            read_timeout: limits.read_timeout,
            concurrency: some(limits.concurrency),
            unresponsive_after: user_code.unresponsive_after,
            poison_attempts: user_code.poison_attempts,
        }
    }
}

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec asks for a kind that exists, but not here.
    #[error(
        "open the {direction} of vertex {vertex}: this build has no {direction} of kind {kind} (it has {available})"
    )]
    Unsupported {
        /// The vertex.
        vertex: Name,
        /// `source` or `sink`.
        direction: &'static str,
        /// The kind asked for.
        kind: &'static str,
        /// The kinds there are.
        available: &'static str,
    },
    /// The spec names no kind at all.
    #[error("open the {direction} of vertex {vertex}: no kind of {direction} is set (there are {available})")]
    Nothing {
        /// The vertex.
        vertex: Name,
        /// `source` or `sink`.
        direction: &'static str,
        /// The kinds there are.
        available: &'static str,
    },
    /// A connector refused its settings, or what they name is not there.
    #[error("open the {kind} of vertex {vertex}")]
    Refused {
        /// The vertex.
        vertex: Name,
        /// Such as `generator source`.
        kind: &'static str,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

const SOURCES: &str = "generator, http, udsource, stdin and file";
const SINKS: &str = "udsink, log, blackhole, stdout and file";

/// A source that is ready to be read, and what people have to be told about it.
pub struct OpenedSource {
    /// The door.
    pub opened: Opened,
    /// Where it listens, for a source that takes requests.
    pub listening: Option<Listening>,
    /// A view of a user-defined source for those who neither read nor answer.
    pub user: Option<UserSourceView>,
}

/// Opens the source that a spec asks for. When several kinds are set the first counts, in this order: generator,
/// udsource, pulsar, sqs, serving, jetstream, nats, kafka, http, stdin, file.
pub async fn open_source(spec: &Source, context: &Context) -> Result<OpenedSource, Error> {
    let quiet = |opened| OpenedSource { opened, listening: None, user: None };
    if let Some(generator) = &spec.generator {
        return open_generator(generator, context).map(quiet);
    }
    if spec.udsource.is_some() {
        let (opened, view) = source::user::open(context.user_code(), context.incidents.clone());
        return Ok(OpenedSource { opened, listening: None, user: Some(view) });
    }
    let missing = [
        ("pulsar", spec.pulsar.is_some()),
        ("sqs", spec.sqs.is_some()),
        ("serving", spec.serving.is_some()),
        ("jetstream", spec.jetstream.is_some()),
        ("nats", spec.nats.is_some()),
        ("kafka", spec.kafka.is_some()),
    ];
    if let Some((kind, _)) = missing.into_iter().find(|(_, set)| *set) {
        return Err(Error::Unsupported {
            vertex: context.vertex.clone(),
            direction: "source",
            kind,
            available: SOURCES,
        });
    }
    if let Some(http) = &spec.http {
        let settings = http_settings(http, context)?;
        let (opened, listening) = source::http::open(settings, &context.inputs.listeners)
            .await
            .map_err(context.refused("http source"))?;
        return Ok(OpenedSource { opened, listening: Some(listening), user: None });
    }
    if spec.stdin.is_some() {
        let settings = source::stdin::Settings { vertex: context.vertex.clone(), replica: context.replica };
        let opened = source::stdin::open(settings, &context.inputs.stdin);
        return opened.map(quiet).map_err(context.refused("stdin source"));
    }
    if let Some(FileSource { path, follow }) = &spec.file {
        let (vertex, replica) = (context.vertex.clone(), context.replica);
        let follow = follow.unwrap_or(false);
        let settings = source::file::Settings { vertex, replica, path: path.into(), follow };
        return source::file::open(settings).await.map(quiet).map_err(context.refused("file source"));
    }
    Err(Error::Nothing { vertex: context.vertex.clone(), direction: "source", available: SOURCES })
}

/// A word for the source that a spec asks for: positions in one mean nothing in another whose word is different.
pub fn source_identity(spec: &Source) -> String {
    let kinds = [
        ("generator", spec.generator.is_some()),
        ("udsource", spec.udsource.is_some()),
        ("pulsar", spec.pulsar.is_some()),
        ("sqs", spec.sqs.is_some()),
        ("serving", spec.serving.is_some()),
        ("jetstream", spec.jetstream.is_some()),
        ("nats", spec.nats.is_some()),
        ("kafka", spec.kafka.is_some()),
        ("http", spec.http.is_some()),
        ("stdin", spec.stdin.is_some()),
    ];
    if let Some((kind, _)) = kinds.into_iter().find(|(_, set)| *set) {
        return kind.to_owned();
    }
    match &spec.file {
        Some(FileSource { path, .. }) => {
            // Where there is no present directory the path as it is written has to do.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
            format!("file {}", path.display())
        }
        None => "nothing".to_owned(),
    }
}

/// Opens the sink that a spec asks for. When several kinds are set the first counts, in this order: udsink, log,
/// blackhole, serve, sqs, kafka, pulsar, stdout, file.
pub async fn open_sink(spec: &AbstractSink, role: Role, context: &Context) -> Result<Box<dyn Sink>, Error> {
    if spec.udsink.is_some() {
        return Ok(Box::new(UserSink::open(role, context.user_code(), context.incidents.clone())));
    }
    if spec.log.is_some() {
        return Ok(sink::log::open());
    }
    if spec.blackhole.is_some() {
        return Ok(sink::blackhole::open());
    }
    let missing = [
        ("serve", spec.serve.is_some()),
        ("sqs", spec.sqs.is_some()),
        ("kafka", spec.kafka.is_some()),
        ("pulsar", spec.pulsar.is_some()),
    ];
    if let Some((kind, _)) = missing.into_iter().find(|(_, set)| *set) {
        return Err(Error::Unsupported {
            vertex: context.vertex.clone(),
            direction: "sink",
            kind,
            available: SINKS,
        });
    }
    if spec.stdout.is_some() {
        return Ok(sink::stdout::open());
    }
    if let Some(FileSink { path, sync }) = &spec.file {
        let defaults = sink::file::Settings::new(path);
        let settings = sink::file::Settings { sync: sync.unwrap_or(defaults.sync), ..defaults };
        return sink::file::open(settings).await.map_err(context.refused("file sink"));
    }
    Err(Error::Nothing { vertex: context.vertex.clone(), direction: "sink", available: SINKS })
}

fn open_generator(spec: &GeneratorSource, context: &Context) -> Result<Opened, Error> {
    let api::resolve::Generator { records_per_unit, unit, message_bytes, keys, value, jitter, payload } =
        spec.resolve();
    let settings = source::generator::Settings {
        vertex: context.vertex.clone(),
        replica: context.replica,
        messages_per_unit: records_per_unit,
        unit,
        message_bytes: usize::try_from(message_bytes).unwrap_or(usize::MAX),
        keys,
        value,
        payload: payload.map(Into::into),
        jitter,
    };
    source::generator::open(settings).map_err(context.refused("generator source"))
}

fn http_settings(spec: &HttpSource, context: &Context) -> Result<http::Settings, Error> {
    // Whether a Service stands in front of it is for the place where the vertex runs.
    let HttpSource { auth, service: _, ports } = spec;
    let HttpListener { https_port, http_port } = HttpListener::from_spec(ports.as_ref());
    let token = match auth.as_ref().and_then(|auth| auth.token.as_ref()) {
        Some(selector) => {
            let found = context.secrets.get(&selector.name, &selector.key);
            Some(http::Token::new(found.map_err(context.refused("http source"))?))
        }
        None => None,
    };
    Ok(http::Settings {
        vertex: context.vertex.clone(),
        replica: context.replica,
        bind: context.http_bind,
        https_port,
        http_port,
        token,
    })
}
