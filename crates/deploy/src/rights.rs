//! Who may do what: the controller's own rights, and what people with the stock roles `admin`, `edit` and `view` may do
//! with the five kinds. The invariant: the controller gets no verb that it does not use, and namespaced it gets nothing
//! beyond its namespace. What pipelines run gets no right at all.

use api::spec::resource::GROUP;
use api::spec::{
    InterStepBufferServiceSpec, Kind, MonoVertexSpec, PipelineSpec, ServingPipelineSpec, VertexSpec,
};
use serde_json::{Value, json};

use crate::{Scope, Settings, names};

const KINDS: [&str; 5] = [
    InterStepBufferServiceSpec::PLURAL,
    PipelineSpec::PLURAL,
    VertexSpec::PLURAL,
    MonoVertexSpec::PLURAL,
    ServingPipelineSpec::PLURAL,
];

const WATCHED: [&str; 3] = ["get", "list", "watch"];

/// The ServiceAccount, its rights, and those of people.
pub(crate) fn objects(settings: &Settings) -> Vec<Value> {
    let mut objects = vec![json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": settings.metadata(names::SERVICE_ACCOUNT),
    })];
    let own = [names::OWN_ROLE, names::OWN_BINDING];
    objects.extend(granted(settings, Scope::Namespaced, own, &own_rules()));
    let rules = rules(settings);
    objects.extend(granted(settings, settings.scope, [names::ROLE, names::BINDING], &rules));
    if settings.scope == Scope::Cluster {
        objects.extend(people(settings));
    }
    objects
}

/// A role and its binding, for one namespace or for all.
fn granted(settings: &Settings, scope: Scope, [role, binding]: [&str; 2], rules: &Value) -> [Value; 2] {
    let named = |name: &str| match scope {
        Scope::Cluster => settings.cluster_metadata(&settings.cluster_name(name)),
        Scope::Namespaced => settings.metadata(name),
    };
    let prefix = match scope {
        Scope::Cluster => "Cluster",
        Scope::Namespaced => "",
    };
    let role = named(role);
    let version = "rbac.authorization.k8s.io/v1";
    [
        json!({
            "apiVersion": version,
            "kind": format!("{prefix}Role"),
            "metadata": role,
            "rules": rules,
        }),
        json!({
            "apiVersion": version,
            "kind": format!("{prefix}RoleBinding"),
            "metadata": named(binding),
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": format!("{prefix}Role"),
                "name": role["name"],
            },
            "subjects": [{
                "kind": "ServiceAccount",
                "name": names::SERVICE_ACCOUNT,
                "namespace": settings.namespace,
            }],
        }),
    ]
}

/// What the controller does in its own namespace, whatever it looks after.
fn own_rules() -> Value {
    json!([
        // A lease cannot be created under a fixed name by rule, so creating stands alone.
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update", "patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [names::WEBHOOK_SECRET],
            "verbs": ["get", "update", "patch"],
        },
    ])
}

/// What the controller does in the namespaces it looks after.
fn rules(settings: &Settings) -> Value {
    let all = ["create", "get", "list", "watch", "update", "patch", "delete"];
    let below = |suffix: &str| KINDS.map(|kind| format!("{kind}/{suffix}"));
    let mut rules = vec![
        json!({"apiGroups": [GROUP], "resources": KINDS, "verbs": all}),
        json!({"apiGroups": [GROUP], "resources": below("status"), "verbs": ["get", "update", "patch"]}),
        json!({"apiGroups": [GROUP], "resources": below("finalizers"), "verbs": ["update"]}),
        json!({
            "apiGroups": [GROUP],
            "resources": [format!("{}/scale", VertexSpec::PLURAL), format!("{}/scale", MonoVertexSpec::PLURAL)],
            "verbs": ["get", "update", "patch"],
        }),
        json!({
            "apiGroups": [""],
            "resources": ["pods", "services", "configmaps", "persistentvolumeclaims"],
            "verbs": all,
        }),
        // Secrets are never listed: the controller reads those it has made or an object names, one by one.
        json!({
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["create", "get", "patch", "delete"],
        }),
        json!({"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": all}),
        json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "watch", "patch", "delete"]}),
        json!({"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": all}),
        // Why a set does not make a pod, only its events say.
        json!({
            "apiGroups": ["", "events.k8s.io"],
            "resources": ["events"],
            "verbs": ["create", "list", "patch"],
        }),
    ];
    if settings.has_webhook() {
        rules.push(json!({
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingwebhookconfigurations"],
            "resourceNames": [settings.cluster_name(names::WEBHOOK_CONFIGURATION)],
            "verbs": ["get", "patch"],
        }));
    }
    Value::Array(rules)
}

/// Rights that Kubernetes adds to its own roles of these names.
fn people(settings: &Settings) -> [Value; 3] {
    let write = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let all: Vec<String> =
        KINDS.iter().flat_map(|kind| [(*kind).to_owned(), format!("{kind}/scale")]).collect();
    let status = KINDS.map(|kind| format!("{kind}/status"));
    [("admin", write.as_slice()), ("edit", write.as_slice()), ("view", WATCHED.as_slice())].map(
        |(name, verbs)| {
            let mut metadata = settings.cluster_metadata(&format!("numaflow-aggregate-to-{name}"));
            metadata["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{name}")] = json!("true");
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": metadata,
                "rules": [
                    {"apiGroups": [GROUP], "resources": all, "verbs": verbs},
                    {"apiGroups": [GROUP], "resources": status, "verbs": WATCHED},
                ],
            })
        },
    )
}
