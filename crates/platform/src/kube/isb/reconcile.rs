//! Looks after every buffer service of a cluster: each change of one, or of anything it consists of, leads to one look, one
//! decision and one round of acting. Invariant: every step can be done again; what failed is tried again later and later,
//! for that service alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use tokio::sync::watch;

use super::render::{COMPONENT, SERVICE_LABEL};
use super::work;
use crate::kube::act::Hands;
use crate::kube::client::Client;
use crate::kube::config::Config;
use crate::kube::events::Events;
use crate::kube::names::COMPONENT_LABEL;

/// How soon a service that failed is looked at again, at first and at last.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_mins(1);
/// How often a service is looked at although nothing was heard of it.
const LOOK_EVERY: Duration = Duration::from_mins(5);
/// Services that are looked at side by side.
const AT_ONCE: u16 = 8;
/// Objects in one answer to a list.
const PAGE: u32 = 200;

/// Everything that looking after buffer services needs.
pub struct Setup {
    /// Whom to ask.
    pub client: Client,
    /// The one namespace; none for all.
    pub namespace: Option<String>,
    /// What the operator sets.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where events go.
    pub events: Events,
}

/// What every round of every service uses.
pub(super) struct Context {
    pub(super) hands: Hands,
    pub(super) client: Client,
    pub(super) resource: ApiResource,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) events: Events,
    /// How often the present trouble of a service was met, by namespace and name.
    failures: Mutex<HashMap<(String, String), u32>>,
    /// What was said last about the servers of a service, likewise.
    told: Mutex<HashMap<(String, String), &'static str>>,
}

/// Looks after the services until nobody polls it any more.
pub async fn run(setup: Setup) {
    let Setup { client, namespace, config, events } = setup;
    let resource = ApiResource::erase::<api::InterStepBufferService>(&());
    let services: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let ours = watcher::Config::default().labels(&format!("{COMPONENT_LABEL}={COMPONENT}")).page_size(PAGE);
    let changes = futures::stream::unfold(config.clone(), |mut config| async {
        config.changed().await.ok()?;
        Some(((), config))
    });
    let context = Arc::new(Context {
        hands: Hands::new(client.clone()),
        client: client.clone(),
        resource: resource.clone(),
        config,
        events,
        failures: Mutex::default(),
        told: Mutex::default(),
    });
    let scoped = Scoped { client, namespace };
    let kind = resource.clone();
    let pods = move |pod: Pod| {
        let labels = pod.metadata.labels.unwrap_or_default();
        let service = labels.get(SERVICE_LABEL).cloned().zip(pod.metadata.namespace);
        service.map(|(name, namespace)| ObjectRef::new_with(&name, kind.clone()).within(&namespace))
    };
    Controller::new_with(services, watcher::Config::default().page_size(PAGE), resource)
        .with_config(kube::runtime::Config::default().concurrency(AT_ONCE))
        .owns(scoped.api::<StatefulSet>(), ours.clone())
        .owns(scoped.api::<ConfigMap>(), ours.clone())
        .owns(scoped.api::<Service>(), ours.clone())
        .owns(scoped.api::<PodDisruptionBudget>(), ours.clone())
        .watches(scoped.api::<Pod>(), ours, pods)
        // The stream ends with its sender, and with it the controller, which is never before the process does.
        .reconcile_all_on(changes.chain(futures::stream::pending()))
        .run(round, again, context)
        .for_each(|outcome| async move {
            if let Err(error) = outcome
                && !matches!(error, kube::runtime::controller::Error::ReconcilerFailed(..))
            {
                tracing::debug!(error = %crate::kube::chain(&error), "a watch of buffer services was taken up again");
            }
        })
        .await;
}

struct Scoped {
    client: Client,
    namespace: Option<String>,
}

impl Scoped {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

async fn round(service: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, work::Error> {
    let next = Box::pin(work::round(&service, &context)).await?;
    context.forget(&service);
    Ok(Action::requeue(next.unwrap_or(LOOK_EVERY)))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the library's")]
fn again(service: Arc<DynamicObject>, error: &work::Error, context: Arc<Context>) -> Action {
    let (namespace, name) = key(&service);
    let count = {
        let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry((namespace.clone(), name.clone())).or_default();
        *count = count.saturating_add(1);
        *count
    };
    let pause = RETRY.saturating_mul(2_u32.saturating_pow(count.min(16) - 1)).min(RETRY_MAX);
    tracing::warn!(
        namespace,
        service = name,
        attempt = count,
        error = %crate::kube::chain(error),
        "the round of a buffer service failed and is tried again"
    );
    Action::requeue(pause)
}

impl Context {
    /// Whether this is what was said last; it is remembered as said.
    pub(super) fn is_told(&self, key: &(String, String), reason: &'static str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(key.clone(), reason) == Some(reason)
    }

    /// Forgets a service that goes.
    pub(super) fn is_gone(&self, key: &(String, String)) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn forget(&self, service: &DynamicObject) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(service));
    }
}

/// Namespace and name.
pub(super) fn key(service: &DynamicObject) -> (String, String) {
    let metadata = &service.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
