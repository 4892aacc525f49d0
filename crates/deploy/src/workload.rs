//! The controller's own workload. The invariant: its pods run under the `restricted` profile, with a root file system
//! that nobody can write to, as a user who is not root.

use serde_json::{Value, json};

use crate::{Scope, Settings, names};

/// The user in the image; any other one that is not root would do.
const USER: u32 = 9737;
/// Old sets of pods that are kept to go back to.
const REVISIONS_KEPT: u32 = 3;

/// What a controller asks of its node. It waits for events most of the time, so that a limit of CPU would only make the
/// rare busy moment longer.
pub(crate) fn resources() -> Value {
    json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}})
}

/// The namespace of the controller.
pub(crate) fn namespace(settings: &Settings) -> Value {
    let mut metadata = settings.cluster_metadata(&settings.namespace);
    // A namespace that the controller shares with pipelines is for others to restrict.
    if settings.scope == Scope::Cluster {
        metadata["labels"]["pod-security.kubernetes.io/enforce"] = json!("restricted");
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// The Deployment, and the Service in front of the webhook.
pub(crate) fn objects(settings: &Settings) -> Vec<Value> {
    let mut objects = vec![deployment(settings)];
    if settings.has_webhook() {
        objects.push(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": settings.metadata(names::WEBHOOK),
            "spec": {
                "selector": selector(),
                "ports": [{"name": "https", "port": 443, "targetPort": names::WEBHOOK_PORT}],
            },
        }));
    }
    objects
}

fn selector() -> Value {
    json!({"app.kubernetes.io/component": names::COMPONENT, "app.kubernetes.io/name": names::CONTROLLER})
}

fn deployment(settings: &Settings) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": settings.metadata(names::CONTROLLER),
        "spec": {
            "replicas": settings.replicas,
            "revisionHistoryLimit": REVISIONS_KEPT,
            "selector": {"matchLabels": selector()},
            "template": {
                "metadata": {
                    "labels": settings.labels(),
                    "annotations": {"kubectl.kubernetes.io/default-container": "controller"},
                },
                "spec": {
                    "serviceAccountName": names::SERVICE_ACCOUNT,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container(settings)],
                    "volumes": [{"name": "config", "configMap": {"name": names::CONFIG_MAP}}],
                },
            },
        },
    })
}

fn container(settings: &Settings) -> Value {
    let mut ports = vec![json!({"name": "probes", "containerPort": names::ports::PROBES})];
    if settings.has_webhook() {
        ports.push(json!({"name": names::WEBHOOK_PORT, "containerPort": names::ports::WEBHOOK}));
    }
    let probe = |path: &str, delay: u32, period: u32| {
        json!({
            "httpGet": {"path": path, "port": "probes"},
            "initialDelaySeconds": delay,
            "periodSeconds": period,
        })
    };
    json!({
        "name": "controller",
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": [names::PROGRAM],
        "args": ["controller", "--probes-port", names::ports::PROBES.to_string()],
        "env": environment(settings),
        "ports": ports,
        "resources": settings.resources,
        "readinessProbe": probe("/readyz", 1, 5),
        "livenessProbe": probe("/healthz", 10, 20),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": names::CONFIG_DIR, "readOnly": true}],
    })
}

fn environment(settings: &Settings) -> Value {
    // Keys of the ConfigMap as the reference has them; each may be missing.
    const PARAMS: [(&str, &str); 6] = [
        ("NUMAFLOW_CONTROLLER_NAMESPACED", "namespaced"),
        ("NUMAFLOW_CONTROLLER_MANAGED_NAMESPACE", "managed.namespace"),
        ("NUMAFLOW_LEADER_ELECTION_DISABLED", "controller.leader.election.disabled"),
        ("NUMAFLOW_LEADER_ELECTION_LEASE_DURATION", "controller.leader.election.lease.duration"),
        ("NUMAFLOW_LEADER_ELECTION_LEASE_RENEW_DEADLINE", "controller.leader.election.lease.renew.deadline"),
        ("NUMAFLOW_LEADER_ELECTION_LEASE_RENEW_PERIOD", "controller.leader.election.lease.renew.period"),
    ];
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let mut environment = vec![
        json!({"name": "NAMESPACE", "valueFrom": field("metadata.namespace")}),
        json!({"name": "POD_NAME", "valueFrom": field("metadata.name")}),
        json!({"name": "NUMAFLOW_IMAGE", "value": settings.image}),
        json!({"name": "NUMAFLOW_IMAGE_PULL_POLICY", "value": settings.image_pull_policy}),
    ];
    if settings.has_webhook() {
        let registration = settings.cluster_name(names::WEBHOOK_CONFIGURATION);
        environment.push(json!({"name": "TIDEGATE_WEBHOOK", "value": registration}));
    }
    environment.extend(PARAMS.map(|(name, key)| {
        let reference = json!({"name": names::PARAMS_CONFIG_MAP, "key": key, "optional": true});
        json!({"name": name, "valueFrom": {"configMapKeyRef": reference}})
    }));
    Value::Array(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ports_are_short_enough_for_an_api_server() {
        let objects = objects(&Settings::new(Scope::Cluster));
        let container = &objects[0]["spec"]["template"]["spec"]["containers"][0];
        let named: Vec<&str> = container["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["name"].as_str().unwrap())
            .collect();
        assert_eq!(named, ["probes", "webhook"]);
        assert!(named.iter().all(|name| name.len() <= 15));
        let target = objects[1]["spec"]["ports"][0]["targetPort"].as_str().unwrap();
        assert!(named.contains(&target), "{target}");
    }
}
