//! Objects of buffer services as Kubernetes gets them. Invariant: what the reference's clients and dashboards know by name
//! is asserted by name.

use serde_json::{Value, json};

use super::*;
use crate::kube::config::Config;

fn servers(jetstream: &Value, config: &str) -> Servers {
    let value = json!({
        "apiVersion": api::API_VERSION, "kind": "InterStepBufferService",
        "metadata": {"name": "default", "namespace": "flows"}, "spec": {"jetstream": jetstream},
    });
    let service = api::InterStepBufferService::from_value(value).unwrap();
    Servers::of(&api::check(service).unwrap().0, &Config::read(config, "x").unwrap()).unwrap()
}

fn owner() -> OwnerReference {
    OwnerReference { name: "default".to_owned(), uid: "42".to_owned(), ..OwnerReference::default() }
}

fn set(jetstream: &Value) -> Value {
    json!(stateful_set(&servers(jetstream, ""), &owner()))
}

#[test]
fn the_configuration_of_a_cluster() {
    let text = conf::conf(&servers(&json!({"version": "latest"}), ""));
    let expected = "\
port: 4222
http: 8222
pid_file: \"/var/run/nats/nats.pid\"
server_name: $SERVER_NAME
client_advertise: $CLIENT_ADVERTISE
lame_duck_grace_period: \"2s\"
lame_duck_duration: \"30s\"
max_payload: 1048576
jetstream {
  store_dir: \"/data/jetstream/store\"
  max_memory_store: -1
  max_file_store: 1TB
}
cluster {
  name: \"default\"
  port: 6222
  cluster_advertise: $CLUSTER_ADVERTISE
  routes: [
    \"nats://isbsvc-default-js-0.isbsvc-default-js-svc.flows.svc:6222\"
    \"nats://isbsvc-default-js-1.isbsvc-default-js-svc.flows.svc:6222\"
    \"nats://isbsvc-default-js-2.isbsvc-default-js-svc.flows.svc:6222\"
  ]
  connect_retries: 120
}
include \"auth.conf\"
";
    assert_eq!(text, expected);
}

#[test]
fn one_server_has_no_cluster_and_no_budget() {
    let one = servers(&json!({"version": "latest", "replicas": 1, "tls": true, "encryption": true}), "");
    let text = conf::conf(&one);
    assert!(!text.contains("cluster"), "{text}");
    assert!(text.contains("  key: $JS_KEY\n"), "{text}");
    assert!(text.contains("tls {\n  cert_file: \"/etc/nats-config/server-cert.pem\"\n"), "{text}");
    assert_eq!(disruption_budget(&one, &owner()), None);
}

#[test]
fn names_and_labels_are_those_of_the_reference() {
    let found =
        set(&json!({"version": "latest", "persistence": {"volumeSize": "3Gi", "storageClassName": "fast"}}));
    assert_eq!(found["metadata"]["name"], "isbsvc-default-js");
    assert_eq!(found["metadata"]["namespace"], "flows");
    assert_eq!(
        found["spec"]["selector"]["matchLabels"],
        json!({
            "app.kubernetes.io/component": "isbsvc",
            "app.kubernetes.io/managed-by": "isbsvc-controller",
            "app.kubernetes.io/part-of": "numaflow",
            "numaflow.numaproj.io/isbsvc-name": "default",
            "numaflow.numaproj.io/isbsvc-type": "jetstream",
        })
    );
    assert_eq!(found["spec"]["serviceName"], "isbsvc-default-js-svc");
    assert_eq!(found["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(
        found["spec"]["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Delete", "whenScaled": "Retain"})
    );
    let claim = &found["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["metadata"]["name"], "isbsvc-default-js-vol");
    assert_eq!(
        claim["spec"],
        json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}},
            "storageClassName": "fast", "volumeMode": "Filesystem",
        })
    );
    let service = json!(service(&servers(&json!({"version": "latest"}), ""), &owner()));
    assert_eq!(
        (&service["metadata"]["name"], &service["spec"]["clusterIP"]),
        (&json!("isbsvc-default-js-svc"), &json!("None"))
    );
    let ports: Vec<&str> = service["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["name"].as_str().unwrap())
        .collect();
    assert_eq!(ports, ["tcp-client", "cluster", "metrics", "monitor"]);
}

