//! What a processor has to know, from its environment: the names that pods of the reference have, and for what they do
//! not say names of our own. docs/processor.md lists them. Invariant: what cannot be understood stops the start and is
//! named.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use api::Object as Loaded;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connect::buffer::jetstream;
use connect::udf::native::{StandIn, stand_in};
use model::Incarnation;
use platform::local::engine::Object;
use platform::local::secrets::{Kind, Values};

use crate::environment::Environment;
use crate::isb;

/// Where pods have their secrets.
const SECRETS: &str = "/var/numaflow/secrets";
/// Where pods have the sockets of user code.
const SOCKETS: &str = "/var/run/numaflow";

/// Everything one worker has to know.
pub(super) struct Settings {
    pub(super) object: Object,
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
    pub(super) broker: jetstream::Settings,
}

impl Settings {
    pub(super) fn read(environment: &Environment) -> Result<Self> {
        let get = |name: &str| environment.variable(name);
        let need = |name: &str| {
            get(name).with_context(|| {
                format!(
                    "find {name} in the environment: a processor is started by a controller or by --isolate"
                )
            })
        };
        let parse = |name: &str, text: &str| anyhow!("understand {name}={text}");
        let replica = get("NUMAFLOW_REPLICA").unwrap_or_else(|| "0".to_owned());
        let replica: u16 = replica.parse().map_err(|_| parse("NUMAFLOW_REPLICA", &replica))?;
        let incarnation = match get("TIDEGATE_INCARNATION") {
            Some(text) => text.parse().map_err(|_| parse("TIDEGATE_INCARNATION", &text))?,
            None => fastrand::u64(1..u64::MAX),
        };
        let http_bind = match get("TIDEGATE_HTTP_BIND") {
            Some(text) => text.parse().map_err(|_| parse("TIDEGATE_HTTP_BIND", &text))?,
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let parent = match get("TIDEGATE_PARENT") {
            Some(text) => Some(text.parse().map_err(|_| parse("TIDEGATE_PARENT", &text))?),
            None => None,
        };
        let secrets = get("TIDEGATE_SECRETS_DIR").map_or_else(|| PathBuf::from(SECRETS), PathBuf::from);
        let pair = |(container, path): (String, String)| (container, PathBuf::from(path));
        Ok(Self {
            object: object(&need("NUMAFLOW_PIPELINE_OBJECT")?)?,
            vertex: need("NUMAFLOW_VERTEX_NAME")?,
            replica,
            worker: get("TIDEGATE_WORKER").unwrap_or_else(|| replica.to_string()),
            incarnation: Incarnation(incarnation),
            sockets_default: PathBuf::from(SOCKETS),
            sockets: pairs("TIDEGATE_SOCKETS", get("TIDEGATE_SOCKETS"))?.into_iter().map(pair).collect(),
            stand_ins: stand_ins(get("TIDEGATE_STAND_INS"))?,
            values: values(&secrets)?,
            http_bind,
            parent,
            broker: isb::from_environment(environment)?,
        })
    }
}

/// The pipeline that a variable holds.
fn object(text: &str) -> Result<Object> {
    let bytes = STANDARD.decode(text).context("understand NUMAFLOW_PIPELINE_OBJECT: it is base64")?;
    let loaded = api::load([("NUMAFLOW_PIPELINE_OBJECT", bytes.as_slice())]);
    let (mut objects, _) = loaded.accept().map_err(|complaints| {
        anyhow!("understand NUMAFLOW_PIPELINE_OBJECT: {}", api::complaint::to_text(&complaints).trim_end())
    })?;
    match (objects.pop(), objects.is_empty()) {
        (Some(Loaded::Pipeline(pipeline)), true) => Ok(Object::Pipeline(pipeline)),
        _ => bail!("understand NUMAFLOW_PIPELINE_OBJECT: it is not one Pipeline"),
    }
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
