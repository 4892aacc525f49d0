//! Questions as an API server asks them, and the answers as it reads them. Invariant: each refusal is one that the API
//! server's own schema would have let through.

use serde_json::{Value, json};

use super::answer;

fn pipeline(spec: &str) -> Value {
    let text = format!(
        "{{apiVersion: numaflow.numaproj.io/v1alpha1, kind: Pipeline, metadata: {{name: p, namespace: n, uid: u, \
         managedFields: [{{manager: kubectl}}]}}, spec: {spec}}}"
    );
    api::read::to_values(text.as_bytes(), "x").unwrap().remove(0)
}

const GOOD: &str = "{vertices: [{name: in, source: {generator: {}}}, {name: out, sink: {log: {}}}], edges: [{from: in, to: out}]}";
const BAD: &str = "{vertices: [{name: in, source: {generator: {}}}, {name: out, sink: {log: {}}}], edges: [{from: in, to: uot}]}";

fn ask(object: &Value, old_object: &Value) -> Value {
    let question = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "42", "operation": "CREATE", "object": object, "oldObject": old_object, "extra": {}},
    });
    let answer: Value = serde_json::from_slice(&answer(question.to_string().as_bytes()).unwrap()).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "42");
    answer["response"].clone()
}

#[test]
fn a_good_manifest_is_let_through() {
    assert_eq!(ask(&pipeline(GOOD), &Value::Null), json!({"uid": "42", "allowed": true}));
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let response = ask(&pipeline(BAD), &Value::Null);
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 400);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("spec.edges[0].to: "), "{message}");
    assert!(message.contains("did you mean `out`?"), "{message}");
}

#[test]
fn a_change_that_would_lose_something_is_refused() {
    let other = GOOD.replacen('{', "{interStepBufferServiceName: other, ", 1);
    let response = ask(&pipeline(&other), &pipeline(GOOD));
    let message = response["status"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "spec.interStepBufferServiceName: the buffer service cannot change from `default` to `other` (delete the object \
         and make it again, or make another one beside it)"
    );
}

#[test]
fn an_object_that_was_stored_before_can_still_be_labelled_and_deleted() {
    let mut labelled = pipeline(BAD);
    labelled["metadata"]["labels"] = json!({"team": "a"});
    assert_eq!(ask(&labelled, &pipeline(BAD))["allowed"], true);
    let mut ending = pipeline(&BAD.replace("uot", "tuo"));
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
    assert_eq!(ask(&ending, &pipeline(BAD))["allowed"], true);
    assert_eq!(ask(&Value::Null, &pipeline(BAD))["allowed"], true, "a deletion");
}

#[test]
fn a_bad_object_can_be_mended() {
    assert_eq!(ask(&pipeline(GOOD), &pipeline(BAD))["allowed"], true);
}

#[test]
fn what_is_no_question_is_said_to_be_none() {
    for text in ["", "{}", "[]", "{\"request\": {}}"] {
        let error = answer(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "understand the question as an AdmissionReview", "{text}");
    }
}
