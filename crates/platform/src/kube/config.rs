//! What an operator sets for a controller: the file `controller-config.yaml` in the reference's form. Invariant: a file
//! that cannot be understood changes nothing; what was read last goes on being used, and the error says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::spec::stock::ResourceRequirements;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the file is looked at. A kubelet takes up to a minute to bring a change of the config map.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The largest file; a config map cannot hold more.
const BYTES_MAX: u64 = 1024 * 1024;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than any config map.
    #[error("read {}: it has {bytes} bytes, and {BYTES_MAX} are possible", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is no YAML.
    #[error("understand {place}: {complaints}")]
    Syntax {
        /// The file, and the setting when it is YAML inside of a setting.
        place: String,
        /// What is wrong.
        complaints: String,
    },
    /// A setting has the wrong type.
    #[error("understand {place}")]
    Shape {
        /// The file, and the setting when it is YAML inside of a setting.
        place: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What an operator sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Which of several controllers this is; empty for the only one.
    pub instance: String,
    /// What our own containers ask for when a manifest does not say.
    pub container_resources: ResourceRequirements,
    /// What goes for all JetStream services.
    pub jetstream: JetStream,
}

/// What goes for all JetStream services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JetStream {
    /// Settings of servers (YAML).
    pub settings: String,
    /// Settings of streams (YAML).
    pub buffer_config: String,
    /// What `version` of a service stands for.
    pub versions: Vec<Version>,
}

/// A version of the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Version {
    /// As a manifest names it.
    pub version: String,
    /// The image of the server.
    pub nats_image: String,
    /// The image of an exporter of metrics beside each server; empty for none.
    pub metrics_exporter_image: String,
    /// Read and not used: servers are started anew when their configuration changes.
    pub config_reloader_image: String,
    /// The program in the image.
    pub start_command: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Written {
    instance: String,
    defaults: Defaults,
    isbsvc: Services,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Defaults {
    container_resources: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Services {
    jetstream: Option<JetStream>,
}

impl Config {
    /// Reads a configuration; what it does not say is as in the configuration that `tidegate install` prints.
    pub fn read(text: &str, place: &str) -> Result<Self, Error> {
        let own = Self::written(text, place)?;
        let defaults = Self::written(&deploy::default_configuration(), "the default configuration")?;
        let JetStream { settings, buffer_config, versions } = own.jetstream;
        let or = |own: String, default: String| if own.trim().is_empty() { default } else { own };
        Ok(Self {
            instance: own.instance,
            container_resources: if own.container_resources == ResourceRequirements::default() {
                defaults.container_resources
            } else {
                own.container_resources
            },
            jetstream: JetStream {
                settings: or(settings, defaults.jetstream.settings),
                buffer_config: or(buffer_config, defaults.jetstream.buffer_config),
                versions: if versions.is_empty() { defaults.jetstream.versions } else { versions },
            },
        })
    }

    fn written(text: &str, place: &str) -> Result<Self, Error> {
        let Written { instance, defaults, isbsvc } = parse(text, place)?;
        let at = format!("{place}: defaults.containerResources");
        Ok(Self {
            instance,
            container_resources: parse(&defaults.container_resources.unwrap_or_default(), &at)?,
            jetstream: isbsvc.jetstream.unwrap_or_default(),
        })
    }

    /// Reads the file; without one, everything is as `tidegate install` prints it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let text = match std::fs::metadata(path) {
            Ok(found) if found.len() > BYTES_MAX => {
                return Err(Error::TooLarge { path: path.to_owned(), bytes: found.len() });
            }
            Ok(_) => std::fs::read_to_string(path).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        Self::read(&text, &path.display().to_string())
    }
}

/// Reads one YAML document; an empty text is an empty object.
pub(super) fn parse<T: for<'de> Deserialize<'de> + Default>(text: &str, place: &str) -> Result<T, Error> {
    let mut documents = api::read::to_values(text.as_bytes(), place).map_err(|complaints| {
        let complaints = complaints.iter().map(|complaint| complaint.message.clone()).collect::<Vec<_>>();
        Error::Syntax { place: place.to_owned(), complaints: complaints.join("; ") }
    })?;
    documents.retain(|document| !document.is_null());
    match documents.len() {
        0 => Ok(T::default()),
        1 => serde_json::from_value(without_nulls(documents.remove(0)))
            .map_err(|source| Error::Shape { place: place.to_owned(), source }),
        more => Err(Error::Syntax {
            place: place.to_owned(),
            complaints: format!("there are {more} documents, and one is possible"),
        }),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, member)| !member.is_null());
            Value::Object(kept.map(|(name, member)| (name, without_nulls(member))).collect())
        }
        other => other,
    }
}

