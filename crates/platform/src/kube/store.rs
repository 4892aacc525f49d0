//! What is known of the cluster: everything that belongs to our objects, as watches deliver it, kept by object, so that
//! the loop of one looks at its own things alone. Invariant: nothing here is ever newer than the API server said, and
//! until every kind was listed once nothing is given out, because what was not seen would be made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use api::spec::{InterStepBufferServiceSpec, MonoVertexSpec, PipelineSpec, VertexSpec};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::client::Client;
use super::names::{Key, MONO_VERTEX_LABEL, ObjectKind, PART_OF, PIPELINE_LABEL};

/// Objects in one answer to a list.
const PAGE: u32 = 200;

/// Everything that is known of one object and what was made for it, by name.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The object; none when it is gone or was never there.
    pub object: Option<Arc<DynamicObject>>,
    /// Its `Vertex` objects.
    pub vertices: BTreeMap<String, Arc<DynamicObject>>,
    /// Its pods, those of its daemon included.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// Its services.
    pub services: BTreeMap<String, Arc<Service>>,
    /// Its deployments.
    pub deployments: BTreeMap<String, Arc<Deployment>>,
    /// Its jobs.
    pub jobs: BTreeMap<String, Arc<Job>>,
    /// Its disruption budgets.
    pub budgets: BTreeMap<String, Arc<PodDisruptionBudget>>,
}

impl Scope {
    fn is_empty(&self) -> bool {
        let Self { object, vertices, pods, services, deployments, jobs, budgets } = self;
        object.is_none()
            && vertices.is_empty()
            && pods.is_empty()
            && services.is_empty()
            && deployments.is_empty()
            && jobs.is_empty()
            && budgets.is_empty()
    }
}

#[derive(Default)]
struct Slot {
    scope: Scope,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    slots: BTreeMap<Key, Slot>,
    /// By namespace and name.
    services: BTreeMap<(String, String), Arc<DynamicObject>>,
}

/// What is known of a cluster.
pub struct Store {
    inner: Mutex<Inner>,
    /// Kinds that were not listed yet.
    missing: watch::Sender<BTreeSet<&'static str>>,
    /// Told when an object comes or goes.
    objects: watch::Sender<u64>,
}

/// Kinds that are watched.
const KINDS: [&str; 9] = [
    "Pipeline",
    "MonoVertex",
    "Vertex",
    "InterStepBufferService",
    "Pod",
    "Service",
    "Deployment",
    "Job",
    "PodDisruptionBudget",
];

impl Store {
    /// With watches of a namespace, or of all of them, as tasks of the set.
    pub fn start(client: &Client, namespace: Option<&str>, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let store = Arc::new(Self {
            inner: Mutex::default(),
            missing: watch::Sender::new(KINDS.into()),
            objects: watch::Sender::new(0),
        });
        for (kind, resource) in [
            ("Pipeline", ApiResource::erase::<api::Resource<PipelineSpec>>(&())),
            ("MonoVertex", ApiResource::erase::<api::Resource<MonoVertexSpec>>(&())),
            ("Vertex", ApiResource::erase::<api::Resource<VertexSpec>>(&())),
            ("InterStepBufferService", ApiResource::erase::<api::Resource<InterStepBufferServiceSpec>>(&())),
        ] {
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            tasks.spawn(Arc::clone(&store).follow(kind, api, watcher::Config::default()));
        }
        store.follow_made::<Pod>("Pod", client, namespace, tasks);
        store.follow_made::<Service>("Service", client, namespace, tasks);
        store.follow_made::<Deployment>("Deployment", client, namespace, tasks);
        store.follow_made::<Job>("Job", client, namespace, tasks);
        store.follow_made::<PodDisruptionBudget>("PodDisruptionBudget", client, namespace, tasks);
        store
    }

