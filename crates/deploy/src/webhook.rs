//! The registration of the admission webhook. The invariant: a webhook that does not answer is passed over, so that no
//! state of the controller keeps people from changing their objects; what it would have said is in the status instead.

use api::spec::resource::{GROUP, VERSION};
use api::spec::{InterStepBufferServiceSpec, Kind, MonoVertexSpec, PipelineSpec, ServingPipelineSpec};
use serde_json::{Value, json};

use crate::{Settings, names};

/// How long an API server waits for an answer.
const TIMEOUT_SECONDS: u32 = 5;

/// The registration without a certificate: the controller puts in the one it has made.
pub(crate) fn registration(settings: &Settings) -> Value {
    // Each of several controllers checks its own objects.
    let mine = format!(
        "(has(object.metadata.annotations) && '{0}' in object.metadata.annotations ? \
         object.metadata.annotations['{0}'] : '') == '{1}'",
        api::names::INSTANCE_ANNOTATION,
        settings.instance
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": settings.cluster_metadata(&settings.cluster_name(names::WEBHOOK_CONFIGURATION)),
        "webhooks": [{
            "name": names::WEBHOOK_CONFIGURATION,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "service": {
                    "name": names::WEBHOOK,
                    "namespace": settings.namespace,
                    "path": names::WEBHOOK_PATH,
                    "port": 443,
                },
            },
            "rules": [{
                "apiGroups": [GROUP],
                "apiVersions": [VERSION],
                "resources": [
                    InterStepBufferServiceSpec::PLURAL,
                    PipelineSpec::PLURAL,
                    MonoVertexSpec::PLURAL,
                    ServingPipelineSpec::PLURAL,
                ],
                "operations": ["CREATE", "UPDATE"],
                "scope": "Namespaced",
            }],
            "matchConditions": [{"name": "instance", "expression": mine}],
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "sideEffects": "None",
            "timeoutSeconds": TIMEOUT_SECONDS,
        }],
    })
}