/// Follows the file until it is told to stop, and tells what it says each time that changes.
pub async fn follow(path: PathBuf, config: watch::Sender<Arc<Config>>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = String::new();
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        look(&path, &config, &mut said);
    }
}

/// Reads the file once; `said` is the error that was told last.
fn look(path: &Path, config: &watch::Sender<Arc<Config>>, said: &mut String) {
    match Config::load(path) {
        Ok(found) => {
            said.clear();
            config.send_if_modified(|known| {
                let is_new = **known != found;
                if is_new {
                    tracing::info!(file = %path.display(), "the configuration has changed");
                    *known = Arc::new(found);
                }
                is_new
            });
        }
        Err(error) => {
            let error = super::chain(&error);
            if error != *said {
                tracing::error!(error, "the configuration cannot be used, and the last one goes on");
                *said = error;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::spec::stock::Quantity;

    use super::*;

    #[test]
    fn without_a_file_everything_is_as_installed() {
        let config = Config::load(Path::new("/nowhere/controller-config.yaml")).unwrap();
        assert_eq!(config.instance, "");
        let requests = config.container_resources.requests.clone().unwrap();
        assert_eq!(requests["cpu"], Quantity("100m".to_owned()));
        let versions: Vec<&str> =
            config.jetstream.versions.iter().map(|version| version.version.as_str()).collect();
        assert_eq!(versions, ["latest", "2.12.7"]);
        assert!(config.jetstream.settings.contains("max_payload: 1048576"), "{}", config.jetstream.settings);
        assert_eq!(Config::read(&deploy::default_configuration(), "x").unwrap(), config);
    }

    #[test]
    fn the_form_of_the_reference_is_understood() {
        let text = "
instance: east
defaults:
  containerResources: |
    requests: {cpu: 1, memory: 64Mi}
isbsvc:
  redis: {versions: []}
  jetstream:
    settings: |
      max_payload: 1MB
    versions:
    - {version: latest, natsImage: 'nats:2.12.7', metricsExporterImage: e, configReloaderImage: r, startCommand: /nats-server}
";
        let config = Config::read(text, "x").unwrap();
        assert_eq!(config.instance, "east");
        assert_eq!(config.container_resources.requests.unwrap()["cpu"], Quantity("1".to_owned()));
        assert_eq!(config.jetstream.settings, "max_payload: 1MB\n");
        assert_eq!(config.jetstream.versions.len(), 1);
        assert_eq!(config.jetstream.versions[0].metrics_exporter_image, "e");
        // What is not said is as installed.
        assert!(config.jetstream.buffer_config.contains("maxMsgs"), "{}", config.jetstream.buffer_config);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = Config::read("instance: [1]", "file").unwrap_err();
        assert_eq!(error.to_string(), "understand file");
        let error = Config::read("defaults: {containerResources: 'requests: 5'}", "file").unwrap_err();
        assert_eq!(error.to_string(), "understand file: defaults.containerResources");
        let error = Config::read("a: 1\n---\nb: 2\n", "file").unwrap_err();
        assert_eq!(error.to_string(), "understand file: there are 2 documents, and one is possible");
    }

    #[test]
    fn a_change_is_told_and_a_mistake_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("controller-config.yaml");
        let (sender, mut config) = watch::channel(Arc::new(Config::load(&path).unwrap()));
        let mut said = String::new();
        look(&path, &sender, &mut said);
        assert!(!config.has_changed().unwrap(), "nothing is there, and nothing was");
        std::fs::write(&path, "instance: {").unwrap();
        look(&path, &sender, &mut said);
        assert!(!config.has_changed().unwrap());
        assert!(said.starts_with("understand "), "{said}");
        std::fs::write(&path, "instance: west").unwrap();
        look(&path, &sender, &mut said);
        assert_eq!((config.borrow_and_update().instance.as_str(), said.as_str()), ("west", ""));
    }
}
