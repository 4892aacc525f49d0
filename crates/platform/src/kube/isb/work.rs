//! One round for one buffer service: look, decide, act, say. Invariant: the status is written last and says what was seen
//! and done in this very round.

use std::collections::BTreeMap;
use std::time::Duration;

use api::names;
use api::spec::status::InterStepBufferServiceStatus;
use api::spec::stock::Time;
use api::{Checked, InterStepBufferService};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, ObjectReference, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::Serialize;
use serde_json::{Value, json};

use super::conditions::{HEALTHY, State, status};
use super::credentials;
use super::decide::{self, Health, Look, Member, Replacement, Shape};
use super::reconcile::{Context, key};
use super::render::{self, SERVICE_LABEL};
use super::servers::Servers;
use crate::kube::act;
use crate::kube::names::INSTANCE;
use crate::kube::object::{trouble, unscheduled};

/// What we look after.
const KIND: &str = "InterStepBufferService";
/// Keeps a deleted service until nothing uses it.
const FINALIZER: &str = "numaflow.numaproj.io/isbsvc-controller";
/// What releases of long ago called it.
const FINALIZER_OLD: &str = "isbsvc-controller";
/// What cannot change of the servers that there are.
const SHAPE_ANNOTATION: &str = "tidegate.io/shape";
/// Which of its lives the secret of the servers is in.
const SECRET_ANNOTATION: &str = "tidegate.io/server-secret";
/// How often it is looked whether a service that shall go is still used.
const USED_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked why a server is missing.
const MISSING_EVERY: Duration = Duration::from_secs(5);
/// How old an event may be that says why; it is repeated while it is so.
const REFUSED_WITHIN: Duration = Duration::from_mins(2);
/// Pipelines in one answer to a list.
const PAGE: u32 = 200;
/// Names that are said at most.
const NAMED_MAX: usize = 5;

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A request failed.
    #[error(transparent)]
    Act(#[from] act::Error),
    /// The credentials could not be made.
    #[error("make the credentials of the servers")]
    Credentials(#[source] credentials::Error),
}

/// One round; when to look again, if nothing is heard before.
pub(super) async fn round(object: &DynamicObject, context: &Context) -> Result<Option<Duration>, Error> {
    let config = context.config.borrow().clone();
    let instance = object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(INSTANCE));
    if instance.map_or("", String::as_str) != config.instance {
        return Ok(None);
    }
    let round = Round { object, context };
    if object.metadata.deletion_timestamp.is_some() {
        return round.delete().await;
    }
    round.finalizers(true).await?;
    let service = match checked(object) {
        Ok(service) => service,
        Err(why) => return round.say(&State::Invalid(why)).await.map(|()| None),
    };
    let servers = match Servers::of(&service, &config) {
        Ok(servers) => servers,
        Err(error) => return round.say(&State::Invalid(crate::kube::chain(&error))).await.map(|()| None),
    };
    Box::pin(round.make(servers)).await
}

/// The service, if its manifest is good.
fn checked(object: &DynamicObject) -> Result<Checked<InterStepBufferService>, String> {
    let manifest = json!({
        "apiVersion": api::API_VERSION,
        "kind": KIND,
        "metadata": {"name": object.metadata.name, "namespace": object.metadata.namespace},
        "spec": object.data["spec"],
    });
    let loaded = api::load([("", manifest.to_string().as_bytes())]);
    let words = |complaints: &[api::Complaint]| {
        let errors = complaints.iter().filter(|complaint| complaint.is_error());
        errors.map(|error| format!("{}: {}", error.path, error.message)).collect::<Vec<_>>().join("; ")
    };
    match loaded.accept() {
        Ok((objects, complaints)) => match objects.into_iter().next() {
            Some(api::Object::InterStepBufferService(service)) => Ok(*service),
            _ => Err(words(&complaints)),
        },
        Err(complaints) => Err(words(&complaints)),
    }
}

struct Round<'a> {
    object: &'a DynamicObject,
    context: &'a Context,
}

