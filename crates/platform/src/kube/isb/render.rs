//! The objects of a buffer service: StatefulSet, headless Service, ConfigMap, disruption budget. Pure. Invariant: whatever
//! a server is started with is part of its pod template, by value or by hash, so that a change of anything is a change of
//! the revision.

use std::collections::BTreeMap;

use api::names;
use api::spec::stock::{ObjectMeta, Quantity};
use api::spec::{ContainerTemplate, PersistenceStrategy};
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction,
    KeyToPath, Lifecycle, LifecycleHandler, ObjectFieldSelector, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, ProjectedVolumeSource, ResourceFieldSelector,
    Secret, SecretKeySelector, SecretProjection, Service, ServiceSpec, Volume, VolumeMount, VolumeProjection,
    VolumeResourceRequirements,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::conf::{self, CLIENT_PORT, CLUSTER_PORT, CONFIG_DIR, CONFIG_FILE, MONITOR_PORT};
use super::credentials;
use super::servers::Servers;
use crate::kube::names::{
    COMPONENT_LABEL, DEFAULT_CONTAINER_ANNOTATION, HASH_ANNOTATION, MANAGED_BY_LABEL, PART_OF,
};
use crate::kube::render::{container, content_hash, pod, probe, security};

/// The buffer service of something.
pub const SERVICE_LABEL: &str = "numaflow.numaproj.io/isbsvc-name";
/// Of which kind the buffer service is.
pub const TYPE_LABEL: &str = "numaflow.numaproj.io/isbsvc-type";
/// The only kind there is.
pub const TYPE: &str = "jetstream";
/// Value of the component label.
pub const COMPONENT: &str = "isbsvc";
/// The server's container.
pub const MAIN: &str = "main";
/// The container that reads the configuration before the server does.
const CHECK: &str = "check";
/// The exporter's container.
const METRICS: &str = "metrics";
/// Where the exporter answers.
const METRICS_PORT: i32 = 7777;
/// The key of the configuration in its config map.
const CONFIG_KEY: &str = "nats-js";

/// Probes in seconds: the first wait, the period, the time for an answer, failures. A server has to be ready when it can
/// answer and has caught up, and to be alive as long as it answers at all.
const STARTUP: (i32, i32, i32, i32) = (0, 1, 5, 300);
const READINESS: (i32, i32, i32, i32) = (0, 2, 5, 6);
const LIVENESS: (i32, i32, i32, i32) = (10, 10, 5, 6);
/// What a server has to hand its leaderships over and to close what it keeps.
const GRACE_SECONDS: i64 = 60;
/// A volume whose size nobody has said.
const VOLUME_SIZE: &str = "20Gi";

/// Names of volumes.
const CONFIG_VOLUME: &str = "config-volume";
const PID_VOLUME: &str = "pid";
const EMPTY_VOLUME: &str = "js-data";

