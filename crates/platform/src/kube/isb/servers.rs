//! From a manifest and the controller's configuration to what the servers of a buffer service are. Pure. Invariant: a
//! value that goes into the servers' configuration file is a number, a size or a word, never a piece of syntax.

use api::spec::JetStreamBufferService;
use api::{Checked, InterStepBufferService};
use connect::buffer::jetstream::config::BufferConfig;
use connect::buffer::jetstream::{OLDEST, Version as Nats};
use serde_json::{Map, Value, json};

use crate::kube::config::{self, Config, Version};

/// How many servers there are when nobody says.
const REPLICAS: i32 = 3;
/// From so many servers on they are a cluster.
const CLUSTERED: u32 = 3;
/// Settings of servers that are used.
const SETTINGS: [&str; 3] = ["max_payload", "max_memory_store", "max_file_store"];
/// Sections of the buffer settings in which copies are counted.
const COPIED: [&str; 2] = ["stream", "otbucket"];

/// Why the servers of a service cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has no such version.
    #[error("find the version {version:?}: the configuration of the controller has {known}")]
    UnknownVersion {
        /// As the manifest names it.
        version: String,
        /// What there is.
        known: String,
    },
    /// Servers of that version cannot keep what is written exactly once.
    #[error(
        "use the version {version:?} with the image {image}: NATS {OLDEST} is the oldest that will do; use `version: latest`"
    )]
    TooOld {
        /// As the manifest names it.
        version: String,
        /// What it stands for.
        image: String,
    },
    /// The texts in the manifest or the configuration are not what they should be.
    #[error(transparent)]
    Text(#[from] config::Error),
    /// A setting of the servers is not what it should be.
    #[error("use the setting {key}: {value} is no number or size, such as 1048576 or 1GB")]
    Setting {
        /// The setting.
        key: &'static str,
        /// What is written.
        value: String,
    },
    /// The settings of streams are not what they should be.
    #[error("use the settings of streams")]
    Streams(#[source] connect::buffer::jetstream::config::Error),
}

/// What the servers of a buffer service are.
#[derive(Clone, Debug, PartialEq)]
pub struct Servers {
    /// The namespace of the service.
    pub namespace: String,
    /// The name of the service.
    pub name: String,
    /// How many servers.
    pub replicas: u32,
    /// The images.
    pub version: Version,
    /// Settings of every server, by name.
    pub settings: Vec<(&'static str, String)>,
    /// Settings of streams (YAML), for clients.
    pub stream_config: String,
    /// How many copies of each stream clients ask for.
    pub copies: u32,
    /// What the manifest says about pods and containers.
    pub spec: JetStreamBufferService,
    /// What of the manifest is not used, and why.
    pub warnings: Vec<String>,
}

impl Servers {
    /// Of a service, under a configuration.
    pub fn of(service: &Checked<InterStepBufferService>, config: &Config) -> Result<Self, Error> {
        let spec = service.spec.jetstream.clone().unwrap_or_default();
        let asked = spec.version.clone().unwrap_or_default();
        let version = version(&asked, &config.jetstream.versions)?;
        let replicas = u32::try_from(spec.replicas.unwrap_or(REPLICAS)).unwrap_or(0).max(1);
        let is_cluster = replicas >= CLUSTERED;
        let mut warnings = Vec::new();
        let settings = settings(&config.jetstream.settings, spec.settings.as_deref(), &mut warnings)?;
        let own = spec.buffer_config.as_deref().unwrap_or_default();
        let stream_config = stream_config(&config.jetstream.buffer_config, own, is_cluster)?;
        let (streams, said) = BufferConfig::read(&stream_config).map_err(Error::Streams)?;
        warnings.extend(said);
        let copies = streams.replicas.map_or(if is_cluster { CLUSTERED } else { 1 }, u32::from);
        let (namespace, name) = (service.namespace().to_owned(), service.name().to_owned());
        Ok(Self { namespace, name, replicas, version, settings, stream_config, copies, spec, warnings })
    }

    /// Whether the servers agree with each other about everything they keep.
    pub fn is_cluster(&self) -> bool {
        self.replicas >= CLUSTERED
    }

    /// Whether clients speak TLS.
    pub fn has_tls(&self) -> bool {
        self.spec.tls == Some(true)
    }

    /// Whether what lies on disk is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.spec.encryption == Some(true)
    }

    /// Whether a server that is started anew has lost what it kept, and nobody else has it.
    pub fn forgets(&self) -> bool {
        self.spec.persistence.is_none() && (!self.is_cluster() || self.copies == 1)
    }
}

fn version(asked: &str, known: &[Version]) -> Result<Version, Error> {
    let Some(version) = known.iter().find(|version| version.version == asked) else {
        let known: Vec<&str> = known.iter().map(|version| version.version.as_str()).collect();
        return Err(Error::UnknownVersion { version: asked.to_owned(), known: known.join(", ") });
    };
    let tag = version.nats_image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let is_old = |text: &str| Nats::read(text).is_some_and(|found| found < OLDEST);
    if is_old(tag) || (Nats::read(tag).is_none() && is_old(asked)) {
        return Err(Error::TooOld { version: asked.to_owned(), image: version.nats_image.clone() });
    }
    let mut version = version.clone();
    if version.start_command.is_empty() {
        "/nats-server".clone_into(&mut version.start_command);
    }
    Ok(version)
}

/// The settings of servers that are used, the manifest's before the operator's.
fn settings(
    default: &str,
    own: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(&'static str, String)>, Error> {
    let mut said: Map<String, Value> = config::parse(default, "isbsvc.jetstream.settings")?;
    let own: Map<String, Value> = config::parse(own.unwrap_or_default(), "spec.jetstream.settings")?;
    for key in own.keys().filter(|key| !SETTINGS.contains(&key.as_str())) {
        warnings.push(format!("settings: {key} is not used, because only {} are", SETTINGS.join(", ")));
    }
    said.extend(own);
    let mut used = Vec::new();
    for key in SETTINGS {
        let Some(value) = said.get(key) else { continue };
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if !is_size(&text) {
            return Err(Error::Setting { key, value: text });
        }
        used.push((key, text));
    }
    Ok(used)
}

/// A whole number, with at most three letters after it.
fn is_size(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, unit) = digits.split_at(end);
    !number.is_empty() && unit.len() <= 3 && unit.chars().all(|c| c.is_ascii_alphabetic())
}

/// The settings of streams, with keys in small letters, the manifest's before the operator's.
fn stream_config(default: &str, own: &str, is_cluster: bool) -> Result<String, Error> {
    let mut merged: Map<String, Value> = lower(config::parse(default, "isbsvc.jetstream.bufferConfig")?);
    let own: Map<String, Value> = lower(config::parse(own, "spec.jetstream.bufferConfig")?);
    for (section, said) in own {
        match (merged.get_mut(&section), said) {
            (Some(Value::Object(known)), Value::Object(said)) => known.extend(said),
            (_, said) => drop(merged.insert(section, said)),
        }
    }
    if !is_cluster {
        // One server keeps one copy, whatever anybody says.
        for section in COPIED {
            if let Some(Value::Object(known)) = merged.get_mut(section) {
                known.insert("replicas".to_owned(), json!(1));
            } else if section == "stream" {
                merged.insert(section.to_owned(), json!({"replicas": 1}));
            }
        }
    }
    Ok(api::yaml::to_yaml(&Value::Object(merged)))
}

fn lower(members: Map<String, Value>) -> Map<String, Value> {
    let each = members.into_iter().map(|(key, value)| {
        let value = match value {
            Value::Object(members) => Value::Object(lower(members)),
            other => other,
        };
        (key.to_lowercase(), value)
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(jetstream: &Value) -> Checked<InterStepBufferService> {
        let value = json!({
            "apiVersion": api::API_VERSION, "kind": "InterStepBufferService",
            "metadata": {"name": "default", "namespace": "flows"}, "spec": {"jetstream": jetstream},
        });
        api::check(InterStepBufferService::from_value(value).unwrap()).unwrap().0
    }

    fn servers(jetstream: &Value) -> Result<Servers, Error> {
        Servers::of(&service(jetstream), &Config::read("", "x").unwrap())
    }

    #[test]
    fn a_service_that_says_nothing_is_three_servers() {
        let found = servers(&json!({"version": "latest"})).unwrap();
        assert_eq!((found.replicas, found.copies, found.is_cluster()), (3, 3, true));
        assert_eq!(found.version.start_command, "/nats-server");
        assert_eq!(
            found.settings,
            [
                ("max_payload", "1048576".to_owned()),
                ("max_memory_store", "-1".to_owned()),
                ("max_file_store", "1TB".to_owned()),
            ]
        );
        assert_eq!(
            found.stream_config,
            "stream:\n  maxmsgs: 100000\n  storage: 0\n  replicas: 3\n  duplicates: \"60s\"\n"
        );
        assert_eq!(found.warnings, Vec::<String>::new());
        assert!(!found.forgets());
    }

    #[test]
    fn one_server_keeps_one_copy_and_forgets_without_a_volume() {
        let found = servers(&json!({"version": "latest", "replicas": 1})).unwrap();
        assert_eq!((found.replicas, found.copies, found.is_cluster()), (1, 1, false));
        assert!(found.forgets());
        let kept = servers(&json!({"version": "latest", "replicas": 1, "persistence": {}})).unwrap();
        assert!(!kept.forgets());
    }

    #[test]
    fn what_a_manifest_sets_wins_and_what_is_not_used_is_said() {
        let found = servers(&json!({
            "version": "latest",
            "settings": "max_payload: 2MB\nfoo: 1\n",
            "bufferConfig": "stream:\n  maxMsgs: 5\n  replicas: 1\n",
        }))
        .unwrap();
        assert_eq!(found.settings[0], ("max_payload", "2MB".to_owned()));
        assert!(found.stream_config.contains("maxmsgs: 5\n"), "{}", found.stream_config);
        assert!(found.forgets(), "one copy on disks that go with their pods");
        assert_eq!(
            found.warnings,
            ["settings: foo is not used, because only max_payload, max_memory_store, max_file_store are"]
        );
    }

    #[test]
    fn syntax_does_not_get_into_a_setting() {
        let error = servers(&json!({"version": "latest", "settings": "max_payload: '1 }'"})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "use the setting max_payload: 1 } is no number or size, such as 1048576 or 1GB"
        );
    }

    #[test]
    fn versions_that_are_unknown_or_too_old_are_refused() {
        let error = servers(&json!({"version": "2.8"})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "find the version \"2.8\": the configuration of the controller has latest, 2.12.7"
        );
        let text = "isbsvc: {jetstream: {versions: [{version: 2.10.17, natsImage: 'nats:2.10.17'}, {version: mine, natsImage: 'x/nats'}]}}";
        let config = Config::read(text, "x").unwrap();
        let error = Servers::of(&service(&json!({"version": "2.10.17"})), &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "use the version \"2.10.17\" with the image nats:2.10.17: NATS 2.12.0 is the oldest that will do; use `version: latest`"
        );
        assert!(Servers::of(&service(&json!({"version": "mine"})), &config).is_ok());
    }
}
