//! Requests to an API server that refuses, puts off and contradicts. Invariant: what a test says was asked is all that was.

use std::time::Instant;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::json;

use super::*;
use crate::kube::scripted::Scripted;

fn failure(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": format!("the test says {reason}"),
    })
}

fn map() -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": "one", "resourceVersion": "7"}})).unwrap()
}

#[tokio::test]
async fn a_request_that_is_put_off_is_made_again_no_sooner_than_was_said() {
    let late = (429, Some(1), failure(429, "TooManyRequests"));
    let server = Scripted::new(vec![late, (200, None, json!(map()))]).await;
    let begun = Instant::now();
    let found = Hands::new(server.client.clone()).get::<ConfigMap>("flows", "one").await.unwrap();
    assert_eq!(found.unwrap().metadata.resource_version.as_deref(), Some("7"));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(server.asked(), ["GET /api/v1/namespaces/flows/configmaps/one"; 2]);
}

#[tokio::test]
async fn a_request_that_is_put_off_for_too_long_ends_with_words() {
    let server = Scripted::new(vec![(429, Some(60), failure(429, "TooManyRequests"))]).await;
    let api: Api<Pod> = Api::namespaced(server.client.clone(), "flows");
    let request = api.get("one");
    let outcome = answered(Duration::from_millis(300), "read Pod one".to_owned(), request).await;
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "read Pod one: within 15 s the API server has not answered, or has put it off each time (429, 503)"
    );
    assert_eq!(server.asked().len(), 1, "not before the minute is over");
}

#[tokio::test]
async fn an_object_that_somebody_else_has_changed_is_not_replaced() {
    let server = Scripted::new(vec![(409, None, failure(409, "Conflict"))]).await;
    let error = Hands::new(server.client.clone()).replace("flows", &map()).await.unwrap_err();
    assert!(error.is_conflict());
    assert!(error.text().contains("the test says Conflict"), "{}", error.text());
    assert_eq!(server.asked(), ["PUT /api/v1/namespaces/flows/configmaps/one?&fieldManager=tidegate"]);
}

#[tokio::test]
async fn a_life_that_was_meant_and_has_gone_is_fine() {
    for code in [404, 409] {
        let server = Scripted::new(vec![(code, None, failure(code, "Whatever"))]).await;
        let hands = Hands::new(server.client.clone());
        hands.delete::<Pod>("flows", ("one", Some("42")), None).await.unwrap();
        assert_eq!(server.asked().len(), 1);
    }
    let server = Scripted::new(vec![(403, None, failure(403, "Forbidden"))]).await;
    let hands = Hands::new(server.client.clone());
    let error = hands.delete::<Pod>("flows", ("one", None), None).await.unwrap_err();
    assert!(error.text().contains("delete Pod one: "), "{}", error.text());
}