/// Labels of everything of a buffer service, which select its pods too.
pub fn labels(service: &str) -> BTreeMap<String, String> {
    let (part_of, ours) = PART_OF;
    [
        (part_of, ours),
        (MANAGED_BY_LABEL, "isbsvc-controller"),
        (COMPONENT_LABEL, COMPONENT),
        (SERVICE_LABEL, service),
        (TYPE_LABEL, TYPE),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn metadata(servers: &Servers, name: String, owner: &OwnerReference) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(servers.namespace.clone()),
        labels: Some(labels(&servers.name)),
        owner_references: Some(vec![owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// A secret of a buffer service.
pub fn secret(
    servers: &Servers,
    (name, values): (String, BTreeMap<String, String>),
    owner: &OwnerReference,
) -> Secret {
    Secret {
        metadata: metadata(servers, name, owner),
        string_data: Some(values),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The config map with the servers' configuration.
pub fn config_map(servers: &Servers, owner: &OwnerReference) -> ConfigMap {
    ConfigMap {
        metadata: metadata(servers, names::isb_config_map(&servers.name), owner),
        data: Some([(CONFIG_KEY.to_owned(), conf::conf(servers))].into()),
        ..ConfigMap::default()
    }
}

/// The service under whose name servers find each other and clients find servers.
pub fn service(servers: &Servers, owner: &OwnerReference) -> Service {
    let ports = [
        ("tcp-client", CLIENT_PORT),
        ("cluster", CLUSTER_PORT),
        ("metrics", METRICS_PORT),
        ("monitor", MONITOR_PORT),
    ];
    Service {
        metadata: metadata(servers, names::isb_service(&servers.name), owner),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            ports: Some(ports.map(|(name, port)| crate::kube::render::service::port(name, port)).into()),
            selector: Some(labels(&servers.name)),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// A budget that keeps a drain of nodes from taking more servers at once than can be missed; none where one is all.
pub fn disruption_budget(servers: &Servers, owner: &OwnerReference) -> Option<PodDisruptionBudget> {
    servers.is_cluster().then(|| PodDisruptionBudget {
        metadata: metadata(servers, names::isb_stateful_set(&servers.name), owner),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(labels(&servers.name)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}

/// The servers. They are replaced one at a time by whoever looks after the service, never by Kubernetes itself, which
/// does not know that another one may be missing.
pub fn stateful_set(servers: &Servers, owner: &OwnerReference) -> StatefulSet {
    let labels = labels(&servers.name);
    let annotations = [
        (HASH_ANNOTATION.to_owned(), content_hash(&json!(conf::conf(servers)))),
        (DEFAULT_CONTAINER_ANNOTATION.to_owned(), MAIN.to_owned()),
    ];
    let pod_metadata = ObjectMeta {
        labels: Some(labels.clone()),
        annotations: Some(annotations.into()),
        ..ObjectMeta::default()
    };
    let claims = servers.spec.persistence.as_ref().map(|said| vec![claim(servers, said)]);
    let keep_as = |when: &str| Some(when.to_owned());
    StatefulSet {
        metadata: metadata(servers, names::isb_stateful_set(&servers.name), owner),
        spec: StatefulSetSpec {
            replicas: Some(i32::try_from(servers.replicas).unwrap_or(i32::MAX)),
            service_name: Some(names::isb_service(&servers.name)),
            selector: LabelSelector { match_labels: Some(labels), ..LabelSelector::default() },
            pod_management_policy: keep_as("Parallel"),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: keep_as("Delete"),
                when_scaled: keep_as("Retain"),
            }),
            template: PodTemplateSpec {
                metadata: Some(pod::with_said(pod_metadata, servers.spec.pod.metadata.as_ref())),
                spec: Some(pod_spec(servers)),
            },
            volume_claim_templates: claims,
            ..StatefulSetSpec::default()
        },
        status: None,
    }
}

fn claim(servers: &Servers, said: &PersistenceStrategy) -> PersistentVolumeClaim {
    let size = said.volume_size.clone().unwrap_or_else(|| Quantity(VOLUME_SIZE.to_owned()));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::isb_volume(&servers.name)),
            labels: Some(labels(&servers.name)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![said.access_mode.clone().unwrap_or_else(|| "ReadWriteOnce".to_owned())]),
            storage_class_name: said.storage_class_name.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn pod_spec(servers: &Servers) -> PodSpec {
    let mut containers = vec![main(servers)];
    let check = check(&containers[0]);
    containers.extend(exporter(servers));
    let mut volumes = vec![empty(PID_VOLUME, Some("Memory")), configuration(servers)];
    if servers.spec.persistence.is_none() {
        volumes.push(empty(EMPTY_VOLUME, None));
    }
    let mut spec = PodSpec {
        init_containers: Some(vec![check]),
        containers,
        volumes: Some(volumes),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        enable_service_links: Some(false),
        automount_service_account_token: servers.spec.pod.automount_service_account_token.or(Some(false)),
        ..PodSpec::default()
    };
    pod::fill(&mut spec, &servers.spec.pod);
    spec
}

fn empty(name: &str, medium: Option<&str>) -> Volume {
    let source =
        EmptyDirVolumeSource { medium: medium.map(str::to_owned), ..EmptyDirVolumeSource::default() };
    Volume { name: name.to_owned(), empty_dir: Some(source), ..Volume::default() }
}

/// Configuration, logins and certificates in one directory.
fn configuration(servers: &Servers) -> Volume {
    let item = |key: &str, path: &str| KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        ..KeyToPath::default()
    };
    let is_used = |file: &str| servers.has_tls() || file == conf::AUTH_FILE;
    let files = credentials::FILES.into_iter().filter(|(_, file)| is_used(file));
    let secret = SecretProjection {
        name: names::isb_server_secret(&servers.name),
        items: Some(files.map(|(key, file)| item(key, file)).collect()),
        optional: None,
    };
    let config = ConfigMapProjection {
        name: names::isb_config_map(&servers.name),
        items: Some(vec![item(CONFIG_KEY, CONFIG_FILE)]),
        optional: None,
    };
    Volume {
        name: CONFIG_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![
                VolumeProjection { secret: Some(secret), ..VolumeProjection::default() },
                VolumeProjection { config_map: Some(config), ..VolumeProjection::default() },
            ]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, is_read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn main(servers: &Servers) -> Container {
    let said = servers.spec.container_template.clone().unwrap_or_default();
    let command = &servers.version.start_command;
    let mut command_line =
        vec![command.clone(), "--config".to_owned(), format!("{CONFIG_DIR}/{CONFIG_FILE}")];
    command_line.extend(servers.spec.start_args.iter().cloned());
    let data = match servers.spec.persistence {
        Some(_) => names::isb_volume(&servers.name),
        None => EMPTY_VOLUME.to_owned(),
    };
    // The server gives up its leaderships and waits for clients to be elsewhere before the kubelet ends it.
    let lame_duck = vec![command.clone(), format!("-sl=ldm={}", conf::PID_FILE)];
    let alive = |path: &str, numbers| probe::http(path, MONITOR_PORT, numbers);
    let mut variables = environment(servers);
    variables.extend(said.env.iter().cloned());
    Container {
        name: MAIN.to_owned(),
        image: Some(servers.version.nats_image.clone()),
        image_pull_policy: said.image_pull_policy.clone(),
        command: Some(command_line),
        env: Some(variables),
        env_from: Some(said.env_from.clone()).filter(|sources| !sources.is_empty()),
        ports: Some(vec![
            container::port("client", CLIENT_PORT),
            container::port("cluster", CLUSTER_PORT),
            container::port("monitor", MONITOR_PORT),
        ]),
        resources: said.resources.clone(),
        // What a server says last is why it has ended, and so it gets into the status.
        termination_message_policy: Some(container::LAST_WORDS.to_owned()),
        security_context: Some(security::own(said.security_context.as_ref())),
        startup_probe: Some(alive("/healthz?js-server-only=true", STARTUP)),
        readiness_probe: Some(probe::with_numbers(
            alive("/healthz", READINESS),
            said.readiness_probe.as_ref(),
        )),
        liveness_probe: Some(probe::with_numbers(
            alive("/healthz?js-enabled-only=true", LIVENESS),
            said.liveness_probe.as_ref(),
        )),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction { command: Some(lame_duck) }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: Some(vec![
            mount(&data, conf::DATA_DIR, false),
            mount(PID_VOLUME, conf::PID_DIR, false),
            mount(CONFIG_VOLUME, CONFIG_DIR, true),
        ]),
        ..Container::default()
    }
}

/// Says by its name that a configuration is bad, and makes time: a server that asks for the names of the others before the
/// cluster knows their addresses hears for as long as the name service remembers, 5 s to 30 s, that there are none.
fn check(main: &Container) -> Container {
    let mut command_line = main.command.clone().unwrap_or_default();
    command_line.push("-t".to_owned());
    Container {
        name: CHECK.to_owned(),
        command: Some(command_line),
        ports: None,
        startup_probe: None,
        readiness_probe: None,
        liveness_probe: None,
        lifecycle: None,
        ..main.clone()
    }
}

fn environment(servers: &Servers) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: None, field_path: path.to_owned() }),
            ..EnvVarSource::default()
        }),
    };
    let value =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let host = format!("$(POD_NAME).{}.$(POD_NAMESPACE).svc", names::isb_service(&servers.name));
    let mut variables = vec![
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("SERVER_NAME", "metadata.name"),
        value("CLUSTER_ADVERTISE", host.clone()),
        value("CLIENT_ADVERTISE", format!("{host}:{CLIENT_PORT}")),
    ];
    if has_memory_limit(servers.spec.container_template.as_ref()) {
        variables.push(EnvVar {
            name: "GOMEMLIMIT".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                resource_field_ref: Some(ResourceFieldSelector {
                    resource: "limits.memory".to_owned(),
                    ..ResourceFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
        });
    }
    if servers.is_encrypted() {
        variables.push(EnvVar {
            name: "JS_KEY".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector {
                    name: names::isb_server_secret(&servers.name),
                    key: credentials::ENCRYPTION.to_owned(),
                    optional: None,
                }),
                ..EnvVarSource::default()
            }),
        });
    }
    variables
}

fn has_memory_limit(said: Option<&ContainerTemplate>) -> bool {
    let limits = said.and_then(|said| said.resources.as_ref()?.limits.as_ref());
    limits.is_some_and(|limits| limits.contains_key("memory"))
}

/// What exports metrics, where the operator names an image for it.
fn exporter(servers: &Servers) -> Option<Container> {
    let image = Some(servers.version.metrics_exporter_image.clone()).filter(|image| !image.is_empty())?;
    let said = servers.spec.metrics_container_template.clone().unwrap_or_default();
    let flags =
        ["-connz", "-routez", "-subz", "-varz", "-prefix=nats", "-use_internal_server_id", "-jsz=all"];
    let mut args: Vec<String> = flags.map(str::to_owned).into();
    args.push(format!("http://localhost:{MONITOR_PORT}/"));
    Some(Container {
        name: METRICS.to_owned(),
        image: Some(image),
        image_pull_policy: said.image_pull_policy,
        args: Some(args),
        env: Some(said.env).filter(|env| !env.is_empty()),
        env_from: Some(said.env_from).filter(|sources| !sources.is_empty()),
        ports: Some(vec![container::port("metrics", METRICS_PORT)]),
        resources: said.resources,
        security_context: Some(security::own(said.security_context.as_ref())),
        ..Container::default()
    })
}

#[cfg(test)]
mod tests;
