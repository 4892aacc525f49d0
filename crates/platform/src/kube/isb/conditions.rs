//! The status of a buffer service, with its conditions. Pure. Invariant: the time of a condition is when its truth changed,
//! however often it is said again.

use api::names;
use api::spec::status::{
    BufferServiceConfig, InterStepBufferServiceStatus, JetStreamBasicAuth, JetStreamConfig,
    JetStreamConfigAuth,
};
use api::spec::stock::{Condition, SecretKeySelector, Time};

use super::credentials::{CLIENT_PASSWORD, CLIENT_USER};
use super::decide::Health;
use super::servers::Servers;

/// The manifest makes sense.
pub(super) const CONFIGURED: &str = "Configured";
/// Everything that the service consists of was made.
pub(super) const DEPLOYED: &str = "Deployed";
/// The servers can be used.
pub(super) const HEALTHY: &str = "ChildrenResourcesHealthy";
/// Reason and message of a condition about which there is nothing to say.
const SUCCESSFUL: &str = "Successful";
/// The longest message of a condition.
const MESSAGE_CHARS_MAX: usize = 32_768;

/// How far a service has got.
pub(super) enum State<'a> {
    /// The manifest cannot be used.
    Invalid(String),
    /// Nothing can be made yet, for this reason.
    Waiting(&'static str),
    /// A step has failed: the reason, and why.
    Failed(&'static str, String),
    /// Everything was made, and these are the servers; what of the manifest was not done.
    Made(&'a Servers, &'a Health, String),
    /// It shall go, and this is in the way.
    Deleting(String),
}

/// The status, with what it was before.
pub(super) fn status(
    before: &InterStepBufferServiceStatus,
    state: &State<'_>,
    generation: Option<i64>,
    now: &Time,
) -> InterStepBufferServiceStatus {
    let mut status = before.clone();
    status.kind = Some("jetstream".to_owned());
    status.observed_generation = generation;
    let mut conditions = Conditions { known: &mut status.conditions, generation, now };
    let (phase, message) = match state {
        State::Invalid(why) => {
            conditions.set(CONFIGURED, "False", ("InvalidSpec", why));
            ("Failed", why.clone())
        }
        State::Waiting(why) => {
            conditions.set(CONFIGURED, "True", (SUCCESSFUL, SUCCESSFUL));
            conditions.set(DEPLOYED, "False", ("Waiting", why));
            conditions.set(HEALTHY, "False", ("Progressing", why));
            ("Pending", (*why).to_owned())
        }
        State::Failed(reason, why) => {
            conditions.set(CONFIGURED, "True", (SUCCESSFUL, SUCCESSFUL));
            conditions.set(DEPLOYED, "False", (reason, why));
            ("Failed", format!("{reason}: {why}"))
        }
        State::Made(servers, health, refused) => {
            let configured = if refused.is_empty() {
                (SUCCESSFUL, SUCCESSFUL)
            } else {
                ("ChangeRefused", refused.as_str())
            };
            conditions.set(CONFIGURED, "True", configured);
            conditions.set(DEPLOYED, "True", (SUCCESSFUL, SUCCESSFUL));
            let words = if health.message.is_empty() { "all servers are ready" } else { &health.message };
            conditions.set(HEALTHY, if health.is_good { "True" } else { "False" }, (health.reason, words));
            status.config = Some(config(servers));
            let said = [("ChangeRefused", refused), (health.reason, &health.message)];
            let said = said.iter().filter(|(_, message)| !message.is_empty());
            let said: Vec<String> = said.map(|(reason, message)| format!("{reason}: {message}")).collect();
            ("Running", said.join("; "))
        }
        State::Deleting(why) => ("Deleting", why.clone()),
    };
    status.phase = Some(phase.to_owned());
    status.message = Some(message);
    status
}

struct Conditions<'a> {
    known: &'a mut Vec<Condition>,
    generation: Option<i64>,
    now: &'a Time,
}

impl Conditions<'_> {
    fn set(&mut self, name: &str, truth: &str, (reason, message): (&str, &str)) {
        let before = self.known.iter().position(|condition| condition.type_ == name);
        let before = before.map(|index| self.known.remove(index));
        let same = before.filter(|condition| condition.status == truth);
        let since = same.map_or_else(|| self.now.clone(), |condition| condition.last_transition_time);
        self.known.push(Condition {
            type_: name.to_owned(),
            status: truth.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            observed_generation: self.generation,
            last_transition_time: since,
        });
        self.known.sort_by(|one, other| one.type_.cmp(&other.type_));
    }
}

/// How clients reach the service.
fn config(servers: &Servers) -> BufferServiceConfig {
    let secret = |key: &str| SecretKeySelector {
        name: names::isb_client_secret(&servers.name),
        key: key.to_owned(),
        optional: None,
    };
    BufferServiceConfig {
        jetstream: Some(JetStreamConfig {
            url: Some(names::isb_url(&servers.namespace, &servers.name)),
            auth: Some(JetStreamConfigAuth {
                basic: Some(JetStreamBasicAuth {
                    user: Some(secret(CLIENT_USER)),
                    password: Some(secret(CLIENT_PASSWORD)),
                }),
            }),
            stream_config: Some(servers.stream_config.clone()),
            tls_enabled: Some(servers.has_tls()),
        }),
    }
}
