//! Flags of the commands that speak to a site, and of those that start and end one.
//!
//! Invariant: each help text ends with an example that works as it stands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::controller::ClusterOption;
use super::rollout::{RolloutCommand, SetCommand};
use super::{LogFormat, ValueOptions, duration};
use crate::isb::IsbOptions;

/// Commands to a site.
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Make objects what manifests say.
    Apply(Box<ApplyArgs>),
    /// Say what applying manifests would mean: nothing, live, rolling, needs drain or refused.
    Plan(Box<PlanArgs>),
    /// Show how manifests differ from what is applied.
    Diff(DiffArgs),
    /// Show objects with everything below them.
    Get(GetArgs),
    /// Say how an object is, or wait until it is as it should be.
    Status(StatusArgs),
    /// Stop the sources, drain, stop.
    Pause(PauseArgs),
    /// Let a paused object go on.
    Resume(ResumeArgs),
    /// Delete an object, drained first.
    Delete(DeleteArgs),
    /// Set the number of workers by hand, or give it back to the autoscaler.
    Scale(ScaleArgs),
    /// See and steer rollouts.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Run another image or command.
    #[command(subcommand)]
    Set(SetCommand),
    /// Print what user code prints.
    Logs(LogsArgs),
    /// Print what happened.
    Events(EventsArgs),
    /// Print the latest errors by name.
    Errors(NameArgs),
    /// Say what may be wrong, the most likely first.
    Why(NameArgs),
    /// Show rates and what is pending of every vertex, live.
    Top(TopArgs),
    /// End the site; objects keep their state and go on with the next `up`.
    Down(DownArgs),
}

/// Which site.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct SiteOption {
    /// The site on this machine: its socket, or http://ADDRESS:PORT [default: the socket in
    /// $XDG_STATE_HOME/tidegate/site, or ~/.local/state/tidegate/site].
    #[arg(long, value_name = "SOCKET|URL", conflicts_with_all = ["context", "kubeconfig", "namespace"])]
    pub(crate) local: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterOption,
    /// The namespace of the cluster [default: that of the context]; like --context, it means a cluster and no site.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

impl SiteOption {
    /// Whether a cluster is meant.
    pub(crate) fn is_cluster(&self) -> bool {
        let ClusterOption { kubeconfig, context } = &self.cluster;
        kubeconfig.is_some() || context.is_some() || self.namespace.is_some()
    }
}

/// Manifests and what belongs to them.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ManifestOptions {
    /// Manifests; of a directory all .yaml, .yml and .json files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What runs a user container: VERTEX or VERTEX/CONTAINER, such as cat='python3 udf.py'.
    #[arg(long, value_name = "CONTAINER=COMMAND")]
    pub(crate) exec: Vec<String>,
    #[command(flatten)]
    pub(crate) values: ValueOptions,
}

/// Flags of `apply`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate apply pipeline.yaml --exec cat='python3 udf.py' --wait\n\n\
                        Exit codes: 0 applied (with --wait: rolled out), 2 the manifest cannot be used, \
                        4 it failed or was rolled back, 5 it took too long.")]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestOptions,
    /// Only say what would happen.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until everything is rolled out and runs.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) form: FormOption,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `plan`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate plan pipeline.yaml\n\n\
                        Exit codes: 0 no change, or changes that take effect live; 10 workers are replaced one by one; \
                        11 the object is drained first; 12 refused; 2 the manifest cannot be used.")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) manifests: ManifestOptions,
    #[command(flatten)]
    pub(crate) form: FormOption,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// The form of what is printed.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct FormOption {
    /// For programs: json or yaml.
    #[arg(long, short, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Form>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// One JSON value.
    Json,
    /// One YAML document.
    Yaml,
}

/// Flags of `diff`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate diff pipeline.yaml\n\n\
                        Exit codes: 0 no difference, 10 differences, 2 the manifest cannot be used.")]
