//! Who gets the lease when several want it. Invariant: time is the test's.

use serde_json::{Value, json};

use super::*;
use crate::kube::scripted::Scripted;

fn held(by: &str, renewed: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "lock", "namespace": "flows", "resourceVersion": "7"},
        "spec": {"holderIdentity": by, "renewTime": renewed, "leaseDurationSeconds": 15, "leaseTransitions": 1},
    })
}

const FIRST: &str = "2026-11-21T00:00:00.000000Z";
const SECOND: &str = "2026-11-21T00:00:02.000000Z";

fn candidate(server: &Scripted) -> Candidate {
    Candidate::new(Hands::new(server.client.clone()), ("flows", "lock"), "me", Timing::default())
}

fn lease(value: Value) -> Lease {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn of_two_that_take_a_free_lease_the_slower_one_waits() {
    let conflict = json!({"kind": "Status", "code": 409, "reason": "Conflict", "message": "changed", "status": "Failure"});
    let server = Scripted::new(vec![(200, None, held("", FIRST)), (409, None, conflict)]).await;
    assert!(!candidate(&server).attempt().await.unwrap());
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[1].starts_with("PUT /apis/coordination.k8s.io/v1/namespaces/flows/leases/lock"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_lease_is_taken_over_only_after_its_holder_was_silent_for_as_long_as_it_holds() {
    let server = Scripted::new(vec![(500, None, Value::Null)]).await;
    let mut candidate = candidate(&server);
    tokio::time::pause();
    assert!(!candidate.is_free(&lease(held("other", FIRST))), "its time is not known yet");
    tokio::time::advance(Duration::from_secs(14)).await;
    assert!(!candidate.is_free(&lease(held("other", SECOND))), "it was renewed");
    tokio::time::advance(Duration::from_secs(14)).await;
    assert!(!candidate.is_free(&lease(held("other", SECOND))));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(candidate.is_free(&lease(held("other", SECOND))));
    assert!(candidate.is_free(&lease(held("", SECOND))), "it was given back");
}

#[tokio::test]
async fn a_lease_that_changes_hands_is_counted_and_one_that_is_renewed_is_not() {
    let server = Scripted::new(vec![(500, None, Value::Null)]).await;
    let candidate = candidate(&server);
    let taken = candidate.lease(Some(lease(held("other", FIRST)))).spec.unwrap();
    assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("me"), Some(2)));
    let renewed = candidate.lease(Some(lease(held("me", FIRST))));
    assert_eq!(renewed.metadata.resource_version.as_deref(), Some("7"), "only over the one that was read");
    assert_eq!(renewed.spec.unwrap().lease_transitions, Some(1));
}
