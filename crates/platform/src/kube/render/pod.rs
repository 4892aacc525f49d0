//! The pod of one worker: our container beside the user's, as the reference lays them out. Invariant: everything in a pod
//! comes from the manifest of its own revision, so that a pod of an older revision is made again as it was.

use std::collections::BTreeMap;

use api::resolve::{VertexKind, VertexSettings};
use api::spec::stock::ObjectMeta;
use api::spec::{ContainerTemplate, Metadata, PodTemplate, Sink, Source};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, Volume, VolumeMount};
use plan::seen::WorkerName;
use serde_json::{Value, json};

use super::{
    Owner, Scene, bare, bare_mono_vertex, bare_pipeline, container, env, metadata, probe, security, vertex,
    volume,
};
use crate::kube::names::{self, DAEMON_PORT, Key, METRICS_PORT, NUMA, ObjectKind, RUNTIME_PORT};
use crate::local::engine::Object;
use crate::local::program::{self, UserContainer};

/// Probes in seconds: the first wait, the period, the time for an answer, failures.
const READINESS: (i32, i32, i32, i32) = (0, 1, 5, 10);
const LIVENESS: (i32, i32, i32, i32) = (20, 60, 30, 5);
/// What a worker has to finish what is in hand.
const GRACE_SECONDS: i64 = 30;
/// Which container kubectl means in a pod of a pipeline, the first that there is; in others it is ours.
const DEFAULT_CONTAINERS: [&str; 6] = ["udf", "udsink", "udsource", "transformer", "fb-udsink", "ons-udsink"];

/// The pod of one worker.
pub struct Worker<'a> {
    /// Its vertex.
    pub vertex: &'a str,
    /// Which worker.
    pub name: &'a WorkerName,
    /// What makes the pod's name its own: five small letters and digits.
    pub suffix: &'a str,
}

/// What the manifest says about the pods of a vertex, whichever kind it is of.
struct Part {
    pod: PodTemplate,
    numa: Option<ContainerTemplate>,
    volumes: Vec<Volume>,
    init_containers: Vec<Container>,
    sidecars: Vec<Container>,
    source: Option<Box<Source>>,
    sink: Option<Box<Sink>>,
    limits: Value,
    users: Vec<UserContainer>,
}

/// Labels of the pods of a vertex and of what selects them.
pub fn selector(key: &Key, vertex: &str) -> BTreeMap<String, String> {
    match key.kind {
        ObjectKind::Pipeline => {
            let mut labels = super::labels(key, "vertex-controller", "vertex");
            labels.insert(names::VERTEX_LABEL.to_owned(), vertex.to_owned());
            labels
        }
        ObjectKind::MonoVertex => super::labels(key, "mono-vertex-controller", "mono-vertex"),
    }
}

/// The pod.
///
/// # Panics
/// When the scene's manifest has no such vertex.
pub fn pod(scene: &Scene<'_>, worker: &Worker<'_>, owner: &Owner) -> Pod {
    let Worker { vertex, name, suffix } = worker;
    let settings = scene.object.settings();
    let own = settings.vertices.iter().find(|found| found.name == *vertex);
    let own = own.expect("a worker is made of a manifest that has its vertex");
    let part = part(scene.object, vertex);
    let host = scene.key.replica(vertex, name.replica);
    let mut spec = PodSpec {
        hostname: Some(host.clone()),
        subdomain: Some(scene.key.headless(vertex)),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        enable_service_links: Some(false),
        security_context: part.pod.security_context.clone().or_else(|| Some(security::pod())),
        ..PodSpec::default()
    };
    let (mut volumes, secrets) = volume::values(part.source.as_deref(), part.sink.as_deref(), &part.limits);
    volumes.splice(0..0, volume::of_pod());
    // A volume that the user calls the same is theirs.
    volumes.retain(|volume| part.volumes.iter().all(|theirs| theirs.name != volume.name));
    volumes.extend(part.volumes.iter().cloned());
    spec.volumes = Some(volumes);
    let common = env::common(scene.key, vertex);
    let users = part.users.iter();
    let users =
        users.map(|user| container::user(scene.settings, (user, &own.limits), &common, &volume::mounts()));
    let init: Vec<Container> =
        part.init_containers.iter().map(|said| others(said, &[])).chain(users).collect();
    spec.init_containers = Some(init).filter(|init| !init.is_empty());
    let sidecar_env: &[EnvVar] = if scene.key.kind == ObjectKind::MonoVertex { &common } else { &[] };
    spec.containers = vec![numa(scene, (own, &part), &common, secrets)];
    spec.containers.extend(part.sidecars.iter().map(|said| others(said, sidecar_env)));
    fill(&mut spec, &part.pod);
    let mut labels = selector(scene.key, vertex);
    labels.insert(names::NAME_LABEL.to_owned(), scene.key.vertex(vertex));
    let is_there = |name: &&str| part.users.iter().any(|user| user.name == *name);
    let default = match scene.key.kind {
        ObjectKind::Pipeline => DEFAULT_CONTAINERS.into_iter().find(is_there),
        ObjectKind::MonoVertex => None,
    };
    let annotations = [
        (names::HASH_ANNOTATION, name.revision.to_string()),
        (names::REPLICA_ANNOTATION, name.replica.to_string()),
        (names::DEFAULT_CONTAINER_ANNOTATION, default.unwrap_or(NUMA).to_owned()),
    ];
    let annotations = annotations.map(|(name, value)| (name.to_owned(), value));
    let metadata = metadata(scene.key, format!("{host}-{suffix}"), owner, labels);
    let metadata = ObjectMeta { annotations: Some(annotations.into()), ..metadata };
    Pod { metadata: with_said(metadata, part.pod.metadata.as_ref()), spec: Some(spec), status: None }
}

