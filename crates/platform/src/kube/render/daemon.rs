//! The daemon of an object: one pod that keeps its units. Invariant: there are never two by our doing, so it is replaced
//! by ending the former one first; workers go on without it meanwhile.

use std::collections::BTreeMap;

use api::spec::DaemonTemplate;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{Owner, Scene, bare_mono_vertex, bare_pipeline, container, env, metadata, pod, probe};
use crate::kube::names::{self, DAEMON_PORT, Key, ObjectKind};
use crate::local::engine::Object;

/// The key of the word in its secret.
pub const TOKEN_KEY: &str = "token";
/// Probes in seconds: the first wait, the period, the time for an answer, failures.
const READINESS: (i32, i32, i32, i32) = (0, 1, 2, 5);
const LIVENESS: (i32, i32, i32, i32) = (30, 60, 30, 3);
/// How long it may take to end; it holds nothing that could be lost.
const GRACE_SECONDS: i64 = 10;

/// Labels of the daemon's pod and service.
pub fn labels(key: &Key) -> BTreeMap<String, String> {
    let (managed_by, component) = match key.kind {
        ObjectKind::Pipeline => ("pipeline-controller", "daemon"),
        ObjectKind::MonoVertex => ("mono-vertex-controller", "mono-vertex-daemon"),
    };
    super::labels(key, managed_by, component)
}

/// The secret with the word that controller and daemon know each other by.
pub fn token(key: &Key, owner: &Owner, token: &str) -> Secret {
    Secret {
        metadata: metadata(key, key.daemon_token(), owner, labels(key)),
        string_data: Some([(TOKEN_KEY.to_owned(), token.to_owned())].into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The deployment; its pods say which manifest they were started with.
pub fn deployment(scene: &Scene<'_>, base: &str, owner: &Owner) -> Deployment {
    let key = scene.key;
    let mut labels = labels(key);
    labels.insert(names::NAME_LABEL.to_owned(), key.daemon());
    let template = template(scene.object);
    let mut spec = PodSpec {
        containers: vec![numa(scene, &template)],
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        automount_service_account_token: Some(template.pod.automount_service_account_token.unwrap_or(false)),
        enable_service_links: Some(false),
        ..PodSpec::default()
    };
    pod::fill(&mut spec, &template.pod);
    let annotations = [(names::HASH_ANNOTATION.to_owned(), base.to_owned())].into();
    let pod_metadata =
        ObjectMeta { labels: Some(labels.clone()), annotations: Some(annotations), ..ObjectMeta::default() };
    let pod_metadata = pod::with_said(pod_metadata, template.pod.metadata.as_ref());
    Deployment {
        metadata: metadata(key, key.daemon(), owner, labels.clone()),
        spec: DeploymentSpec {
            replicas: Some(1),
            // Templates may add labels to pods; what selects them stays as it is for the life of the deployment.
            selector: LabelSelector { match_labels: Some(labels), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                ..DeploymentStrategy::default()
            }),
            template: PodTemplateSpec { metadata: Some(pod_metadata), spec: Some(spec) },
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

fn numa(scene: &Scene<'_>, template: &DaemonTemplate) -> k8s_openapi::api::core::v1::Container {
    let mut variables = Vec::new();
    match scene.object {
        Object::Pipeline(pipeline) => {
            variables.push(env::object("NUMAFLOW_PIPELINE_OBJECT", &bare_pipeline(pipeline)));
            variables.push(env::value("NUMAFLOW_PIPELINE_NAME", &scene.key.name));
        }
        Object::Mono(mono) => {
            variables.push(env::object("NUMAFLOW_MONO_VERTEX_OBJECT", &bare_mono_vertex(mono)));
            variables.push(env::value("NUMAFLOW_MONO_VERTEX_NAME", &scene.key.name));
        }
    }
    variables.extend(env::place());
    variables.extend(scene.broker.into_iter().flat_map(env::broker));
    variables.push(env::token(scene.key));
    let mut numa =
        container::own(scene.settings, ("daemon", variables), template.container_template.as_ref());
    let said = template.container_template.as_ref();
    let ready = probe::https("/readyz", DAEMON_PORT, READINESS);
    let live = probe::https("/livez", DAEMON_PORT, LIVENESS);
    numa.readiness_probe =
        Some(probe::with_numbers(ready, said.and_then(|said| said.readiness_probe.as_ref())));
    numa.liveness_probe = Some(probe::with_numbers(live, said.and_then(|said| said.liveness_probe.as_ref())));
    numa.ports = Some(vec![container::port("tcp", DAEMON_PORT)]);
    numa
}

fn template(object: &Object) -> DaemonTemplate {
    let said = match object {
        Object::Pipeline(pipeline) => {
            pipeline.spec.templates.as_ref().and_then(|templates| templates.daemon.clone())
        }
        Object::Mono(mono) => mono.spec.daemon_template.clone(),
    };
    said.unwrap_or_default()
}
