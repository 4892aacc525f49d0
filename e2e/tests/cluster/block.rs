//! Pods that nobody can create: a webhook that is down and must be asked. Invariant: it is about one namespace only, and is
//! taken away with the value, whatever a test comes to.

use serde_json::{Value, json};

use crate::kubectl;

/// Keeps pods from being created for as long as it lives.
pub(crate) struct Block {
    name: String,
}

impl Block {
    /// Of pods with these labels, or of all pods of the namespace.
    pub(crate) fn of(name: &str, labels: &Value) -> Self {
        let namespace = kubectl::namespace();
        let name = format!("{name}.{namespace}.example");
        kubectl::apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": name,
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"name": "nobody", "namespace": namespace, "path": "/"}},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"],
                }],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {"matchLabels": labels},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": 1,
            }],
        }));
        let block = Self { name };
        // An API server hears of it a moment later.
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "blocked", "labels": labels},
            "spec": {"containers": [{"name": "none", "image": "none"}]},
        });
        if labels.as_object().is_some_and(serde_json::Map::is_empty) {
            pod["metadata"]["labels"] = json!({"any": "one"});
        }
        e2e::wait::within(kubectl::LIMIT, "pods cannot be created", || {
            kubectl::feed(&["create", "--dry-run=server", "-f", "-"], &pod.to_string()).err()
        });
        block
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        kubectl::run(&["delete", "validatingwebhookconfiguration", &self.name, "--ignore-not-found"]);
    }
}
