//! Flags of the commands that lead rollouts and begin them.
//!
//! Invariant: each help text ends with an example that works as it stands.

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};

use super::duration;
use super::site::{FormOption, SiteOption};

/// What to do with rollouts.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example: tidegate rollout status my-pipeline -w")]
pub(crate) enum RolloutCommand {
    /// Say how far rollouts are.
    Status(RolloutStatusArgs),
    /// List the versions of each vertex.
    History(HistoryArgs),
    /// Go on with a rollout that waits.
    Promote(PromoteArgs),
    /// Give a rollout up; the version before serves.
    #[command(after_help = "Example: tidegate rollout abort my-pipeline")]
    Abort(VertexArgs),
    /// Serve an earlier version.
    Undo(UndoArgs),
    /// Replace all workers by fresh ones.
    #[command(after_help = "Example: tidegate rollout restart my-pipeline --vertex cat")]
    Restart(VertexArgs),
    /// Try a version again that was given up.
    #[command(after_help = "Example: tidegate rollout retry my-pipeline")]
    Retry(VertexArgs),
}

/// Flags of `rollout status`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate rollout status my-pipeline -w\n\n\
                        Exit codes: 0 rolled out (without -w: the object is known), 4 rolled back or failed, \
                        5 it took too long.")]
pub(crate) struct RolloutStatusArgs {
    /// The object.
    pub(crate) name: String,
    /// Show the rollout until it ends.
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `rollout history`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate rollout history my-pipeline")]
pub(crate) struct HistoryArgs {
    /// The object.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) form: FormOption,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// Flags of `rollout promote`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate rollout promote my-pipeline --full")]
pub(crate) struct PromoteArgs {
    #[command(flatten)]
    pub(crate) target: VertexArgs,
    /// Past all steps that are left.
    #[arg(long)]
    pub(crate) full: bool,
}

/// Flags of `rollout undo`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: tidegate rollout undo my-pipeline --vertex cat --to 2")]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub(crate) target: VertexArgs,
    /// The number of the version, as `rollout history` shows it [default: the one before].
    #[arg(long, value_name = "NUMBER")]
    pub(crate) to: Option<u64>,
}

/// An object and perhaps one of its vertices.
#[derive(Debug, ClapArgs)]
pub(crate) struct VertexArgs {
    /// The object.
    pub(crate) name: String,
    /// Which vertex [default: all that it can mean].
    #[arg(long)]
    pub(crate) vertex: Option<String>,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// What to set.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example: tidegate set exec my-pipeline cat='python3 udf_v2.py'")]
pub(crate) enum SetCommand {
    /// The image of a container.
    #[command(after_help = "Example: tidegate set image my-pipeline cat=registry.example/cat:2")]
    Image(SetArgs),
    /// The command that runs a container on this machine.
    #[command(after_help = "Example: tidegate set exec my-pipeline cat/udf='python3 udf_v2.py'")]
    Exec(SetArgs),
}

/// Flags of `set image` and `set exec`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SetArgs {
    /// The object.
    pub(crate) name: String,
    /// Which container, and what it shall run.
    #[arg(value_name = "VERTEX[/CONTAINER]=VALUE", value_parser = setting)]
    pub(crate) setting: Setting,
    #[command(flatten)]
    pub(crate) site: SiteOption,
}

/// What a container shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) vertex: String,
    pub(crate) container: Option<String>,
    pub(crate) value: String,
}

fn setting(text: &str) -> Result<Setting, String> {
    let wrong = || format!("{text:?} is not VERTEX=VALUE or VERTEX/CONTAINER=VALUE");
    let (place, value) = text.split_once('=').ok_or_else(wrong)?;
    let (vertex, container) = match place.split_once('/') {
        Some((vertex, container)) => (vertex, Some(container.to_owned())),
        None => (place, None),
    };
    if vertex.is_empty() || value.is_empty() || container.as_deref() == Some("") {
        return Err(wrong());
    }
    Ok(Setting { vertex: vertex.to_owned(), container, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{Setting, setting};

    #[test]
    fn settings_name_a_container_and_a_value_that_may_hold_anything() {
        let of = |container: Option<&str>, value: &str| Setting {
            vertex: "cat".to_owned(),
            container: container.map(str::to_owned),
            value: value.to_owned(),
        };
        assert_eq!(setting("cat=a/b:1").unwrap(), of(None, "a/b:1"));
        assert_eq!(setting("cat/udf=X=1 python3 a.py").unwrap(), of(Some("udf"), "X=1 python3 a.py"));
        for text in ["cat", "=x", "cat=", "cat/=x", "/udf=x"] {
            assert!(setting(text).unwrap_err().contains("is not VERTEX=VALUE"), "{text}");
        }
    }
}
