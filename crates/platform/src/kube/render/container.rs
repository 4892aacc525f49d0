//! Containers: our own, and the user's as the reference starts them. Invariant: a user's container has everything that its
//! manifest says, and nothing of ours can hide it.

use std::collections::BTreeMap;

use api::resolve::Limits;
use api::spec::ContainerTemplate;
use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, ResourceRequirements, VolumeMount};

use super::{Settings, env, probe, security};
use crate::kube::names::{METRICS_PORT, NUMA};
use crate::local::program::UserContainer;

/// Whoever ends with an error and leaves no message has the end of its log for one.
pub(in crate::kube) const LAST_WORDS: &str = "FallbackToLogsOnError";
/// When the liveness of user code is asked for, in seconds: the first wait, the period, the time for an answer, failures.
const SIDECAR_LIVENESS: (i32, i32, i32, i32) = (30, 60, 30, 5);

/// Our own container with a command of the program.
pub(super) fn own(
    settings: &Settings,
    (command, mut variables): (&str, Vec<EnvVar>),
    template: Option<&ContainerTemplate>,
) -> Container {
    let said = template.cloned().unwrap_or_default();
    variables.extend(said.env);
    Container {
        name: NUMA.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: said.image_pull_policy.or_else(|| settings.image_pull_policy.clone()),
        args: Some(vec![command.to_owned()]),
        env: Some(variables),
        env_from: Some(said.env_from).filter(|sources| !sources.is_empty()),
        resources: Some(merged(&settings.resources, said.resources.as_ref())),
        security_context: Some(security::own(said.security_context.as_ref())),
        termination_message_policy: Some(LAST_WORDS.to_owned()),
        ..Container::default()
    }
}

/// A container with user code, which the kubelet starts before ours and ends after it.
pub(super) fn user(
    settings: &Settings,
    (found, limits): (&UserContainer, &Limits),
    common: &[EnvVar],
    mounts: &[VolumeMount],
) -> Container {
    let said = &found.spec;
    let mut variables = vec![env::value("NUMAFLOW_UD_CONTAINER_TYPE", &found.name)];
    variables.extend(common.iter().cloned());
    if found.name == "udsource" {
        variables.push(env::value("NUMAFLOW_READ_BATCH_SIZE", limits.read_batch_size.to_string()));
        variables.push(env::value("NUMAFLOW_READ_TIMEOUT_MS", limits.read_timeout.as_millis().to_string()));
    }
    // Of equal names the last counts: the user's word.
    variables.extend(said.env.iter().cloned());
    let liveness = probe::https("/sidecar-livez", METRICS_PORT, SIDECAR_LIVENESS);
    let some = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
    Container {
        name: found.name.clone(),
        image: said.image.clone(),
        image_pull_policy: said.image_pull_policy.clone().or_else(|| settings.image_pull_policy.clone()),
        command: some(&said.command),
        args: some(&said.args),
        env: Some(variables),
        env_from: Some(said.env_from.clone()).filter(|sources| !sources.is_empty()),
        volume_mounts: Some(said.volume_mounts.iter().chain(mounts).cloned().collect()),
        resources: said.resources.clone(),
        security_context: Some(security::closed(said.security_context.as_ref())),
        liveness_probe: Some(probe::with_numbers(liveness, said.liveness_probe.as_ref())),
        ports: Some(said.ports.clone()).filter(|ports| !ports.is_empty()),
        restart_policy: Some("Always".to_owned()),
        termination_message_policy: Some(LAST_WORDS.to_owned()),
        ..Container::default()
    }
}

/// A port with a name.
pub(in crate::kube) fn port(name: &str, port: i32) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: port, ..ContainerPort::default() }
}

/// Requests and limits: what is said here wins, each by itself.
fn merged(base: &ResourceRequirements, said: Option<&ResourceRequirements>) -> ResourceRequirements {
    let mut resources = base.clone();
    let Some(said) = said else { return resources };
    for (ours, theirs) in [(&mut resources.limits, &said.limits), (&mut resources.requests, &said.requests)] {
        if let Some(theirs) = theirs {
            ours.get_or_insert_with(BTreeMap::new).extend(theirs.clone());
        }
    }
    resources.claims = said.claims.clone().or(resources.claims);
    resources
}