/// Our own container.
fn numa(
    scene: &Scene<'_>,
    (settings, part): (&VertexSettings, &Part),
    common: &[EnvVar],
    secrets: Vec<VolumeMount>,
) -> Container {
    let mut variables = objects(scene, settings);
    let ahead = settings.read_ahead && scene.key.kind == ObjectKind::Pipeline;
    variables.push(env::value("NUMAFLOW_READ_AHEAD", ahead.to_string()));
    variables.extend(common.iter().cloned());
    variables.extend(scene.broker.into_iter().flat_map(env::broker));
    variables.push(env::value("NUMAFLOW_RUNTIME", "rust"));
    let worker = format!("$({})-$(NUMAFLOW_REPLICA)", "TIDEGATE_REVISION");
    variables.push(EnvVar {
        name: "TIDEGATE_REVISION".to_owned(),
        value: None,
        value_from: Some(revision()),
    });
    variables.push(env::value("TIDEGATE_WORKER", worker));
    if scene.key.kind == ObjectKind::MonoVertex {
        let (service, namespace) = (scene.key.daemon_service(), &scene.key.namespace);
        variables.push(env::value(
            "TIDEGATE_DAEMON_URL",
            format!("https://{service}.{namespace}.svc:{DAEMON_PORT}"),
        ));
        variables.push(env::token(scene.key));
    }
    let said = part.numa.as_ref();
    let mut numa = container::own(scene.settings, ("processor", variables), said);
    let ready = probe::https("/readyz", METRICS_PORT, READINESS);
    let live = probe::https("/livez", METRICS_PORT, LIVENESS);
    numa.readiness_probe =
        Some(probe::with_numbers(ready, said.and_then(|said| said.readiness_probe.as_ref())));
    numa.liveness_probe = Some(probe::with_numbers(live, said.and_then(|said| said.liveness_probe.as_ref())));
    numa.ports =
        Some(vec![container::port("metrics", METRICS_PORT), container::port("runtime", RUNTIME_PORT)]);
    numa.volume_mounts = Some(volume::mounts().into_iter().chain(secrets).collect());
    numa
}

/// The manifest as a worker reads it.
fn objects(scene: &Scene<'_>, settings: &VertexSettings) -> Vec<EnvVar> {
    match scene.object {
        Object::Pipeline(pipeline) => {
            let all = pipeline_settings(scene);
            let mut own = vertex::object(scene.key, pipeline, &all, settings, &Owner::default());
            own.metadata = bare(&own.metadata);
            (own.spec.lifecycle, own.spec.vertex.update_strategy) = (None, None);
            own.spec.replicas = Some(0);
            vec![
                env::object("NUMAFLOW_VERTEX_OBJECT", &own),
                env::object("NUMAFLOW_PIPELINE_OBJECT", &bare_pipeline(pipeline)),
            ]
        }
        Object::Mono(mono) => {
            let mut own = bare_mono_vertex(mono);
            (own.spec.update_strategy, own.spec.replicas) = (None, Some(0));
            vec![env::object("NUMAFLOW_MONO_VERTEX_OBJECT", &own)]
        }
    }
}

fn pipeline_settings(scene: &Scene<'_>) -> Vec<VertexSettings> {
    scene.object.settings().vertices
}