pub(crate) struct DiffArgs {
    /// Manifests; of a directory all .yaml, .yml and .json files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `get`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate get my-pipeline -w")]
pub(crate) struct GetArgs {
    /// One object; all when left out.
    pub(crate) name: Option<String>,
    /// The form.
    #[arg(long, short, value_enum, default_value_t = GetForm::Tree)]
    pub(crate) output: GetForm,
    /// Go on and show every change.
    #[arg(long, short)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GetForm {
    /// Object, vertices, versions, workers, containers.
    Tree,
    /// The same with reasons, processes and logs.
    Wide,
    /// Names only.
    Name,
    /// JSON: one object, or an array of all.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Flags of `status`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate status my-pipeline --wait=drained --timeout 5m\n\n\
                        Exit codes: 0 reached (without --wait: the object is known), 3 the pause ended before everything \
                        was drained, 4 it failed or was rolled back, 5 it took too long.")]
pub(crate) struct StatusArgs {
    /// The object.
    pub(crate) name: String,
    /// Wait until the object is so.
    #[arg(long, value_enum, value_name = "STATE")]
    pub(crate) wait: Option<Goal>,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// It runs with all its workers.
    Running,
    /// It is paused, drained or not.
    Paused,
    /// It is paused and nothing is left.
    Drained,
    /// Everything is polled and empty.
    Idle,
    /// No rollout is under way, and what was wanted serves.
    RolledOut,
    /// There is no such object.
    Gone,
}

/// Flags of `pause`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate pause my-pipeline --wait\n\n\
                        Exit codes: 0 drained (without --wait: asked), 3 the pause ended before everything was drained, \
                        4 the object failed, 5 it took too long.")]
pub(crate) struct PauseArgs {
    /// The object.
    pub(crate) name: String,
    /// Show the drain and wait for its end [default: on a terminal].
    #[arg(long, overrides_with = "no_wait")]
    pub(crate) wait: bool,
    /// Do not wait.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `resume`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate resume my-pipeline --wait\n\n\
                        Exit codes: 0 done, 4 it failed, 5 it took too long.")]
pub(crate) struct ResumeArgs {
    /// The object.
    pub(crate) name: String,
    /// Wait until it runs.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `delete`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate delete my-pipeline --wait\n\n\
                        Exit codes: 0 done, 4 it failed, 5 it took too long.")]
pub(crate) struct DeleteArgs {
    /// The object.
    pub(crate) name: String,
    /// Do not drain: what is left is dropped.
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until it is gone.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `scale`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate scale my-pipeline --vertex cat 3")]
pub(crate) struct ScaleArgs {
    /// The object.
    pub(crate) name: String,
    /// How many workers, or `auto`.
    #[arg(value_parser = replicas)]
    pub(crate) replicas: Replicas,
    /// Which vertex; may be left out for a mono vertex.
    #[arg(long)]
    pub(crate) vertex: Option<String>,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// A number of workers, by hand or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas(pub(crate) Option<u32>);

fn replicas(text: &str) -> Result<Replicas, String> {
    match text {
        "auto" => Ok(Replicas(None)),
        number => {
            let number = number.parse().map_err(|_| "give a number, or auto".to_owned())?;
            Ok(Replicas(Some(number)))
        }
    }
}

/// Flags of `logs`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate logs my-pipeline --vertex cat -f")]
pub(crate) struct LogsArgs {
    /// The object.
    pub(crate) name: String,
    /// Of one vertex only.
    #[arg(long)]
    pub(crate) vertex: Option<String>,
    /// Of workers with this number only.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) replica: Option<u32>,
    /// Of containers with this name only.
    #[arg(long, short)]
    pub(crate) container: Option<String>,
    /// Go on with lines as they are written.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// How many of the latest lines come first; at most 10000.
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub(crate) tail: usize,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `events`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate events my-pipeline -w")]
pub(crate) struct EventsArgs {
    /// Of one object; of all when left out.
    pub(crate) name: Option<String>,
    /// Go on with events as they happen.
    #[arg(long, short)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) form: FormOption,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// An object.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate why my-pipeline")]
pub(crate) struct NameArgs {
    /// The object.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) form: FormOption,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `top`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate top")]
pub(crate) struct TopArgs {
    /// Print the table once.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `down`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate down\n\nExit codes: 0 ended, 5 it took too long.")]
pub(crate) struct DownArgs {
    /// How long to wait for the end.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `up`.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    long_about = "Starts a site: a place on this machine where pipelines run, updates roll out and nothing acknowledged \
                  is lost. Everything is kept in the state directory, and the next `up` goes on with it, however this \
                  one ended. Ctrl-C ends the site; objects are not paused by that.",
    after_help = "Example: tidegate up --detach pipeline.yaml\n\n\
                  Exit codes: 0 ended as asked (with --detach: it runs), 1 failed, 2 flags or manifests cannot be used."
)]
pub(crate) struct UpArgs {
    /// Manifests to apply once the site runs.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Run in the background: print where it answers, and return.
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Where state is kept [default: $XDG_STATE_HOME/tidegate/site, or ~/.local/state/tidegate/site].
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) isb: IsbOptions,
    /// Answer over HTTP at an address of this machine as well, such as 127.0.0.1:8443; there is no login.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// The socket to answer on, in a directory that only you can enter [default: api.sock in the state directory].
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Start user code without a file system view of its own; it must take its paths from TIDEGATE_RUN_DIR.
    #[arg(long)]
    pub(crate) open_paths: bool,
    /// The form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// This process is the one in the background.
    #[arg(long, hide = true)]
    pub(crate) in_background: bool,
}

#[cfg(test)]
mod tests {
    use super::{Replicas, replicas};

    #[test]
    fn replicas_are_a_number_or_auto() {
        assert_eq!(replicas("auto"), Ok(Replicas(None)));
        assert_eq!(replicas("0"), Ok(Replicas(Some(0))));
        assert!(replicas("-1").is_err());
    }
}
