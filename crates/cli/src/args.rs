//! Commands and flags. What they do is in the file of each command.
//!
//! Invariant: every flag says its default and its unit in its help text.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use platform::local::program::Exec;
use platform::local::secrets::Assignment;

use crate::exit::{Exit, Outcome};
use crate::isb::IsbOptions;

pub(crate) mod controller;
pub(crate) mod install;
pub(crate) mod isbsvc;
pub(crate) mod rollout;
pub(crate) mod site;

use controller::ControllerArgs;
use install::InstallArgs;
use isbsvc::IsbsvcArgs;
use site::{SiteCommand, UpArgs};

/// Runs Numaflow pipelines and mono vertices, on this machine or in a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed or complaints, 2 flags or manifest cannot be used, \
                  3 stopped with messages kept for the next run; others are in the help of their command."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // Not doc comments where arguments have a long help: they would take its place.
    #[command(about = "Run a manifest on this machine")]
    Run(Box<RunArgs>),
    #[command(about = "Start a site: a place on this machine where pipelines run and are changed")]
    Up(Box<UpArgs>),
    #[command(flatten)]
    Site(SiteCommand),
    /// Keep the units of one object as the environment describes it: for pods.
    #[command(hide = true)]
    Daemon,
    /// Run one worker as the environment describes it: for pods and --isolate.
    #[command(hide = true)]
    Processor(ProcessorArgs),
    #[command(about = "Look after the objects of a Kubernetes cluster")]
    Controller(ControllerArgs),
    #[command(about = "Make, check, show and remove what a pipeline keeps on a NATS JetStream server")]
    Isbsvc(IsbsvcArgs),
    #[command(about = "Print what a cluster needs to run pipelines, for kubectl apply")]
    Install(Box<InstallArgs>),
    /// Find everything that is wrong with manifests.
    Lint(LintArgs),
    /// List, print and run the examples that come with the program.
    Examples(ExamplesArgs),
    /// Print the version.
    Version(VersionArgs),
    /// Print a completion script for a shell.
    Completion(CompletionArgs),
}

/// Flags of `run`.
#[derive(Clone, Debug, ClapArgs)]
#[command(
    long_about = "Runs a Pipeline or MonoVertex on this machine, in this process, with a durable journal as its \
                  buffers and user code as child processes. Everything that stands in for something of a cluster is \
                  printed. Ctrl-C drains and stops; Ctrl-C twice stops at once. What is left is kept in the state \
                  directory, and the next run goes on with it.",
    after_help = "Exit codes: 0 drained or all sources ended, 1 failed, 2 flags or manifest cannot be used, \
                  3 stopped with messages kept in the state directory."
)]
pub(crate) struct RunArgs {
    /// Manifests; `-` is standard input. Secrets and config maps may stand beside the object that runs.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) options: RunOptions,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct RunOptions {
    /// The object to run, when there are several.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What runs a user container: VERTEX or VERTEX/CONTAINER, such as cat='python3 udf.py'. Commands with shell
    /// syntax are given to `sh -c`.
    #[arg(long, value_name = "CONTAINER=COMMAND")]
    pub(crate) exec: Vec<Exec>,
    #[command(flatten)]
    pub(crate) values: ValueOptions,
    /// Where state is kept [default: $XDG_STATE_HOME/tidegate/NAME-HASH, or ~/.local/state/tidegate/NAME-HASH].
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Use the state directory although it belongs to a different manifest.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) isb: IsbOptions,
    /// When a message counts as kept: after the disk has confirmed it, or after the operating system has it.
    #[arg(long, value_enum, default_value_t = Durability::Disk)]
    pub(crate) durability: Durability,
    /// Drain and stop after this time, such as 30s or 5m.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) run_for: Option<Duration>,
    /// How long a drain may take.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) drain_timeout: Duration,
    /// The address that HTTP sources listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) http_bind: IpAddr,
    /// The plain HTTP port of a source vertex, instead of the manifest's.
    #[arg(long, value_name = "VERTEX=PORT", value_parser = port)]
    pub(crate) http_port: Vec<(String, u16)>,
    /// Serve metrics in the Prometheus format at http://ADDRESS/metrics.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Start user code without a file system view of its own; it must take its paths from TIDEGATE_RUN_DIR.
    #[arg(long)]
    pub(crate) open_paths: bool,
    /// Print nothing but errors and what sinks print.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Secrets and config maps.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ValueOptions {
    /// A value of a secret.
    #[arg(long, value_name = "NAME/KEY=VALUE")]
    pub(crate) secret: Vec<Assignment>,
    /// A value of a secret, from a file.
    #[arg(long, value_name = "NAME/KEY=PATH")]
    pub(crate) secret_file: Vec<Assignment>,
    /// A directory with a file NAME/KEY for each value of a secret.
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets_dir: Vec<PathBuf>,
    /// A value of a config map.
    #[arg(long, value_name = "NAME/KEY=VALUE")]
    pub(crate) config_map: Vec<Assignment>,
    /// A value of a config map, from a file.
    #[arg(long, value_name = "NAME/KEY=PATH")]
    pub(crate) config_map_file: Vec<Assignment>,
    /// A directory with a file NAME/KEY for each value of a config map.
    #[arg(long, value_name = "DIR")]
    pub(crate) config_maps_dir: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// Survives a loss of power.
    Disk,
    /// Survives the death of the process.
    Os,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object in each line.
    Json,
}