#[test]
fn servers_run_under_the_restricted_profile_and_need_no_sidecar() {
    let found = set(&json!({"version": "latest"}));
    let pod = &found["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0]["name"], "main");
    assert_eq!(
        containers[0]["securityContext"],
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true})
    );
    let volumes: Vec<&str> =
        pod["volumes"].as_array().unwrap().iter().map(|volume| volume["name"].as_str().unwrap()).collect();
    assert_eq!(volumes, ["pid", "config-volume", "js-data"]);
    let projected = pod["volumes"][1]["projected"]["sources"].to_string();
    assert!(!projected.contains("private-key"), "without TLS no key is mounted: {projected}");
}

#[test]
fn what_a_manifest_says_about_pods_and_containers_is_done() {
    let found = set(&json!({
        "version": "latest",
        "metadata": {"labels": {"team": "a", "app.kubernetes.io/component": "mine"}},
        "nodeSelector": {"disk": "ssd"},
        "securityContext": {"runAsUser": 0},
        "containerTemplate": {
            "resources": {"limits": {"memory": "1Gi"}}, "imagePullPolicy": "Always", "env": [{"name": "A", "value": "b"}],
            "readinessProbe": {"periodSeconds": 9},
        },
        "startArgs": ["-D"],
    }));
    let template = &found["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "a");
    assert_eq!(template["metadata"]["labels"]["app.kubernetes.io/component"], "isbsvc", "ours stay");
    assert_eq!(template["spec"]["nodeSelector"], json!({"disk": "ssd"}));
    assert_eq!(template["spec"]["securityContext"], json!({"runAsUser": 0}));
    let main = &template["spec"]["containers"][0];
    assert_eq!(main["command"], json!(["/nats-server", "--config", "/etc/nats-config/nats-js.conf", "-D"]));
    assert_eq!(main["imagePullPolicy"], "Always");
    assert_eq!(main["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(main["readinessProbe"]["periodSeconds"], 9);
    let names: Vec<&str> =
        main["env"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let expected = [
        "POD_NAME",
        "POD_NAMESPACE",
        "SERVER_NAME",
        "CLUSTER_ADVERTISE",
        "CLIENT_ADVERTISE",
        "GOMEMLIMIT",
        "A",
    ];
    assert_eq!(names, expected);
    let check = &template["spec"]["initContainers"][0];
    let command: Vec<&str> =
        check["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(command, ["/nats-server", "--config", "/etc/nats-config/nats-js.conf", "-D", "-t"]);
    for same in ["image", "env", "resources", "securityContext", "volumeMounts"] {
        assert_eq!(check[same], main[same], "{same}");
    }
    for none in ["lifecycle", "readinessProbe", "livenessProbe", "startupProbe"] {
        assert!(check[none].is_null(), "{none}");
    }
    assert_eq!(
        main["lifecycle"]["preStop"]["exec"]["command"],
        json!(["/nats-server", "-sl=ldm=/var/run/nats/nats.pid"])
    );
}

#[test]
fn an_exporter_runs_where_an_image_is_named() {
    let config = "isbsvc: {jetstream: {versions: [{version: latest, natsImage: 'nats:2.12.7', metricsExporterImage: 'e:1'}]}}";
    let found = json!(stateful_set(&servers(&json!({"version": "latest"}), config), &owner()));
    let containers = found["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
    assert_eq!(containers.len(), 2);
    assert_eq!((&containers[1]["name"], &containers[1]["image"]), (&json!("metrics"), &json!("e:1")));
}

#[test]
fn a_change_of_settings_is_a_change_of_the_template_and_a_change_of_a_label_of_the_set_is_none() {
    let template = |jetstream: Value| set(&jetstream)["spec"]["template"].clone();
    let plain = template(json!({"version": "latest"}));
    assert_eq!(plain, template(json!({"version": "latest"})));
    assert_ne!(plain, template(json!({"version": "latest", "settings": "max_payload: 2MB"})));
    // Settings of streams are for clients.
    assert_eq!(plain, template(json!({"version": "latest", "bufferConfig": "stream: {maxMsgs: 5}"})));
}
