//! The controller's configuration, in the form that operators know from the reference. The invariant: every value that is
//! written here is what a controller without any configuration would do, so that a part that is left out changes nothing.

use serde_json::{Value, json};

use crate::{Scope, Settings, names};

/// The ConfigMaps of a controller.
pub(crate) fn objects(settings: &Settings) -> Vec<Value> {
    let mut params = json!({});
    if settings.scope == Scope::Namespaced {
        params["namespaced"] = json!("true");
    }
    vec![
        config_map(settings, names::CONFIG_MAP, &json!({names::CONFIG_KEY: text(settings)})),
        config_map(settings, names::PARAMS_CONFIG_MAP, &params),
    ]
}

fn config_map(settings: &Settings, name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": settings.metadata(name), "data": data})
}

/// What a controller without a configuration goes by: the text that is installed when nothing is said.
pub fn default_configuration() -> String {
    text(&Settings::new(Scope::Cluster))
}

/// The configuration as people edit it; texts inside it are YAML again, as in the reference.
fn text(settings: &Settings) -> String {
    let Settings { instance, nats_image, nats_command, .. } = settings;
    let instance = Value::String(instance.clone());
    let nats_image = Value::String(nats_image.clone());
    let nats_command = Value::String(nats_command.clone());
    format!(
        "\
# Which controller this is; it looks after objects with this value in the annotation
# numaflow.numaproj.io/instance, and the only controller has none.
instance: {instance}
defaults:
  # Requests and limits of our own containers in pods, unless a manifest says otherwise.
  containerResources: |
    requests:
      cpu: 100m
      memory: 128Mi
isbsvc:
  jetstream:
    # Settings of every server; those in the manifest of a service win.
    settings: |
      max_payload: 1048576
      max_memory_store: -1
      max_file_store: 1TB
    # Settings of streams; those in the manifest of a service win.
    bufferConfig: |
      stream:
        maxMsgs: 100000
        storage: 0
        replicas: 3
        duplicates: 60s
    # What `version` in the manifest of a service stands for. `configReloaderImage` and `metricsExporterImage`
    # add containers that reload configuration and export metrics; neither is needed.
    versions:
    - version: latest
      natsImage: {nats_image}
      startCommand: {nats_command}
    - version: 2.12.7
      natsImage: nats:2.12.7
      startCommand: /nats-server
"
    )
}