/// Flags of `processor`, which say nothing that its environment does not.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProcessorArgs {
    /// Taken as Numaflow's pods give it, and not used.
    #[arg(long = "type", hide = true)]
    pub(crate) kind: Option<String>,
    /// Taken as Numaflow's pods give it, and not used.
    #[arg(long, hide = true)]
    pub(crate) isbsvc_type: Option<String>,
}

/// Flags of `lint`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 nothing wrong, 1 complaints, 2 a file cannot be read.")]
pub(crate) struct LintArgs {
    /// Manifests; of a directory all .yaml, .yml and .json files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The form of the complaints.
    #[arg(long, value_enum, default_value_t = LintFormat::Text)]
    pub(crate) format: LintFormat,
    /// Warnings count as well.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    /// One line for each, then how many there are.
    Text,
    /// A JSON array.
    Json,
    /// Workflow commands, which GitHub shows beside the lines of a change.
    Github,
}

/// What to do with examples.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExamplesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ExamplesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExamplesCommand {
    /// List them, each with what it shows.
    List,
    /// Print the manifest of one.
    Print {
        /// Its name, as `list` shows it.
        example: String,
    },
    /// Run one.
    Run {
        /// Its name, as `list` shows it.
        example: String,
        #[command(flatten)]
        options: Box<RunOptions>,
    },
}

/// Flags of `version`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VersionArgs {
    /// The form.
    #[arg(long, value_enum, default_value_t = VersionFormat::Text)]
    pub(crate) format: VersionFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersionFormat {
    /// A line.
    Text,
    /// A JSON object.
    Json,
}

/// Flags of `completion`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CompletionArgs {
    /// The shell.
    pub(crate) shell: Shell,
}

/// Prints a completion script.
pub(crate) fn complete(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tidegate", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: api::Duration = text.parse().map_err(|error: api::duration::Error| error.to_string())?;
    u64::try_from(parsed.as_nanos()).map(Duration::from_nanos).map_err(|_| "it is negative".to_owned())
}

fn port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not VERTEX=PORT, such as in=8090");
    let (vertex, port) = text.split_once('=').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if vertex.is_empty() { Err(wrong()) } else { Ok((vertex.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Args, duration, port};

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_and_ports_are_checked() {
        assert_eq!(duration("1m30s").unwrap().as_secs(), 90);
        assert_eq!(duration("-1s").unwrap_err(), "it is negative");
        assert!(duration("30").unwrap_err().contains("a unit is missing"));
        assert_eq!(port("in=8090").unwrap(), ("in".to_owned(), 8090));
        for text in ["in", "=8090", "in=x", "in=70000"] {
            assert_eq!(port(text).unwrap_err(), format!("{text:?} is not VERTEX=PORT, such as in=8090"));
        }
    }
}
