//! What a processor has to know, from its environment: the names that pods of the reference have, and for what they do
//! not say names of our own. docs/processor.md lists them. Invariant: what cannot be understood stops the start and is
//! named.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use api::resolve::PipelineSettings;
use connect::buffer::jetstream;
use connect::mail::RemoteMail;
use connect::udf::native::{StandIn, stand_in};
use model::Incarnation;
use platform::local::engine::Object;
use platform::local::secrets::{Kind, Values};
use server::processor::{ERRORS_PORT, METRICS_PORT};
use server::runtime_errors::DIRECTORY;

use super::pod::Ports;
use super::subject::{Subject, read_vertex, read_whole};
use crate::environment::Environment;
use crate::{isb, ports};

/// Where pods have their secrets.
const SECRETS: &str = "/var/numaflow/secrets";
/// Where pods have the sockets of user code.
const SOCKETS: &str = "/var/run/numaflow";

/// How long what is in hand may take after the process was told to end, if nobody says.
const GRACE_SECONDS: u64 = 20;
/// Bits of an incarnation that are random; the others are the time it began, in milliseconds.
const RANDOM_BITS: u32 = 22;

/// How orders come, and where messages lie between vertices.
pub(super) enum Reach {
    /// On a broker, for vertices of pipelines.
    Broker(Box<jetstream::Settings>),
    /// From the daemon, for mono vertices: nothing lies anywhere.
    Daemon(Arc<RemoteMail>),
}

/// Everything one worker has to know.
pub(super) struct Settings {
    pub(super) subject: Subject,
    /// What the subject comes to.
    pub(super) pipeline: PipelineSettings,
    pub(super) vertex: String,
    pub(super) replica: u16,
    /// What it is called among the workers of its vertex.
    pub(super) worker: String,
    pub(super) incarnation: Incarnation,
    /// Where the sockets of containers are that are not in `sockets`.
    pub(super) sockets_default: PathBuf,
    pub(super) sockets: BTreeMap<String, PathBuf>,
    pub(super) stand_ins: BTreeMap<String, StandIn>,
    pub(super) values: Values,
    pub(super) http_bind: IpAddr,
    /// The process without which this one has no reason to live.
    pub(super) parent: Option<u32>,
    pub(super) reach: Reach,
    /// Where it listens; nowhere where it is none.
    pub(super) ports: Option<Ports>,
    /// Probes are answered with yes.
    pub(super) is_trusted: bool,
    /// How long what is in hand may take after the process was told to end.
    pub(super) grace: Duration,
}

