//! Flags of `tidegate controller`, and those that say which cluster is meant.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::LogFormat;

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct ClusterOption {
    /// The kubeconfig [default: KUBECONFIG, then ~/.kube/config; in a pod, its service account].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Flags of `controller`.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Looks after the Pipelines, MonoVertices and InterStepBufferServices of a cluster. A pod of it is \
                  installed by `tidegate install`; started by hand it acts with the rights of the kubeconfig. It must \
                  reach the pods of the cluster on port 4327.",
    after_help = "Example: tidegate controller --namespaced --managed-namespace lab --image tidegate:1\n\n\
                  Exit codes: 0 told to stop, 1 failed or lost its lease, 2 flags cannot be used."
)]
pub(crate) struct ControllerArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterOption,
    /// Look after one namespace instead of all [also: NUMAFLOW_CONTROLLER_NAMESPACED=true].
    #[arg(long)]
    pub(crate) namespaced: bool,
    /// That namespace [default: NUMAFLOW_CONTROLLER_MANAGED_NAMESPACE, then the controller's own].
    #[arg(long, value_name = "NAME")]
    pub(crate) managed_namespace: Option<String>,
    /// The image that pods run [default: NUMAFLOW_IMAGE].
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// When it is pulled: Always, IfNotPresent or Never [default: NUMAFLOW_IMAGE_PULL_POLICY, then Kubernetes' rule].
    #[arg(long, value_name = "POLICY")]
    pub(crate) image_pull_policy: Option<String>,
    /// What the operator sets, in the form of the reference; a file that is not there sets nothing.
    #[arg(long, value_name = "FILE", default_value = "/etc/numaflow/controller-config.yaml")]
    pub(crate) config: PathBuf,
    /// Answer /healthz and /readyz on this port, for the probes of a kubelet.
    #[arg(long, value_name = "PORT")]
    pub(crate) probes_port: Option<u16>,
    /// Act without a lease: for a controller that is certainly the only one
    /// [also: NUMAFLOW_LEADER_ELECTION_DISABLED=true].
    #[arg(long)]
    pub(crate) no_leader_election: bool,
    /// The form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}
