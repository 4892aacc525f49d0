//! Rendered objects as cases: `cases/<name>.yaml` is a manifest, `cases/<name>.json` is everything that is made for it in
//! print, with what variables carry as base64 unpacked. Invariant: a case passes only when its print is the committed one,
//! or was just made it by somebody who said so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::revision;
use api::spec::stock::{Quantity, ResourceRequirements, SecretKeySelector};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plan::seen::WorkerName;
use serde_json::{Value, json};

use super::*;
use crate::kube::names::ObjectKind;

/// What somebody does who meant the difference.
const HOW: &str =
    "if that is meant: TIDEGATE_UPDATE_CASES=1 cargo test -p tidegate-platform --lib kube::render";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kube/render/cases")
}

fn object(name: &str) -> Object {
    let text = std::fs::read(directory().join(format!("{name}.yaml"))).unwrap();
    let (mut objects, _) = api::load([(name, text.as_slice())]).accept().unwrap();
    match objects.remove(0) {
        api::Object::Pipeline(pipeline) => Object::Pipeline(pipeline),
        api::Object::MonoVertex(mono) => Object::Mono(mono),
        other => panic!("{name} is a {}", other.kind()),
    }
}

fn broker() -> Broker {
    let key = |key: &str| SecretKeySelector {
        name: "isbsvc-default-js-client-auth".to_owned(),
        key: key.to_owned(),
        optional: None,
    };
    Broker {
        url: "nats://isbsvc-default-js-svc.blue.svc:4222".to_owned(),
        tls: false,
        user: Some(key("client-auth-user")),
        password: Some(key("client-auth-password")),
        config: json!({"url": "nats://isbsvc-default-js-svc.blue.svc:4222"}),
    }
}

fn settings() -> Settings {
    let quantity = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    Settings {
        image: "tidegate:1".to_owned(),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        resources: ResourceRequirements {
            requests: Some([quantity("cpu", "100m"), quantity("memory", "128Mi")].into()),
            ..ResourceRequirements::default()
        },
        instance: None,
    }
}

/// Everything that is made of a manifest, by kind and name.
fn rendered(name: &str) -> BTreeMap<String, Value> {
    let object = object(name);
    let all = object.settings();
    let kind = match &object {
        Object::Pipeline(_) => ObjectKind::Pipeline,
        Object::Mono(_) => ObjectKind::MonoVertex,
    };
    let revision_of = |vertex: &str| match &object {
        Object::Pipeline(pipeline) => revision::of_vertex(pipeline, vertex, None),
        Object::Mono(mono) => revision::of_mono_vertex(mono, None),
    };
    let key = Key { namespace: "blue".to_owned(), kind, name: all.name.clone() };
    let (broker, settings) = (broker(), settings());
    let is_mono = kind == ObjectKind::MonoVertex;
    let scene =
        Scene { key: &key, object: &object, broker: (!is_mono).then_some(&broker), settings: &settings };
    let owner = Owner { kind: kind.as_str().to_owned(), name: key.name.clone(), uid: "1".to_owned() };
    let mut made = vec![
        json!(daemon::deployment(&scene, "base", &owner)),
        json!(daemon::token(&key, &owner, "word")),
        json!(service::daemon(&key, &owner)),
    ];
    made.extend(cleaner::job(&scene, &owner).map(|job| json!(job)));
    for vertex in &all.vertices {
        if let Object::Pipeline(pipeline) = &object {
            made.push(json!(vertex::object(&key, pipeline, &all.vertices, vertex, &owner)));
        }
        made.push(json!(service::headless(&key, &vertex.name, &owner)));
        let source = pod::source(&object, vertex);
        let fewest = budget::fewest(&vertex.update, 4).unwrap();
        made.push(json!(budget::budget(&key, (&vertex.name, fewest), &owner)));
        made.extend(service::http(&key, &vertex.name, source.as_deref(), &owner).map(|one| json!(one)));
        let name = WorkerName { revision: revision_of(&vertex.name), replica: 3 };
        let worker = pod::Worker { vertex: &vertex.name, name: &name, suffix: "abc12" };
        made.push(json!(pod::pod(&scene, &worker, &owner)));
    }
    let named = |mut object: Value| {
        unpack(&mut object);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"])), object)
    };
    made.into_iter().map(named).collect()
}