impl Round<'_> {
    fn namespace(&self) -> &str {
        self.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: api::API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Makes everything the service consists of, takes the next step of an update, and says how it is.
    async fn make(&self, mut servers: Servers) -> Result<Option<Duration>, Error> {
        let set: Option<StatefulSet> =
            self.context.hands.get(self.namespace(), &names::isb_stateful_set(self.name())).await?;
        if let Some(left) = set.as_ref().filter(|set| is_left(&set.metadata, self.uid())) {
            return self.clear(left).await;
        }
        let there = set.as_ref().and_then(shape_of);
        let mut said = there.map(|there| decide::keep(&mut servers, &there)).unwrap_or_default();
        let set = match self.apply(&servers).await {
            Ok(set) => set,
            Err((reason, error)) => {
                self.say(&State::Failed(reason, crate::kube::chain(&error))).await?;
                return Err(error);
            }
        };
        let mut look = self.look(&set).await?;
        if servers.forgets()
            && look.members.iter().any(|member| Some(&member.revision) != look.revision.as_ref())
        {
            look.users = self.users().await?;
        }
        let replacement = decide::replacement(&servers, &look);
        let health = decide::health(&servers, &look, &replacement);
        if let Replacement::Replace(member) = &replacement {
            let uid = Some(member.uid.as_str());
            self.context.hands.delete::<Pod>(self.namespace(), (&member.pod, uid), None).await?;
            self.event(plan::Severity::Normal, "ServerReplaced", &format!("{} is made anew", member.pod));
        }
        self.tell(&health);
        said.extend(servers.warnings.iter().cloned());
        self.say(&State::Made(&servers, &health, said.join("; "))).await?;
        // Nobody tells when an event comes that says why a server is missing.
        Ok((look.members.len() < servers.replicas as usize).then_some(MISSING_EVERY))
    }

    /// Removes the servers of a service that had this name before. What they kept is none of this one's.
    async fn clear(&self, left: &StatefulSet) -> Result<Option<Duration>, Error> {
        if left.metadata.deletion_timestamp.is_none() {
            let name = left.metadata.name.as_deref().unwrap_or_default();
            let life = (name, left.metadata.uid.as_deref());
            self.context.hands.delete::<StatefulSet>(self.namespace(), life, None).await?;
        }
        let why = "waits until the servers of the service that had this name before are gone";
        self.say(&State::Waiting(why)).await?;
        Ok(Some(MISSING_EVERY))
    }

    /// Makes every object what it should be; a failure comes with the reason of its condition.
    async fn apply(&self, servers: &Servers) -> Result<StatefulSet, (&'static str, Error)> {
        let (hands, namespace, owner) = (&self.context.hands, self.namespace(), self.owner());
        let failed = |reason: &'static str| move |error: act::Error| (reason, Error::from(error));
        let secret =
            self.secrets(servers, &owner).await.map_err(|error| ("JetStreamAuthSecretsFailed", error))?;
        let map = plain(&render::config_map(servers, &owner));
        hands.apply::<ConfigMap>(namespace, &map).await.map_err(failed("JetStreamConfigMapFailed"))?;
        let service = plain(&render::service(servers, &owner));
        hands.apply::<Service>(namespace, &service).await.map_err(failed("JetStreamServiceFailed"))?;
        let set_failed = failed("JetStreamStatefulSetFailed");
        if let Some(budget) = render::disruption_budget(servers, &owner) {
            hands.apply::<PodDisruptionBudget>(namespace, &plain(&budget)).await.map_err(&set_failed)?;
        }
        let mut set = plain(&render::stateful_set(servers, &owner));
        set["metadata"]["annotations"][SHAPE_ANNOTATION] = json!(json!(Shape::of(servers)).to_string());
        set["spec"]["template"]["metadata"]["annotations"][SECRET_ANNOTATION] = json!(secret);
        hands.apply::<StatefulSet>(namespace, &set).await.map_err(set_failed)
    }

    /// Makes the two secrets if they are not there, and says which life the servers' is in. One without the other is of
    /// no use, and neither are those of a service that had this name before, which are about to be removed: both are made
    /// again, and the servers with them.
    async fn secrets(&self, servers: &Servers, owner: &OwnerReference) -> Result<String, Error> {
        let hands = &self.context.hands;
        let namespace = self.namespace();
        let server_name = names::isb_server_secret(self.name());
        let client_name = names::isb_client_secret(self.name());
        let server: Option<Secret> = hands.get(namespace, &server_name).await?;
        let client: Option<Secret> = hands.get(namespace, &client_name).await?;
        let is_ours = |found: &Secret| !is_left(&found.metadata, self.uid());
        let known = match (server, client) {
            (Some(server), Some(client)) if is_ours(&server) && is_ours(&client) => server.metadata.uid,
            (server, client) => {
                for (found, name) in [(server, &server_name), (client, &client_name)] {
                    if let Some(found) = found {
                        let uid = found.metadata.uid.as_deref();
                        hands.delete::<Secret>(namespace, (name, uid), None).await?;
                    }
                }
                let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
                let made = credentials::make(namespace, self.name(), today).map_err(Error::Credentials)?;
                let server = render::secret(servers, (server_name, made.server), owner);
                let server: Secret = hands.create(namespace, &server).await?;
                let client = render::secret(servers, (client_name, made.client), owner);
                hands.create(namespace, &client).await?;
                server.metadata.uid
            }
        };
        Ok(known.unwrap_or_default())
    }

    async fn look(&self, set: &StatefulSet) -> Result<Look, Error> {
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), self.namespace());
        let params = ListParams::default().labels(&format!("{SERVICE_LABEL}={}", self.name()));
        let pods = act::within(format!("list the pods of {}", self.name()), pods.list(&params)).await?;
        let set_status = set.status.as_ref();
        let has_seen = set_status.and_then(|status| status.observed_generation) >= set.metadata.generation;
        let revision = set_status.and_then(|status| status.update_revision.clone()).filter(|_| has_seen);
        let prefix = format!("{}-", names::isb_stateful_set(self.name()));
        let mut members: Vec<Member> = pods.items.iter().filter_map(|pod| member(pod, &prefix)).collect();
        members.sort_by_key(|member| member.ordinal);
        let before = before(self.object);
        let known = before.conditions.iter().find(|condition| condition.type_ == HEALTHY);
        let reason = known.map_or("Unknown", |condition| condition.reason.as_str());
        let has_worked = !["Progressing", "Unknown"].contains(&reason);
        let was_updating = reason == "Updating";
        let wanted = set.spec.replicas.unwrap_or(1);
        let is_short = members.len() < usize::try_from(wanted).unwrap_or(0);
        let refused = if is_short { self.refused().await? } else { None };
        Ok(Look { revision, members, has_worked, was_updating, refused, users: Vec::new() })
    }

    /// Why the set does not make a server: quotas and rules of the namespace speak through its events alone.
    async fn refused(&self) -> Result<Option<String>, Error> {
        let events: Api<Event> = Api::namespaced(self.context.client.clone(), self.namespace());
        let set = names::isb_stateful_set(self.name());
        let about = format!("involvedObject.kind=StatefulSet,involvedObject.name={set},reason=FailedCreate");
        let params = ListParams::default().fields(&about).limit(PAGE);
        let found = act::within(format!("list the events of {set}"), events.list(&params)).await?;
        let since = Timestamp::now().checked_sub(REFUSED_WITHIN).unwrap_or(Timestamp::MIN);
        let last = found
            .items
            .into_iter()
            .filter(|event| event.last_timestamp.as_ref().is_some_and(|at| at.0 > since))
            .max_by_key(|event| event.last_timestamp.as_ref().map(|at| at.0));
        Ok(last.and_then(|event| event.message))
    }

    /// Pipelines that use the service.
    async fn users(&self) -> Result<Vec<String>, Error> {
        let mut users = Vec::new();
        for (resource, path) in [
            (ApiResource::erase::<api::Pipeline>(&()), "/interStepBufferServiceName"),
            (ApiResource::erase::<api::ServingPipeline>(&()), "/pipeline/interStepBufferServiceName"),
        ] {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.context.client.clone(), self.namespace(), &resource);
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let doing = format!("list the pipelines that use {}", self.name());
                let page = act::within(doing, api.list(&params)).await?;
                for object in page.items {
                    let named = object.data["spec"].pointer(path).and_then(Value::as_str);
                    if named.filter(|name| !name.is_empty()).unwrap_or("default") == self.name() {
                        users.extend(object.metadata.name);
                    }
                }
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => break,
                }
            }
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// Lets a service go that nothing uses.
    async fn delete(&self) -> Result<Option<Duration>, Error> {
        if !self.finalizers_of_ours() {
            return Ok(None);
        }
        let users = self.users().await?;
        if users.is_empty() {
            self.finalizers(false).await?;
            self.context.is_gone(&key(self.object));
            return Ok(None);
        }
        let more = users.len().saturating_sub(NAMED_MAX);
        let mut named = users.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        if more > 0 {
            named = format!("{named} and {more} more");
        }
        let why = format!("the service cannot go while pipelines use it: {named}; delete them first");
        if before(self.object).message.as_deref() != Some(why.as_str()) {
            self.event(plan::Severity::Warning, "DeletionRefused", &why);
        }
        self.say(&State::Deleting(why)).await?;
        Ok(Some(USED_EVERY))
    }

    fn finalizers_of_ours(&self) -> bool {
        let finalizers = self.object.metadata.finalizers.as_deref().unwrap_or_default();
        finalizers.iter().any(|finalizer| [FINALIZER, FINALIZER_OLD].contains(&finalizer.as_str()))
    }

    /// Puts our finalizer on, or takes it off; that of releases of long ago always goes.
    async fn finalizers(&self, is_wanted: bool) -> Result<(), Error> {
        let known = self.object.metadata.finalizers.clone().unwrap_or_default();
        let ours = [FINALIZER, FINALIZER_OLD];
        let mut wanted: Vec<String> =
            known.iter().filter(|finalizer| !ours.contains(&finalizer.as_str())).cloned().collect();
        if is_wanted {
            wanted.push(FINALIZER.to_owned());
        }
        let is_so = known.len() == wanted.len() && wanted.iter().all(|finalizer| known.contains(finalizer));
        if is_so {
            return Ok(());
        }
        // Somebody else's finalizer that came meanwhile would be lost; with the version, the request is refused instead.
        let version = &self.object.metadata.resource_version;
        let patch = json!({"metadata": {"finalizers": wanted, "resourceVersion": version}});
        let place = (self.namespace(), self.name());
        match self.context.hands.merge_own(&self.context.resource, place, &patch).await {
            Err(error) if !is_wanted && error.is_not_found() => Ok(()),
            outcome => Ok(outcome.map(drop)?),
        }
    }

    /// Writes the status if it is another one.
    async fn say(&self, state: &State<'_>) -> Result<(), Error> {
        let before = before(self.object);
        let now = Time(Timestamp::now());
        let after = status(&before, state, self.object.metadata.generation, &now);
        if after == before {
            return Ok(());
        }
        let place = (self.namespace(), self.name());
        Ok(self.context.hands.say(&self.context.resource, place, &json!(after)).await?)
    }

    /// Says once that the servers have become better or worse.
    fn tell(&self, health: &Health) {
        let before = before(self.object);
        let known = before.conditions.iter().find(|condition| condition.type_ == HEALTHY);
        let is_known = known.is_some_and(|condition| condition.reason == health.reason);
        // Of the status that was written last, the watch may not have told yet.
        if self.context.is_told(&key(self.object), health.reason) || is_known {
            return;
        }
        let severity = match health.reason {
            "Healthy" | "Progressing" | "Updating" => plan::Severity::Normal,
            _ => plan::Severity::Warning,
        };
        let words = if health.message.is_empty() { "all servers are ready" } else { &health.message };
        self.event(severity, &format!("Servers{}", health.reason), words);
    }

    fn event(&self, severity: plan::Severity, reason: &str, message: &str) {
        let (namespace, name) = key(self.object);
        let about = ObjectReference {
            api_version: Some(api::API_VERSION.to_owned()),
            kind: Some(KIND.to_owned()),
            name: Some(name),
            namespace: Some(namespace),
            uid: self.object.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        let event = plan::Event {
            severity,
            about: String::new(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        self.context.events.say_about(about, &event);
    }
}

fn plain<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("objects of Kubernetes are plain data")
}

/// The status that the object carries; what cannot be read of it is as if it were not there.
fn before(object: &DynamicObject) -> InterStepBufferServiceStatus {
    let status = object.data.get("status").cloned();
    status.and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default()
}

/// Whether something was made for another service, which had the same name and is gone.
fn is_left(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.kind == KIND && owner.uid != uid)
}

fn shape_of(set: &StatefulSet) -> Option<Shape> {
    let annotations: &BTreeMap<String, String> = set.metadata.annotations.as_ref()?;
    serde_json::from_str(annotations.get(SHAPE_ANNOTATION)?).ok()
}

fn member(pod: &Pod, prefix: &str) -> Option<Member> {
    let metadata = &pod.metadata;
    let name = metadata.name.clone()?;
    let ordinal = name.strip_prefix(prefix)?.parse().ok()?;
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_ready =
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let labels = metadata.labels.as_ref();
    Some(Member {
        uid: metadata.uid.clone().unwrap_or_default(),
        ordinal,
        revision: labels
            .and_then(|labels| labels.get("controller-revision-hash"))
            .cloned()
            .unwrap_or_default(),
        is_ready,
        is_ending: metadata.deletion_timestamp.is_some(),
        trouble: status.and_then(|status| trouble(status).or_else(|| unscheduled(status))),
        pod: name,
    })
}
