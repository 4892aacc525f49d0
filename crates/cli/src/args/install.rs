//! Flags of `install`.

use clap::{Args as ClapArgs, ValueEnum};

/// Flags of `install`.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    long_about = "Prints everything a cluster needs to run pipelines: the custom resource definitions, the \
                  controller, its rights and its configuration. Nothing is changed; kubectl applies what is printed. \
                  The objects have the names that the reference gives them, so that they take the place of its own.",
    after_help = "Example: tidegate install | kubectl apply --server-side -f -\n\
                  Exit codes: 0 printed, 1 failed, 2 flags cannot be used."
)]
pub(crate) struct InstallArgs {
    /// The namespace of the controller; it is made if it is missing.
    #[arg(long, short, value_name = "NAMESPACE", default_value = deploy::names::NAMESPACE)]
    pub(crate) namespace: String,
    /// Look after that namespace only, without rights beyond it and without the admission webhook. The definitions are
    /// the cluster's all the same: leave them out with --definitions=none when somebody else installs them.
    #[arg(long)]
    pub(crate) namespaced: bool,
    /// The image of the controller and of everything it starts [default: ghcr.io/tidegate/tidegate:VERSION].
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// When images are pulled.
    #[arg(long, value_enum, default_value_t = PullPolicy::IfNotPresent)]
    pub(crate) image_pull_policy: PullPolicy,
    /// The image that version `latest` of buffer services stands for; NATS 2.12.0 or later.
    #[arg(long, value_name = "IMAGE", default_value = deploy::names::NATS_IMAGE)]
    pub(crate) nats_image: String,
    /// The program in that image.
    #[arg(long, value_name = "COMMAND", default_value = deploy::names::NATS_COMMAND)]
    pub(crate) nats_command: String,
    /// Which controller this is when a cluster has several: it looks after objects with this value in the annotation
    /// numaflow.numaproj.io/instance.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) instance: String,
    /// How many controllers; one leads, all of them answer the webhook.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replicas: u32,
    /// How much the custom resource definitions say.
    #[arg(long, value_enum, default_value_t = Definitions::Full)]
    pub(crate) definitions: Definitions,
    /// Leave out the admission webhook, which checks manifests before they are stored.
    #[arg(long)]
    pub(crate) no_webhook: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum PullPolicy {
    /// When the node does not have it.
    IfNotPresent,
    /// Before every start.
    Always,
    /// By somebody else.
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Definitions {
    /// Every field, with bounds, defaults and rules.
    Full,
    /// Any field whatever; the controller checks and fills in.
    Minimal,
    /// They are installed by somebody else.
    None,
}
