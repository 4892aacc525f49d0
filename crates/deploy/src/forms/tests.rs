//! The files of `deploy/` held against the list that is printed. Helm and kustomize themselves are for the tests of a cluster;
//! here stands in what little of them the files use. Invariant: an expression that is not understood fails the test.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{chart_settings, files, manifest};
use crate::{Part, Scope, Settings, objects, part};

fn read(text: &str) -> Vec<Value> {
    api::read::to_values(text.as_bytes(), "x.yaml").expect("it is YAML")
}

/// What kustomize makes of a directory: the objects of all its resources, in order.
fn kustomized(files: &BTreeMap<String, String>, dir: &str) -> Vec<Value> {
    let kustomization = &read(&files[&format!("{dir}/kustomization.yaml")])[0];
    let mut objects = Vec::new();
    for resource in kustomization["resources"].as_array().unwrap() {
        let resource = resource.as_str().unwrap();
        match resource.strip_prefix("../../") {
            Some(dir) => objects.extend(kustomized(files, dir)),
            None => objects.extend(read(&files[&format!("{dir}/{resource}")])),
        }
    }
    objects
}

/// What Helm makes of a template when a line of it holds a condition, an end, or expressions of known values.
fn rendered(template: &str, namespaced: bool, webhook: bool, values: &[(String, Value)]) -> Vec<Value> {
    let mut lines = String::new();
    let mut shown = true;
    for line in template.lines() {
        match line {
            "{{- if .Values.namespaced }}" => shown = namespaced,
            "{{- else if .Values.webhook }}" => shown = !namespaced && webhook,
            "{{- else }}" => shown = !namespaced && !webhook,
            "{{- end }}" => shown = true,
            _ if shown => {
                let mut line = line.to_owned();
                for (expression, value) in values {
                    line = line.replace(expression, &value.to_string());
                }
                assert!(!line.contains("{{"), "an expression without a value: {line}");
                lines.push_str(&line);
                lines.push('\n');
            }
            _ => {}
        }
    }
    read(&lines)
}

#[test]
fn kustomize_makes_what_install_prints() {
    let files = files();
    for (scope, dir) in [(Scope::Cluster, "kustomize/cluster"), (Scope::Namespaced, "kustomize/namespaced")] {
        let printed = read(&manifest(&Settings::new(scope)));
        let mut made = kustomized(&files, dir);
        assert_eq!(printed, objects(&Settings::new(scope)));
        // A directory is one resource, so that the definitions of a namespaced installation stand where it does.
        let by_name = |object: &Value| (object["kind"].to_string(), object["metadata"]["name"].to_string());
        let mut printed = printed;
        made.sort_by_key(by_name);
        printed.sort_by_key(by_name);
        assert_eq!(made, printed);
    }
}

#[test]
fn the_chart_makes_what_install_prints() {
    let files = files();
    let defaults = Settings::new(Scope::Cluster);
    let Settings {
        namespace, image, image_pull_policy, nats_image, nats_command, replicas, resources, ..
    } = chart_settings(Scope::Cluster, true);
    let text = |value: Value| value.as_str().unwrap().to_owned();
    let values = [
        (namespace, json!("flows")),
        (image, json!(defaults.image)),
        (image_pull_policy, json!(defaults.image_pull_policy)),
        (nats_image, json!(defaults.nats_image)),
        (nats_command, json!(defaults.nats_command)),
        (text(replicas), defaults.replicas),
        (text(resources), defaults.resources),
    ];
    for (scope, webhook) in [(Scope::Cluster, true), (Scope::Cluster, false), (Scope::Namespaced, true)] {
        let settings = Settings { namespace: "flows".to_owned(), webhook, ..Settings::new(scope) };
        for each in [Part::Rights, Part::Configuration, Part::Controller, Part::Webhook] {
            let template = &files[&format!("chart/templates/{}.yaml", each.name())];
            let made = rendered(template, scope == Scope::Namespaced, webhook, &values);
            assert_eq!(made, part(each, &settings), "{scope:?} {webhook} {each:?}");
        }
    }
}

#[test]
fn the_values_of_the_chart_are_the_defaults() {
    let files = files();
    let values = &read(&files["chart/values.yaml"])[0];
    let defaults = Settings::new(Scope::Cluster);
    let image = format!("{}:{}", values["image"]["repository"].as_str().unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(image, defaults.image);
    assert_eq!(values["natsImage"], json!(defaults.nats_image));
    assert_eq!(values["resources"], defaults.resources);
    assert_eq!(values["replicas"], defaults.replicas);
    // Every value is used by a template.
    let templates: String = files
        .iter()
        .filter(|(name, _)| name.starts_with("chart/templates/"))
        .map(|(_, text)| text.as_str())
        .collect();
    for name in values.as_object().unwrap().keys() {
        assert!(templates.contains(&format!(".Values.{name}")), "{name}");
    }
}

#[test]
fn a_namespaced_installation_has_nothing_beyond_its_namespace_but_definitions() {
    for object in objects(&Settings::new(Scope::Namespaced)) {
        let kind = object["kind"].as_str().unwrap();
        let is_shared = ["CustomResourceDefinition", "Namespace"].contains(&kind);
        assert_eq!(object["metadata"].get("namespace").is_none(), is_shared, "{kind}");
    }
}

#[test]
fn instances_do_not_share_objects_without_a_namespace() {
    let with = |instance: &str| Settings {
        instance: instance.to_owned(),
        namespace: instance.to_owned(),
        ..Settings::new(Scope::Cluster)
    };
    let names = |settings: &Settings| -> Vec<String> {
        let own = objects(settings).into_iter().filter(|object| {
            let kind = object["kind"].as_str().unwrap_or_default();
            let is_for_people =
                object["metadata"]["name"].as_str().is_some_and(|name| name.contains("aggregate"));
            object["metadata"].get("namespace").is_none()
                && kind != "CustomResourceDefinition"
                && !is_for_people
        });
        own.map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"])).collect()
    };
    let (first, second) = (names(&with("east")), names(&with("west")));
    assert_eq!(first.len(), 4, "{first:?}");
    assert!(first.iter().all(|name| !second.contains(name)), "{first:?} {second:?}");
}

#[test]
fn no_right_is_a_wildcard() {
    for object in objects(&Settings::new(Scope::Cluster)) {
        assert!(!object["rules"].to_string().contains('*'), "{}", object["metadata"]["name"]);
    }
}

#[test]
fn the_controller_runs_under_the_restricted_profile() {
    let objects = objects(&Settings::new(Scope::Cluster));
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], expected);
    }
}
