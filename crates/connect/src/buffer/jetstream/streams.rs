//! Making, changing, looking at and removing streams. The one invariant: no change that is made here can remove a
//! message that is stored; one that could is refused with the reason.

use std::time::Duration;

use lane::broker::{Failure, StreamName, StreamState};
use lane::{Holds, StreamSpec};
use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::config::{BufferConfig, Storage};
use super::link::Link;
use super::{Nats, REQUEST_PATIENCE, api};

/// A stream as it shall be. All keep what is stored until it is removed by name, and refuse what they have no room
/// for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// Its name.
    pub name: StreamName,
    /// The subjects that it takes.
    pub subjects: Vec<String>,
    /// How many messages it takes at most.
    pub messages_max: Option<u64>,
    /// How many bytes it takes at most.
    pub bytes_max: Option<u64>,
    /// How many messages of one subject it keeps; older ones are removed, whatever else holds.
    pub messages_per_subject_max: Option<u64>,
    /// Where messages are kept.
    pub storage: Storage,
    /// How many servers keep them.
    pub replicas: u8,
    /// How long the server recognises repeated ids of messages. The protocol gives none.
    pub duplicates: Duration,
}

/// What came of making or changing a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was not there.
    Created,
    /// It was there and is another now: what changed, such as `max_msgs 10 → 20`.
    Changed(Vec<String>),
    /// It was there and is as it shall be.
    AsItWas,
}

/// Why a stream is not as it shall be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The change would remove what is stored.
    #[error(
        "lower {setting} of stream {stream} from {from} to {to}: {stored} are stored, and the server would remove what \
         does not fit; let them be read first, so that at most half of the new limit is used"
    )]
    Shrinks {
        /// The stream.
        stream: StreamName,
        /// The limit.
        setting: &'static str,
        /// As it is; none for no limit.
        from: String,
        /// As it would be.
        to: u64,
        /// How much is stored, in the unit of the limit.
        stored: u64,
    },
    /// The server cannot change this of a stream that is there.
    #[error(
        "change {setting} of stream {stream} from {from} to {to}: the server cannot do that while the stream exists; \
         drain the pipeline, delete its buffers and create them anew"
    )]
    Fixed {
        /// The stream.
        stream: StreamName,
        /// The setting.
        setting: &'static str,
        /// As it is.
        from: String,
        /// As it would be.
        to: String,
    },
    /// The stream is one that discards unread messages.
    #[error("use stream {stream}: {} is {}; {}", discards.setting, discards.value, discards.why)]
    Discards {
        /// The stream.
        stream: StreamName,
        /// How.
        discards: Discards,
    },
    /// The stream is not there.
    #[error("find stream {stream}: it does not exist; `tidegate isbsvc create` makes it")]
    Missing {
        /// The stream.
        stream: StreamName,
    },
    /// There are more copies wanted than servers.
    #[error(
        "create stream {stream} with {replicas} replicas: {reason}; run as many servers in a cluster, or set `replicas: 1` \
         in the `stream` section of `bufferConfig`"
    )]
    Replicas {
        /// The stream.
        stream: StreamName,
        /// How many are wanted.
        replicas: u8,
        /// What the server says.
        reason: String,
    },
    /// The server did not do it.
    #[error("{attempted} stream {stream}")]
    Server {
        /// What was attempted, as a verb.
        attempted: &'static str,
        /// The stream.
        stream: StreamName,
        /// What the server says.
        #[source]
        source: Failure,
    },
}

/// A setting under which a server removes what nobody has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discards {
    /// Its name.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// What comes of it.
    pub why: &'static str,
}

impl StreamPlan {
    /// A stream of the layout, with what the user says of all streams.
    pub fn of(spec: &StreamSpec, config: &BufferConfig, replicas: u8) -> Self {
        let StreamSpec { name, subjects, messages_max, bytes_max, messages_per_subject_max, holds } = spec;
        // Who owns what outlives the frames: a stream of frames in memory may be wanted, a forgotten owner never.
        let storage = match holds {
            Holds::Partition { .. } => config.storage,
            Holds::State | Holds::Ids => Storage::File,
        };
        Self {
            name: name.clone(),
            subjects: subjects.clone(),
            messages_max: *messages_max,
            bytes_max: *bytes_max,
            messages_per_subject_max: *messages_per_subject_max,
            storage,
            replicas,
            duplicates: config.duplicates,
        }
    }

