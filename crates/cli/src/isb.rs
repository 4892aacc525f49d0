//! How the broker between vertices is reached and what streams are like there: flags and manifests for people, variables
//! for pods, one meaning. Invariant: what one process reads from flags and manifests and gives to a child in its
//! environment, the child reads as the same.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use api::{Checked, InterStepBufferService, Pipeline};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args as ClapArgs;
use connect::buffer::jetstream::config::BufferConfig;
use connect::buffer::jetstream::{Login, Settings, Trust};
use serde_json::{Value, json};

use crate::environment::Environment;

/// Where a controller says what a buffer service is like.
const SERVICE_CONFIG: &str = "NUMAFLOW_ISBSVC_CONFIG";

/// Flags of commands that run on a broker.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct IsbOptions {
    /// Which broker.
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// Run each worker of a pipeline in a process of its own, as a cluster does.
    #[arg(long, requires = "isb")]
    pub(crate) isolate: bool,
}

/// Flags of commands that reach a broker.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct BrokerOptions {
    /// The NATS JetStream server that messages between vertices lie on, in place of the embedded journal: nats://HOST:PORT,
    /// several with commas between them; user and password may stand in the address.
    #[arg(long, value_name = "URL")]
    pub(crate) isb: Option<String>,
    /// Credentials for the broker (a .creds file).
    #[arg(long, value_name = "FILE", requires = "isb")]
    pub(crate) isb_creds: Option<PathBuf>,
    /// The authority (PEM) that has signed the broker's certificate, for tls:// addresses.
    #[arg(long, value_name = "FILE", requires = "isb")]
    pub(crate) isb_ca: Option<PathBuf>,
}

impl IsbOptions {
    /// The same flags for another command, wherever that is started.
    pub(crate) fn arguments(&self, environment: &Environment) -> Vec<OsString> {
        let mut arguments = self.broker.arguments(environment);
        arguments.extend(self.isolate.then(|| OsString::from("--isolate")));
        arguments
    }
}

impl BrokerOptions {
    /// The broker that the flags name.
    pub(crate) fn settings(&self) -> Option<Settings> {
        let mut settings = Settings::to(self.isb.as_ref()?);
        if let Some(file) = &self.isb_creds {
            settings.login = Login::Credentials(file.clone());
        }
        if let Some(file) = &self.isb_ca {
            settings.tls.trust = Trust::Authority(file.clone());
        }
        Some(settings)
    }

    fn arguments(&self, environment: &Environment) -> Vec<OsString> {
        let Self { isb, isb_creds, isb_ca } = self;
        let path = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| environment.working_dir.join(path).into_os_string())
        };
        let valued = [
            ("--isb", isb.as_ref().map(OsString::from)),
            ("--isb-creds", path(isb_creds)),
            ("--isb-ca", path(isb_ca)),
        ];
        let valued = valued.into_iter().filter_map(|(flag, value)| Some([OsString::from(flag), value?]));
        valued.flatten().collect()
    }

    /// The same for a child, as [`from_environment`] reads it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let Self { isb, isb_creds, isb_ca } = self;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let all = [
            ("NUMAFLOW_ISBSVC_JETSTREAM_URL", isb.clone()),
            ("TIDEGATE_ISB_CREDS", path(isb_creds)),
            ("TIDEGATE_ISB_CA", path(isb_ca)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// The broker that the environment names.
pub(crate) fn from_environment(environment: &Environment) -> Result<Settings> {
    let get = |name: &str| environment.variable(name);
    let kind = get("NUMAFLOW_ISBSVC_TYPE").unwrap_or_else(|| "jetstream".to_owned());
    if kind != "jetstream" {
        bail!("use NUMAFLOW_ISBSVC_TYPE={kind}: jetstream is the only kind there is");
    }
    let url = get("NUMAFLOW_ISBSVC_JETSTREAM_URL");
    let mut settings = Settings::to(&url.context("find NUMAFLOW_ISBSVC_JETSTREAM_URL in the environment")?);
    let user = get("NUMAFLOW_ISBSVC_JETSTREAM_USER");
    settings.login = match (user, get("NUMAFLOW_ISBSVC_JETSTREAM_PASSWORD"), get("TIDEGATE_ISB_CREDS")) {
        (Some(name), Some(password), _) => Login::User { name, password },
        (Some(_), None, _) => {
            bail!("use NUMAFLOW_ISBSVC_JETSTREAM_USER: NUMAFLOW_ISBSVC_JETSTREAM_PASSWORD is missing")
        }
        (None, _, Some(file)) => Login::Credentials(PathBuf::from(file)),
        (None, _, None) => Login::Anybody,
    };
    if get("NUMAFLOW_ISBSVC_JETSTREAM_TLS_ENABLED").is_some_and(|text| text == "true") {
        // The buffer service makes a certificate that nobody else has signed.
        settings.tls.required = true;
        settings.tls.trust = Trust::Anyone;
    }
    if let Some(file) = get("TIDEGATE_ISB_CA") {
        settings.tls.trust = Trust::Authority(PathBuf::from(file));
    }
    if let Some(text) = stream_config(environment)? {
        // Whoever wrote it was told of what is not used.
        (settings.streams, _) = BufferConfig::read(&text).with_context(|| format!("use {SERVICE_CONFIG}"))?;
    }
    Ok(settings)
}

/// What the environment says of all streams.
pub(crate) fn stream_config(environment: &Environment) -> Result<Option<String>> {
    let Some(text) = environment.variable(SERVICE_CONFIG) else { return Ok(None) };
    let bytes =
        STANDARD.decode(text).with_context(|| format!("understand {SERVICE_CONFIG}: it is base64"))?;
    let config: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("understand {SERVICE_CONFIG}: it is JSON"))?;
    Ok(config["jetstream"]["streamConfig"].as_str().map(str::to_owned))
}

/// What a manifest says of all streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// As it is understood.
    pub(crate) config: BufferConfig,
    /// As it is written.
    text: String,
}

impl Streams {
    /// Reads what is written, and says what of it is not used and why.
    pub(crate) fn read(text: String) -> Result<(Self, Vec<String>)> {
        let (config, warnings) = BufferConfig::read(&text)?;
        Ok((Self { config, text }, warnings))
    }

    /// The same for a child, as [`from_environment`] reads it.
    pub(crate) fn variable(&self) -> (String, String) {
        let config = json!({"jetstream": {"streamConfig": self.text}});
        (SERVICE_CONFIG.to_owned(), STANDARD.encode(config.to_string()))
    }
}

/// What a pipeline's buffer service says of all streams, if it is among those that were read.
pub(crate) fn buffer_config(
    services: &[Box<Checked<InterStepBufferService>>],
    pipeline: &Checked<Pipeline>,
) -> Option<String> {
    let name = api::resolve::pipeline(pipeline).inter_step_buffer_service;
    let own = services.iter().find(|service| service.name() == name)?;
    own.spec.jetstream.as_ref()?.buffer_config.clone()
}
