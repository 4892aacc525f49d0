//! Names of what is installed. The invariant: names that operators know from the reference are the reference's, so that
//! an installation takes the place of one, and scripts that speak of it go on working.

/// The namespace of the controller unless another one is named.
pub const NAMESPACE: &str = "numaflow-system";
/// Where images are published; the tag is the version.
pub const IMAGE: &str = "ghcr.io/tidegate/tidegate";
/// The image of NATS servers unless another one is named; the oldest that will do is 2.12.0.
pub const NATS_IMAGE: &str = "nats:2.12.7";
/// The program in that image; in images that are made from others it may be elsewhere, such as in `PATH`.
pub const NATS_COMMAND: &str = "/nats-server";
/// The program in our image.
pub const PROGRAM: &str = "/tidegate";

/// Value of the label `app.kubernetes.io/part-of`.
pub const PART_OF: &str = "numaflow";
/// Value of the label `app.kubernetes.io/component`.
pub const COMPONENT: &str = "controller-manager";

/// The controller's Deployment.
pub const CONTROLLER: &str = "numaflow-controller";
/// The controller's ServiceAccount.
pub const SERVICE_ACCOUNT: &str = "numaflow-sa";
/// What the controller may do in the namespaces it looks after.
pub const ROLE: &str = "numaflow-role";
/// That the ServiceAccount may do it.
pub const BINDING: &str = "numaflow-binding";
/// What it may do in its own namespace: hold the lease, keep the certificate.
pub const OWN_ROLE: &str = "numaflow-controller-role";
/// That the ServiceAccount may do it.
pub const OWN_BINDING: &str = "numaflow-controller-binding";
/// The ConfigMap with the controller's configuration, in the key [`CONFIG_KEY`].
pub const CONFIG_MAP: &str = "numaflow-controller-config";
/// The key and the file name of the configuration.
pub const CONFIG_KEY: &str = "controller-config.yaml";
/// The directory in the container in which that file is.
pub const CONFIG_DIR: &str = "/etc/numaflow";
/// The ConfigMap with flags of commands.
pub const PARAMS_CONFIG_MAP: &str = "numaflow-cmd-params-config";
/// The lease that the leading controller holds; another instance adds `-INSTANCE`.
pub const LEASE: &str = "numaflow-controller-lock";

/// The Service in front of the admission webhook.
pub const WEBHOOK: &str = "numaflow-webhook";
/// The name of the port of the webhook; the API server takes at most 15 characters for one.
pub const WEBHOOK_PORT: &str = "webhook";
/// The registration of the admission webhook, and the name of the webhook in it.
pub const WEBHOOK_CONFIGURATION: &str = "webhook.numaflow.numaproj.io";
/// The Secret with the webhook's certificate.
pub const WEBHOOK_SECRET: &str = "numaflow-webhook-certs";
/// The path at which the webhook answers.
pub const WEBHOOK_PATH: &str = "/validate";

/// Ports of a controller.
pub mod ports {
    /// `/healthz` and `/readyz`, plain HTTP.
    pub const PROBES: u16 = 8081;
    /// The admission webhook, TLS; its Service listens on 443.
    pub const WEBHOOK: u16 = 9443;
}