    fn follow_made<K>(
        self: &Arc<Self>,
        kind: &'static str,
        client: &Client,
        namespace: Option<&str>,
        tasks: &mut JoinSet<()>,
    ) where
        K: Watched + kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let (part_of, ours) = PART_OF;
        let config = watcher::Config::default().labels(&format!("{part_of}={ours}"));
        tasks.spawn(Arc::clone(self).follow(kind, api, config));
    }

    /// Follows one kind for ever.
    async fn follow<K>(self: Arc<Self>, kind: &'static str, api: Api<K>, config: watcher::Config)
    where
        K: Watched + kube::Resource + Clone + Debug + DeserializeOwned,
    {
        let mut stream = Box::pin(watcher(api, config.page_size(PAGE)).default_backoff());
        let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed = BTreeSet::new(),
                Ok(Event::InitApply(object)) => {
                    listed.extend(self.put(kind, object));
                }
                Ok(Event::InitDone) => {
                    for (key, name) in known.difference(&listed) {
                        self.remove::<K>(kind, key, name);
                    }
                    known = std::mem::take(&mut listed);
                    self.missing.send_if_modified(|missing| missing.remove(kind));
                }
                Ok(Event::Apply(object)) => known.extend(self.put(kind, object)),
                Ok(Event::Delete(object)) => {
                    if let Some(key) = K::key(kind, object.meta()) {
                        let name = object.meta().name.clone().unwrap_or_default();
                        self.remove::<K>(kind, &key, &name);
                        known.remove(&(key, name));
                    }
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(kind, error = %super::chain(error), "the watch broke and is taken up again");
                }
            }
        }
    }

    fn put<K: Watched + kube::Resource>(&self, kind: &'static str, mut object: K) -> Option<(Key, String)> {
        let key = K::key(kind, object.meta())?;
        let name = object.meta().name.clone()?;
        if kind != "Vertex" && kind != "MonoVertex" {
            // Nobody asks who wrote what, and it is most of what a watch holds.
            object.meta_mut().managed_fields = None;
        }
        let object = Arc::new(object);
        self.change(kind, &key, |inner| K::set(inner, kind, (&key, &name), Some(object)));
        Some((key, name))
    }

    fn remove<K: Watched>(&self, kind: &'static str, key: &Key, name: &str) {
        self.change(kind, key, |inner| K::set(inner, kind, (key, name), None));
    }

    fn change(&self, kind: &'static str, key: &Key, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut inner);
        if kind == "InterStepBufferService" {
            // Whoever uses it may have waited for it.
            let same = inner.slots.iter().filter(|(other, _)| other.namespace == key.namespace);
            same.for_each(|(_, slot)| slot.changed.notify_one());
        } else if let Some(slot) = inner.slots.get(key) {
            slot.changed.notify_one();
        }
        let is_object = matches!(kind, "Pipeline" | "MonoVertex");
        if is_object {
            // Of all the changes these are few; what is left of an object may go when the next one comes.
            inner.slots.retain(|_, slot| !slot.scope.is_empty() || Arc::strong_count(&slot.changed) > 1);
        }
        drop(inner);
        if is_object {
            self.objects.send_modify(|count| *count += 1);
        }
    }

    /// Returns when every kind was listed once.
    pub async fn listed(&self) {
        let mut missing = self.missing.subscribe();
        // The sender lives as long as this does.
        drop(missing.wait_for(BTreeSet::is_empty).await);
    }

    /// Changes when an object comes, goes or is edited.
    pub fn objects(&self) -> watch::Receiver<u64> {
        self.objects.subscribe()
    }

    /// Every object there is.
    pub fn keys(&self) -> Vec<Key> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let there = inner.slots.iter().filter(|(_, slot)| slot.scope.object.is_some());
        there.map(|(key, _)| key.clone()).collect()
    }

    /// Everything that is known of an object.
    pub fn scope(&self, key: &Key) -> Scope {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.slots.get(key).map(|slot| slot.scope.clone()).unwrap_or_default()
    }

    /// Is told whenever something of an object changes.
    pub fn changed(&self, key: &Key) -> Arc<Notify> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&inner.slots.entry(key.clone()).or_default().changed)
    }

    /// A buffer service.
    pub fn buffer_service(&self, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.services.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }
}

/// A kind that is watched.
trait Watched: Send + Sync + Sized + 'static {
    /// The object that something belongs to; none when it is none of ours.
    fn key(kind: &'static str, meta: &ObjectMeta) -> Option<Key>;
    /// Puts it in its place, or takes it out.
    fn set(inner: &mut Inner, kind: &'static str, place: (&Key, &str), object: Option<Arc<Self>>);
}

impl Watched for DynamicObject {
    fn key(kind: &'static str, meta: &ObjectMeta) -> Option<Key> {
        let object = match kind {
            "MonoVertex" => ObjectKind::MonoVertex,
            "Vertex" => return owner_by_label(meta),
            _ => ObjectKind::Pipeline,
        };
        Some(Key { namespace: meta.namespace.clone()?, kind: object, name: meta.name.clone()? })
    }

    fn set(inner: &mut Inner, kind: &'static str, (key, name): (&Key, &str), object: Option<Arc<Self>>) {
        match kind {
            "InterStepBufferService" => {
                let place = (key.namespace.clone(), name.to_owned());
                match object {
                    Some(object) => inner.services.insert(place, object),
                    None => inner.services.remove(&place),
                };
            }
            "Vertex" => put(&mut inner.slots.entry(key.clone()).or_default().scope.vertices, name, object),
            _ => inner.slots.entry(key.clone()).or_default().scope.object = object,
        }
    }
}

macro_rules! made {
    ($($kind:ty => $field:ident;)*) => {$(
        impl Watched for $kind {
            fn key(_: &'static str, meta: &ObjectMeta) -> Option<Key> {
                owner_by_label(meta)
            }

            fn set(inner: &mut Inner, _: &'static str, (key, name): (&Key, &str), object: Option<Arc<Self>>) {
                put(&mut inner.slots.entry(key.clone()).or_default().scope.$field, name, object);
            }
        }
    )*};
}

made! {
    Pod => pods;
    Service => services;
    Deployment => deployments;
    Job => jobs;
    PodDisruptionBudget => budgets;
}

fn put<T>(all: &mut BTreeMap<String, Arc<T>>, name: &str, object: Option<Arc<T>>) {
    match object {
        Some(object) => all.insert(name.to_owned(), object),
        None => all.remove(name),
    };
}

/// Whose something is, by its labels.
fn owner_by_label(meta: &ObjectMeta) -> Option<Key> {
    let labels = meta.labels.as_ref()?;
    let of = |kind, label: &str| {
        let name = labels.get(label)?.clone();
        Some(Key { namespace: meta.namespace.clone()?, kind, name })
    };
    of(ObjectKind::Pipeline, PIPELINE_LABEL).or_else(|| of(ObjectKind::MonoVertex, MONO_VERTEX_LABEL))
}
