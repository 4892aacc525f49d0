//! Flags of `tidegate isbsvc`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::isb::BrokerOptions;

/// What to do with the buffers of a pipeline.
#[derive(Debug, ClapArgs)]
#[command(
    long_about = "Makes, checks, shows and removes what a pipeline keeps on a NATS JetStream server: one stream for each \
                  partition of each vertex, one for who owns what, one for ids.\n\n\
                  The pipeline is a manifest, or NUMAFLOW_PIPELINE_OBJECT in the environment (base64 of JSON). The server \
                  is --isb, or NUMAFLOW_ISBSVC_JETSTREAM_URL with _USER, _PASSWORD and _TLS_ENABLED. What a user says of \
                  all streams is `bufferConfig` of an InterStepBufferService among the manifests, or of \
                  NUMAFLOW_ISBSVC_CONFIG.",
    after_help = "Example: tidegate isbsvc create --isb nats://localhost:4222 pipeline.yaml"
)]
pub(crate) struct IsbsvcArgs {
    #[command(subcommand)]
    pub(crate) command: IsbsvcCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IsbsvcCommand {
    /// Make the streams, and change those that are different. Twice is the same as once.
    #[command(after_help = "Example: tidegate isbsvc create --isb nats://localhost:4222 pipeline.yaml\n\n\
                      Exit codes: 0 done, 1 failed, 2 flags or manifests cannot be used, 12 refused because something \
                      unread would be lost.")]
    Create(PlaceArgs),
    /// Check that all streams are there and that none discards what is unread.
    #[command(after_help = "Example: tidegate isbsvc validate --isb nats://localhost:4222 pipeline.yaml\n\n\
                      Exit codes: 0 all is well, 1 something is not, or failed, 2 flags or manifests cannot be used.")]
    Validate(PlaceArgs),
    /// Show the streams and how much lies unread before each vertex.
    #[command(
        after_help = "Example: tidegate isbsvc inspect --isb nats://localhost:4222 pipeline.yaml -o json\n\n\
                      Exit codes: 0 done, 1 failed, 2 flags or manifests cannot be used."
    )]
    Inspect(InspectArgs),
    /// Remove the streams. Refused while anything is unread.
    #[command(after_help = "Example: tidegate isbsvc delete --isb nats://localhost:4222 pipeline.yaml\n\n\
                      Exit codes: 0 done, 1 failed, 2 flags or manifests cannot be used, 12 refused because something is \
                      unread.")]
    Delete(DeleteArgs),
}

/// Which pipeline, and where.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlaceArgs {
    /// Manifests with one Pipeline, and perhaps its InterStepBufferService; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The server.
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
    /// The kind of the server, as jobs of a controller say it; jetstream is the only one.
    #[arg(long, hide = true, value_enum)]
    pub(crate) isbsvc_type: Option<IsbsvcType>,
    /// Partitions without a manifest, as jobs of a controller name them: NAMESPACE-PIPELINE-VERTEX-PARTITION, with commas
    /// between them. Needs NUMAFLOW_PIPELINE_NAME; the namespace is NUMAFLOW_NAMESPACE.
    #[arg(long, hide = true, value_delimiter = ',', conflicts_with = "files")]
    pub(crate) buffers: Vec<String>,
    /// Buckets, as jobs of a controller name them; only those of sources matter: NAMESPACE-PIPELINE-VERTEX_SOURCE.
    #[arg(long, hide = true, value_delimiter = ',', conflicts_with = "files")]
    pub(crate) buckets: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsbsvcType {
    /// NATS JetStream.
    Jetstream,
}

/// Flags of `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The form.
    #[arg(long, short, value_enum, default_value_t = InspectFormat::Text)]
    pub(crate) output: InspectFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// A table.
    Text,
    /// A JSON object.
    Json,
}

/// Flags of `delete`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Remove the streams with everything that is unread in them.
    #[arg(long)]
    pub(crate) force: bool,
}
