//! The OpenAPI document, held against what is served.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::caller::{Site, request, text};
use super::fake;

#[tokio::test]
async fn every_described_operation_is_served_and_every_reference_leads_somewhere() {
    let site = Site::start().await;
    site.place.put(fake::pipeline("p"));
    let (_, document) = site.get("/api/v2/openapi.json").await;
    assert_eq!(document, tidegate_server::openapi_document());
    let mut count = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            count += 1;
            if path.ends_with("/shutdown") || path.ends_with("/watch") {
                continue;
            }
            let asked = request(&method.to_uppercase(), &path.replace("{name}", "p"), "");
            let (status, body) = text(site.open(asked).await).await;
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert!(!body.contains("find this path"), "{method} {path}");
        }
    }
    assert_eq!(count, 16);
    let text = document.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn real_answers_have_the_described_shape() {
    let site = Site::start().await;
    let mut object = fake::pipeline("p");
    object.phase = "Pausing".to_owned();
    site.place.put(object);
    site.place.say("p", plan::Event::warning("vertex cat", "Stuck", "nothing moves"));
    site.place.answer(vec![fake::applied("p", "configured", &["live"])]);
    let (_, document) = site.get("/api/v2/openapi.json").await;
    for (method, path, name) in [
        ("GET", "/api/v2/objects", "ObjectList"),
        ("GET", "/api/v2/events", "EventList"),
        ("GET", "/api/v2/objects/p/incidents", "IncidentList"),
        ("GET", "/api/v2/objects/p/why", "FindingList"),
        ("GET", "/api/v2/objects/p/history", "History"),
        ("GET", "/api/v2/version", "Version"),
        ("GET", "/api/v2/watch", "Watch"),
        ("GET", "/api/v2/nope", "ErrorBody"),
        ("POST", "/api/v2/apply", "AppliedList"),
    ] {
        let (_, body) = site.ask(method, path, "{}").await;
        fits(&document, &json!({"$ref": format!("#/components/schemas/{name}")}), &body, path);
    }
    let sent = serde_json::to_value(platform::place::Apply::default()).unwrap();
    fits(&document, &json!({"$ref": "#/components/schemas/Apply"}), &sent, "Apply");
}

/// Fails when the value has a part that is not described, or lacks one that is.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&reference[1..]).unwrap(), value, at);
    }
    if let Some(either) = schema["anyOf"].as_array() {
        if !value.is_null() {
            fits(document, &either[0], value, at);
        }
        return;
    }
    match schema["type"].as_str() {
        None => {}
        Some("array") => {
            for item in value.as_array().unwrap_or_else(|| panic!("{at}: {value}")) {
                fits(document, schema.get("items").unwrap_or(&json!({})), item, &format!("{at}[]"));
            }
        }
        Some("object") => {
            let members = value.as_object().unwrap_or_else(|| panic!("{at}: {value}"));
            if let Some(each) = schema.get("additionalProperties") {
                members.iter().for_each(|(key, value)| fits(document, each, value, key));
                return;
            }
            let described = schema["properties"].as_object().unwrap();
            let mut names: Vec<&String> = described.keys().collect();
            let mut found: Vec<&String> = members.keys().collect();
            names.sort();
            found.sort();
            assert_eq!(names, found, "{at}");
            for (key, value) in members {
                fits(document, &described[key], value, &format!("{at}.{key}"));
            }
        }
        Some("string") => assert!(value.is_string(), "{at}: {value}"),
        Some("integer") => assert!(value.is_i64() || value.is_u64(), "{at}: {value}"),
        Some("number") => assert!(value.is_number(), "{at}: {value}"),
        Some("boolean") => assert!(value.is_boolean(), "{at}: {value}"),
        Some(other) => panic!("{at}: a schema of type {other}"),
    }
}