impl Settings {
    pub(super) fn read(environment: &Environment) -> Result<Self> {
        let get = |name: &str| environment.variable(name);
        let parse = |name: &str, text: &str| anyhow!("understand {name}={text}");
        let replica = get("NUMAFLOW_REPLICA").unwrap_or_else(|| "0".to_owned());
        let replica: u16 = replica.parse().map_err(|_| parse("NUMAFLOW_REPLICA", &replica))?;
        let incarnation = match get("TIDEGATE_INCARNATION") {
            Some(text) => text.parse().map_err(|_| parse("TIDEGATE_INCARNATION", &text))?,
            None => incarnation(SystemTime::now(), fastrand::u64(..)),
        };
        let http_bind = match get("TIDEGATE_HTTP_BIND") {
            Some(text) => text.parse().map_err(|_| parse("TIDEGATE_HTTP_BIND", &text))?,
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let parent = match get("TIDEGATE_PARENT") {
            Some(text) => Some(text.parse().map_err(|_| parse("TIDEGATE_PARENT", &text))?),
            None => None,
        };
        let grace = match get("NUMAFLOW_GRACEFUL_TIMEOUT_SECS") {
            Some(text) => text.parse().map_err(|_| parse("NUMAFLOW_GRACEFUL_TIMEOUT_SECS", &text))?,
            None => GRACE_SECONDS,
        };
        let secrets = get("TIDEGATE_SECRETS_DIR").map_or_else(|| PathBuf::from(SECRETS), PathBuf::from);
        let pair = |(container, path): (String, String)| (container, PathBuf::from(path));
        let (subject, vertex) = subject(environment)?;
        let revision = || subject.revision(&vertex);
        Ok(Self {
            pipeline: subject.settings()?,
            replica,
            worker: get("TIDEGATE_WORKER").unwrap_or_else(|| format!("{}-{replica}", revision())),
            incarnation: Incarnation(incarnation),
            sockets_default: PathBuf::from(SOCKETS),
            sockets: pairs("TIDEGATE_SOCKETS", get("TIDEGATE_SOCKETS"))?.into_iter().map(pair).collect(),
            stand_ins: stand_ins(get("TIDEGATE_STAND_INS"))?,
            values: values(&secrets)?,
            http_bind,
            parent,
            reach: reach(environment, subject.is_mono())?,
            ports: served(environment)?,
            is_trusted: get("NUMAFLOW_HEALTH_CHECK_DISABLED").is_some_and(|text| text == "true"),
            grace: Duration::from_secs(grace),
            subject,
            vertex,
        })
    }
}

fn reach(environment: &Environment, is_mono: bool) -> Result<Reach> {
    if !is_mono {
        return Ok(Reach::Broker(Box::new(isb::from_environment(environment)?)));
    }
    let need = |name: &str| {
        let found = environment.variable(name);
        found.with_context(|| {
            format!("find {name} in the environment: orders of a mono vertex come from its daemon")
        })
    };
    let mail = RemoteMail::new(&need("TIDEGATE_DAEMON_URL")?, &need("TIDEGATE_DAEMON_TOKEN")?);
    Ok(Reach::Daemon(Arc::new(mail.context("understand TIDEGATE_DAEMON_URL and TIDEGATE_DAEMON_TOKEN")?)))
}

/// What is to run, and which vertex of it.
fn subject(environment: &Environment) -> Result<(Subject, String)> {
    let get = |name: &str| environment.variable(name);
    let (mono, pipeline, vertex) =
        ("NUMAFLOW_MONO_VERTEX_OBJECT", "NUMAFLOW_PIPELINE_OBJECT", "NUMAFLOW_VERTEX_OBJECT");
    if let Some(text) = get(mono) {
        let Object::Mono(object) = read_whole(mono, &text)? else {
            bail!("understand {mono}: it is a Pipeline, and a MonoVertex is expected");
        };
        let name = object.name().to_owned();
        return Ok((Subject::Whole(Object::Mono(object)), name));
    }
    let own = get(vertex).map(|text| read_vertex(vertex, &text)).transpose()?;
    let own_name = match &own {
        Some(Subject::Vertex(object)) => Some(object.spec.vertex.name.clone()),
        Some(Subject::Whole(_)) | None => None,
    };
    let name = get("NUMAFLOW_VERTEX_NAME").or(own_name);
    match (get(pipeline), own, name) {
        (Some(text), _, Some(name)) => {
            let Object::Pipeline(object) = read_whole(pipeline, &text)? else {
                bail!("understand {pipeline}: it is a MonoVertex, and a Pipeline is expected");
            };
            if object.spec.vertices.iter().all(|vertex| vertex.name != name) {
                bail!("find vertex {name} in {pipeline}");
            }
            Ok((Subject::Whole(Object::Pipeline(object)), name))
        }
        (None, Some(own), Some(name)) => Ok((own, name)),
        (Some(_), _, None) => bail!("find NUMAFLOW_VERTEX_NAME in the environment beside {pipeline}"),
        (None, _, _) => bail!(
            "find {pipeline}, {vertex} or {mono} in the environment: a processor is started by a controller or by \
             --isolate"
        ),
    }
}

/// A number that grows from one life to the next, and that no other life has.
fn incarnation(now: SystemTime, random: u64) -> u64 {
    let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let millis = u64::try_from(millis).unwrap_or(u64::MAX) << RANDOM_BITS;
    millis | (random >> (u64::BITS - RANDOM_BITS))
}

/// Where the processor listens.
fn served(environment: &Environment) -> Result<Option<Ports>> {
    let text = environment.variable("TIDEGATE_PORTS");
    let (metrics, errors) = match text.as_deref() {
        Some("off") => return Ok(None),
        None => (METRICS_PORT, ERRORS_PORT),
        Some(text) => {
            let pair = text.split_once(',');
            let pair = pair.and_then(|(first, second)| Some((first.parse().ok()?, second.parse().ok()?)));
            pair.with_context(|| format!("understand TIDEGATE_PORTS={text}: off, or METRICS,ERRORS"))?
        }
    };
    let directory = environment.variable("TIDEGATE_ERRORS_DIR");
    let directory = directory.map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from);
    Ok(Some(Ports { address: ports::bind_address(environment)?, metrics, errors, directory }))
}

/// `NAME=VALUE`, with commas between them.
fn pairs(name: &str, text: Option<String>) -> Result<BTreeMap<String, String>> {
    let text = text.unwrap_or_default();
    let entries = text.split(',').filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| {
        let (container, value) = entry.split_once('=')?;
        Some((container.to_owned(), value.to_owned()))
    });
    entries.collect::<Option<_>>().with_context(|| format!("understand {name}={text}: NAME=VALUE,…"))
}

fn stand_ins(text: Option<String>) -> Result<BTreeMap<String, StandIn>> {
    let all = pairs("TIDEGATE_STAND_INS", text)?.into_iter();
    let found = all.map(|(container, image)| {
        let stand_in = stand_in(&image).with_context(|| format!("find a stand-in for image {image}"))?;
        Ok((container, stand_in))
    });
    found.collect()
}

fn values(directory: &Path) -> Result<Values> {
    let mut values = Values::default();
    if directory.is_dir() {
        values.insert_dir(Kind::Secret, directory)?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::incarnation;

    #[test]
    fn a_later_life_has_a_larger_number() {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let early = incarnation(at(1_800_000_000_000), u64::MAX);
        let late = incarnation(at(1_800_000_000_001), 0);
        assert!(early < late, "{early} {late}");
        assert_ne!(early, incarnation(at(1_800_000_000_000), 0));
        // Until the year 2100, and never the number of whoever seals.
        assert!(incarnation(at(4_102_444_800_000), u64::MAX) < u64::MAX);
    }
}