    /// A stream in a file on one server that takes everything below its name.
    pub fn bare(name: &str) -> Self {
        Self {
            name: SmolStr::new(name),
            subjects: vec![format!("{name}.>")],
            messages_max: None,
            bytes_max: None,
            messages_per_subject_max: None,
            storage: Storage::File,
            replicas: 1,
            duplicates: BufferConfig::default().duplicates,
        }
    }

    /// The settings as the server has them.
    fn config(&self) -> Map<String, Value> {
        let Self { name, subjects, messages_max, bytes_max, messages_per_subject_max, .. } = self;
        let limit = |limit: &Option<u64>| limit.map_or(json!(-1), Value::from);
        let settings = [
            ("name", json!(name.as_str())),
            ("subjects", json!(subjects)),
            ("retention", json!("limits")),
            ("discard", json!("new")),
            ("max_age", json!(0)),
            ("max_msgs", limit(messages_max)),
            ("max_bytes", limit(bytes_max)),
            ("max_msgs_per_subject", limit(messages_per_subject_max)),
            ("storage", json!(self.storage.name())),
            ("num_replicas", json!(self.replicas)),
            ("duplicate_window", json!(u64::try_from(self.duplicates.as_nanos()).unwrap_or(u64::MAX))),
            // What is asked is asked of the leader.
            ("allow_direct", json!(false)),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Settings that the server cannot change.
const FIXED: [&str; 2] = ["storage", "retention"];
/// Limits in what a stream holds.
const LIMITS: [&str; 2] = ["max_msgs", "max_bytes"];

/// The changes from one configuration to another, by name; refused when one would remove messages.
fn changes(
    stream: &StreamName,
    is: &api::StreamInfo,
    shall: &Map<String, Value>,
) -> Result<Vec<String>, Error> {
    let mut changes = Vec::new();
    for (setting, to) in shall {
        let from = is.config.get(setting).cloned().unwrap_or(Value::Null);
        let unset = from.is_null() && (to == &json!(false) || to == &json!(0));
        if &from == to || unset {
            continue;
        }
        if let Some(setting) = FIXED.into_iter().find(|fixed| fixed == setting) {
            let (from, to) = (from.to_string(), to.to_string());
            return Err(Error::Fixed { stream: stream.clone(), setting, from, to });
        }
        if let Some(setting) = LIMITS.into_iter().find(|limit| limit == setting) {
            check_limit(stream, setting, (&from, to), is)?;
        }
        changes.push(format!("{setting} {from} → {to}"));
    }
    Ok(changes)
}

/// A limit may be lowered while at most half of it is used, so that what is written in the meantime is safe too.
fn check_limit(
    stream: &StreamName,
    setting: &'static str,
    (from, to): (&Value, &Value),
    is: &api::StreamInfo,
) -> Result<(), Error> {
    let Some(to) = to.as_u64() else { return Ok(()) };
    let from = from.as_u64();
    let stored = if setting == "max_msgs" { is.state.messages } else { is.state.bytes };
    if from.is_some_and(|from| from <= to) || stored.saturating_mul(2) <= to {
        return Ok(());
    }
    let from = from.map_or_else(|| "no limit".to_owned(), |from| from.to_string());
    Err(Error::Shrinks { stream: stream.clone(), setting, from, to, stored })
}

/// What of a stream's configuration lets the server remove what nobody has read.
fn discards(config: &Map<String, Value>) -> Option<Discards> {
    let text = |setting: &str| config.get(setting).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (retention, discard) = (text("retention"), text("discard"));
    if retention != "limits" {
        let why =
            "frames are read without acknowledgements, so the server would remove them too early or never";
        return Some(Discards { setting: "retention", value: retention, why });
    }
    if discard != "new" {
        let why = "a full stream would lose its oldest frames instead of making writers wait";
        return Some(Discards { setting: "discard", value: discard, why });
    }
    let age = config.get("max_age").and_then(Value::as_u64).unwrap_or_default();
    let why = "frames that wait longer would be lost, for example during a long pause";
    (age > 0).then(|| Discards {
        setting: "max_age",
        value: format!("{} s", Duration::from_nanos(age).as_secs()),
        why,
    })
}

/// A stream as its leader sees it; `limit` is what a message may hold.
pub(super) async fn info(link: &Link, stream: &str, limit: usize) -> Result<api::StreamInfo, Failure> {
    let info = link.inquire(api::stream("INFO", stream), &json!({}), REQUEST_PATIENCE).await?;
    info.map_err(|refusal: api::Refusal| refusal.failure(stream, limit))
}

/// What the server did not do.
fn server(attempted: &'static str, stream: &StreamName) -> impl FnOnce(Failure) -> Error {
    let stream = stream.clone();
    move |source| Error::Server { attempted, stream, source }
}

impl Nats {
    /// Makes a stream, or changes one that is there into what it shall be. Doing it twice changes nothing, nor does it
    /// when several do it at once.
    pub async fn create_stream(&self, plan: &StreamPlan) -> Result<Made, Error> {
        match self.info(&plan.name).await {
            Ok(info) => return self.change_stream(plan, info).await,
            Err(Failure::NoStream(_)) => {}
            Err(failure) => return Err(server("inspect", &plan.name)(failure)),
        }
        let shall = plan.config();
        let made = self.ask::<api::StreamInfo>(api::stream("CREATE", &plan.name), &shall).await;
        match made.map_err(server("create", &plan.name))? {
            Ok(_) => Ok(Made::Created),
            // Somebody else was first.
            Err(refusal) if refusal.is_name_in_use() => {
                let info = self.info(&plan.name).await.map_err(server("inspect", &plan.name))?;
                self.change_stream(plan, info).await
            }
            Err(refusal) if refusal.text().contains("replicas") => Err(Error::Replicas {
                stream: plan.name.clone(),
                replicas: plan.replicas,
                reason: refusal.text(),
            }),
            Err(refusal) => Err(server("create", &plan.name)(self.refused(&refusal, &plan.name))),
        }
    }

    async fn change_stream(&self, plan: &StreamPlan, is: api::StreamInfo) -> Result<Made, Error> {
        let shall = plan.config();
        let changes = changes(&plan.name, &is, &shall)?;
        if changes.is_empty() {
            return Ok(Made::AsItWas);
        }
        // What else is set stays.
        let mut config = is.config;
        config.extend(shall);
        let changed = self.ask::<api::StreamInfo>(api::stream("UPDATE", &plan.name), &config).await;
        match changed.map_err(server("change", &plan.name))? {
            Ok(_) => Ok(Made::Changed(changes)),
            Err(refusal) => Err(server("change", &plan.name)(self.refused(&refusal, &plan.name))),
        }
    }

    /// Removes a stream and everything in it. Says whether it was there.
    pub async fn delete_stream(&self, stream: &StreamName) -> Result<bool, Error> {
        // Asked only once: whoever asks again hears that it is not there.
        let question = api::question(api::stream("DELETE", stream), &json!({}), REQUEST_PATIENCE);
        let answer = self.link.ask(question).await.map_err(server("delete", stream))?;
        match api::read::<api::Done>(&answer.payload).map_err(server("delete", stream))? {
            Ok(api::Done {}) => Ok(true),
            Err(refusal) if refusal.is_no_stream() => Ok(false),
            Err(refusal) => Err(server("delete", stream)(self.refused(&refusal, stream))),
        }
    }

    /// Whether a stream is there and keeps what is unread; its state.
    pub async fn validate_stream(&self, stream: &StreamName) -> Result<StreamState, Error> {
        let info = match self.info(stream).await {
            Ok(info) => info,
            Err(Failure::NoStream(stream)) => return Err(Error::Missing { stream }),
            Err(failure) => return Err(server("inspect", stream)(failure)),
        };
        if let Some(discards) = discards(&info.config) {
            return Err(Error::Discards { stream: stream.clone(), discards });
        }
        info.state().map_err(server("inspect", stream))
    }

    /// How many servers keep copies: as many as the user says, else three in a cluster and one otherwise.
    pub fn replicas(&self, config: &BufferConfig) -> u8 {
        let replicas_default = || if self.link.client().server_info().cluster.is_some() { 3 } else { 1 };
        config.replicas.unwrap_or_else(replicas_default)
    }
}
