//! Where values come from, and what a manifest needs.

use std::fs;

use serde_json::json;

use super::{Assignment, Error, Kind, Need, Values, needs_of};

fn assignment(text: &str) -> Assignment {
    text.parse().unwrap()
}

fn object(name: &str, value: &[u8]) -> api::load::Values {
    let data = [("k".to_owned(), value.to_vec())].into();
    api::load::Values { name: name.to_owned(), namespace: "default".to_owned(), data }
}

#[test]
fn an_assignment_may_hold_further_equal_signs_and_be_empty() {
    let parsed = assignment("my-secret/my.key=a=b/c");
    assert_eq!(
        (parsed.name.as_str(), parsed.key.as_str(), parsed.value.as_str()),
        ("my-secret", "my.key", "a=b/c")
    );
    assert_eq!(assignment("s/k=").value, "");
}

#[test]
fn a_wrong_assignment_is_an_error_that_does_not_show_the_value() {
    for text in ["hunter2", "name=hunter2", "/key=hunter2", "name/=hunter2"] {
        let error = text.parse::<Assignment>().unwrap_err().to_string();
        let place = text.split('=').next().unwrap();
        assert_eq!(error, format!("understand {place:?}: a value is given as NAME/KEY=VALUE"));
    }
    assert_eq!(format!("{:?}", assignment("s/k=hunter2")), "s/k=…");
}

#[test]
fn values_come_from_flags_files_directories_and_objects() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("all/db/.hidden")).unwrap();
    fs::write(dir.path().join("all/db/user"), "me\n").unwrap();
    fs::write(dir.path().join("all/.ignored"), "x").unwrap();
    fs::write(dir.path().join("one"), "from file").unwrap();
    let mut values = Values::default();
    values.insert(Kind::Secret, &assignment("flag/k=v"));
    let file = format!("file/k={}", dir.path().join("one").display());
    values.insert_file(Kind::ConfigMap, &assignment(&file)).unwrap();
    values.insert_dir(Kind::Secret, &dir.path().join("all")).unwrap();
    values.insert_object(Kind::Secret, &object("object", b"hello")).unwrap();
    for (kind, name, key, value) in [
        (Kind::Secret, "flag", "k", "v"),
        (Kind::ConfigMap, "file", "k", "from file"),
        (Kind::Secret, "db", "user", "me\n"),
        (Kind::Secret, "object", "k", "hello"),
    ] {
        assert_eq!(values.value(kind, name, key), Some(value), "{kind} {name}/{key}");
    }
    assert_eq!(values.secrets().get("db", "user"), Ok("me"));
}

#[test]
fn a_value_that_is_not_text_is_named() {
    let mut values = Values::default();
    let error = values.insert_object(Kind::Secret, &object("s", b"\xff")).unwrap_err();
    assert!(matches!(error, Error::NotText { ref key, .. } if key == "k"), "{error}");
}

#[test]
fn every_reference_of_a_manifest_is_found() {
    let object = json!({
        "metadata": {"name": "p"},
        "spec": {
            "vertices": [{
                "name": "in",
                "source": {"http": {"auth": {"token": {"name": "my-secret", "key": "my-key"}}}},
                "volumes": [
                    {"name": "v", "secret": {"secretName": "whole"}},
                    {"name": "w", "configMap": {"name": "settings"}},
                    {"name": "x", "projected": {"sources": [{"secret": {"name": "part"}}]}},
                    {"name": "y", "configMap": {"name": "maybe", "optional": true}},
                ],
            }, {
                "name": "cat",
                "udf": {"container": {
                    "env": [
                        {"name": "A", "value": "plain"},
                        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
                        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "o", "key": "k", "optional": true}}},
                    ],
                    "envFrom": [{"secretRef": {"name": "env"}}],
                }},
                "tolerations": [{"key": "a", "operator": "Exists"}],
            }],
        },
    });
    let found: Vec<String> = needs_of(&object)
        .iter()
        .map(|need| format!("{} {} {}", need.kind, need.place(), need.path))
        .collect();
    assert_eq!(
        found,
        [
            "secret my-secret/my-key spec.vertices[0].source.http.auth.token",
            "secret whole spec.vertices[0].volumes[0].secret",
            "config map settings spec.vertices[0].volumes[1].configMap",
            "secret part spec.vertices[0].volumes[2].projected.sources[0].secret",
            "config map c/k spec.vertices[1].udf.container.env[1].valueFrom.configMapKeyRef",
            "secret env spec.vertices[1].udf.container.envFrom[0].secretRef",
        ]
    );
}

#[test]
fn all_that_is_missing_is_listed_with_the_flags_that_give_it() {
    let need = |kind, name: &str, key: Option<&str>, path: &str| Need {
        kind,
        name: name.to_owned(),
        key: key.map(str::to_owned),
        path: path.to_owned(),
    };
    let mut values = Values::default();
    values.insert(Kind::Secret, &assignment("have/it=1"));
    let needs = [
        need(Kind::Secret, "have", Some("it"), "a"),
        need(Kind::Secret, "my-secret", Some("my-key"), "spec.x"),
        need(Kind::ConfigMap, "c", None, "spec.y"),
    ];
    let text = values.check(&needs).unwrap_err().to_string();
    assert!(text.starts_with(
        "find what the manifest needs:\n  secret my-secret/my-key (at spec.x)\n  config map c (at spec.y)\n\
         give --config-map c/KEY=VALUE --secret my-secret/my-key=VALUE, or "
    ), "{text}");
    assert!(values.check(&needs[..1]).is_ok());
}