/// The revision, as the pod says it of itself.
fn revision() -> k8s_openapi::api::core::v1::EnvVarSource {
    use k8s_openapi::api::core::v1::{EnvVarSource, ObjectFieldSelector};
    let path = format!("metadata.annotations['{}']", names::HASH_ANNOTATION);
    EnvVarSource {
        field_ref: Some(ObjectFieldSelector { field_path: path, api_version: None }),
        ..EnvVarSource::default()
    }
}

/// A container that the user writes as Kubernetes has it.
fn others(said: &Container, common: &[EnvVar]) -> Container {
    let mut container = said.clone();
    container.security_context = Some(security::closed(said.security_context.as_ref()));
    if !common.is_empty() {
        container.env.get_or_insert_default().splice(0..0, common.iter().cloned());
    }
    container
}

fn part(object: &Object, name: &str) -> Part {
    match object {
        Object::Pipeline(pipeline) => {
            let spec = &pipeline.spec;
            let written = spec.vertices.iter().find(|found| found.name == name);
            let found = vertex::with_template(spec, written.expect("the manifest has the vertex"));
            let inherited = spec.limits.as_ref().and_then(|limits| limits.rate_limit.as_ref());
            let users = program::of_pipeline(spec).into_iter().filter(|user| user.vertex == name).collect();
            Part {
                pod: found.pod,
                numa: found.container_template,
                volumes: found.volumes,
                init_containers: found.init_containers,
                sidecars: found.sidecars,
                limits: json!([found.limits, inherited]),
                source: found.source,
                sink: found.sink,
                users,
            }
        }
        Object::Mono(mono) => {
            let spec = mono.spec.clone();
            let users = program::of_mono_vertex(name, &spec);
            Part {
                pod: spec.pod,
                numa: spec.container_template,
                volumes: spec.volumes,
                init_containers: spec.init_containers,
                sidecars: spec.sidecars,
                limits: json!(spec.limits),
                source: spec.source,
                sink: spec.sink,
                users,
            }
        }
    }
}

/// The source of a vertex, where it has one.
pub fn source(object: &Object, vertex: &VertexSettings) -> Option<Box<Source>> {
    (vertex.kind == VertexKind::Source).then(|| part(object, &vertex.name).source).flatten()
}

/// Fills what is open in a pod from what the manifest says about pods.
pub(in crate::kube) fn fill(spec: &mut PodSpec, said: &PodTemplate) {
    let PodTemplate {
        metadata: _,
        node_selector,
        tolerations,
        security_context,
        image_pull_secrets,
        priority_class_name,
        priority,
        affinity,
        service_account_name,
        runtime_class_name,
        automount_service_account_token,
        dns_policy,
        dns_config,
        resource_claims,
    } = said.clone();
    let list = |list: Vec<_>| Some(list).filter(|list| !list.is_empty());
    spec.node_selector =
        spec.node_selector.take().or(Some(node_selector).filter(|selector| !selector.is_empty()));
    spec.tolerations = spec.tolerations.take().or(list(tolerations));
    spec.security_context =
        spec.security_context.take().or(security_context).or_else(|| Some(security::pod()));
    spec.image_pull_secrets =
        spec.image_pull_secrets.take().or(Some(image_pull_secrets).filter(|secrets| !secrets.is_empty()));
    spec.priority_class_name = spec.priority_class_name.take().or(priority_class_name);
    spec.priority = spec.priority.or(priority);
    spec.affinity = spec.affinity.take().or(affinity);
    spec.service_account_name = spec.service_account_name.take().or(service_account_name);
    spec.runtime_class_name = spec.runtime_class_name.take().or(runtime_class_name);
    spec.automount_service_account_token =
        spec.automount_service_account_token.or(automount_service_account_token);
    spec.dns_policy = spec.dns_policy.take().or(dns_policy);
    spec.dns_config = spec.dns_config.take().or(dns_config);
    spec.resource_claims =
        spec.resource_claims.take().or(Some(resource_claims).filter(|claims| !claims.is_empty()));
}

/// Labels and annotations with those that a manifest adds; ours stay.
pub(in crate::kube) fn with_said(mut metadata: ObjectMeta, said: Option<&Metadata>) -> ObjectMeta {
    let Some(Metadata { labels, annotations }) = said else { return metadata };
    for (ours, theirs) in [(&mut metadata.labels, labels), (&mut metadata.annotations, annotations)] {
        for (name, value) in theirs {
            ours.get_or_insert_default().entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    metadata
}