/// Shows what variables carry as base64.
fn unpack(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
            if name.ends_with("_OBJECT") || name.ends_with("_CONFIG") {
                let text = fields["value"].as_str().unwrap();
                fields["value"] = serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap();
            }
            fields.values_mut().for_each(unpack);
        }
        Value::Array(items) => items.iter_mut().for_each(unpack),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn cases_are_rendered_as_committed() {
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let found = format!("{:#}\n", json!(rendered(&name)));
        let committed = path.with_extension("json");
        if std::fs::read_to_string(&committed).unwrap_or_default() == found {
            continue;
        }
        if std::env::var_os("TIDEGATE_UPDATE_CASES").is_some() {
            std::fs::write(&committed, found).unwrap();
        } else {
            failures.push(committed.display().to_string());
        }
    }
    assert!(failures.is_empty(), "these differ: {}; {HOW}", failures.join(", "));
}

#[test]
fn every_container_keeps_to_the_restricted_profile() {
    for name in ["simple", "user_code", "mono"] {
        for (object, value) in rendered(name) {
            let spec = match object.split_once(' ').unwrap().0 {
                "Pod" => &value["spec"],
                "Deployment" | "Job" => &value["spec"]["template"]["spec"],
                _ => continue,
            };
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}: {object}");
            assert_eq!(
                spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{name}: {object}"
            );
            let containers = ["containers", "initContainers"].into_iter();
            for container in containers.flat_map(|list| spec[list].as_array().into_iter().flatten()) {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}: {object}: {container:#}");
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}: {object}");
                if container["name"] == "numa" {
                    assert_eq!(context["readOnlyRootFilesystem"], true, "{name}: {object}");
                }
            }
        }
    }
}

#[test]
fn a_budget_leaves_what_an_update_leaves_and_never_asks_for_all() {
    let update = |unavailable: &str| {
        let text = format!(
            "{{apiVersion: numaflow.numaproj.io/v1alpha1, kind: MonoVertex, metadata: {{name: one}}, spec: {{source: \
             {{generator: {{}}}}, sink: {{log: {{}}}}, updateStrategy: {{rollingUpdate: {{maxUnavailable: {unavailable}}}}}}}}}"
        );
        let (mut objects, _) = api::load([("one", text.as_bytes())]).accept().unwrap();
        match objects.remove(0) {
            api::Object::MonoVertex(mono) => Object::Mono(mono).settings().vertices.remove(0).update,
            other => panic!("it is a {}", other.kind()),
        }
    };
    let cases =
        [("25%", 1, None), ("25%", 2, Some(1)), ("25%", 4, Some(3)), ("25%", 8, Some(6)), ("0", 3, Some(2))];
    for (unavailable, desired, fewest) in cases {
        assert_eq!(budget::fewest(&update(unavailable), desired), fewest, "{unavailable} of {desired}");
    }
    assert_eq!(budget::fewest(&update("3"), 3), None, "all may go at once");
}

#[test]
fn the_hash_of_an_object_is_of_what_is_wanted() {
    let made = rendered("simple");
    let service = made.iter().find(|(name, _)| name.starts_with("Service")).unwrap().1;
    let one = hashed(service);
    assert_eq!(one, hashed(service));
    let mut other = service.clone();
    other["spec"]["ports"][0]["port"] = json!(1);
    let hash = |value: &Value| value["metadata"]["annotations"][HASH_ANNOTATION].clone();
    assert_ne!(hash(&one), hash(&hashed(&other)));
}
