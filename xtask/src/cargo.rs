//! What cargo knows about the workspace, and how its commands are run.
//!
//! What to make of it is for the checks. Invariant: every command runs in the workspace root with the cargo that
//! started this program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A package that takes part in building the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression; empty when the package states none.
    pub(crate) license: String,
    /// Where it comes from; `None` for a path of this machine.
    pub(crate) source: Option<String>,
    pub(crate) manifest: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) is_member: bool,
}

/// A dependency as the manifest declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) package: String,
    /// The name in the manifest.
    pub(crate) alias: String,
    /// Neither for development nor for a build script.
    pub(crate) is_normal: bool,
}

/// The packages of the workspace and of everything it is built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    /// Asks cargo. Only packages that this machine's target needs are counted.
    pub(crate) fn load() -> Result<Self> {
        let host = host()?;
        let text = output(
            command(Path::new("."), ["metadata", "--format-version", "1"]).args(["--filter-platform", &host]),
        )?;
        let value: Value = serde_json::from_str(&text).context("read the answer of `cargo metadata`")?;
        Self::parse(&value)
    }

    fn parse(value: &Value) -> Result<Self> {
        let resolved: Vec<&str> =
            list(&value["resolve"]["nodes"])?.iter().filter_map(|node| node["id"].as_str()).collect();
        let members: Vec<&str> =
            list(&value["workspace_members"])?.iter().filter_map(Value::as_str).collect();
        let mut packages = Vec::new();
        for package in list(&value["packages"])? {
            let id = text(&package["id"])?;
            if resolved.contains(&id) {
                packages.push(parse_package(package, members.contains(&id))?);
            }
        }
        Ok(Self {
            root: PathBuf::from(text(&value["workspace_root"])?),
            target: PathBuf::from(text(&value["target_directory"])?),
            packages,
        })
    }

    /// The packages of this repository.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_member)
    }

    /// Where a binary of the workspace stands after a build with the profile, `debug` or `release`.
    pub(crate) fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }
}

fn parse_package(package: &Value, is_member: bool) -> Result<Package> {
    let mut dependencies = Vec::new();
    for dependency in list(&package["dependencies"])? {
        let name = text(&dependency["name"])?;
        dependencies.push(Dependency {
            package: name.to_owned(),
            alias: dependency["rename"].as_str().unwrap_or(name).to_owned(),
            is_normal: dependency["kind"].is_null(),
        });
    }
    Ok(Package {
        name: text(&package["name"])?.to_owned(),
        version: text(&package["version"])?.to_owned(),
        license: package["license"].as_str().unwrap_or_default().to_owned(),
        source: package["source"].as_str().map(str::to_owned),
        manifest: PathBuf::from(text(&package["manifest_path"])?),
        dependencies,
        is_member,
    })
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("the answer of `cargo metadata` lacks a list")
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("the answer of `cargo metadata` lacks a text")
}

/// The target triple of this machine.
pub(crate) fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` does not name its host")?.to_owned())
}

/// Packages a crate is built from on this machine, in the order of first sight, each with the packages that lead
/// to it.
///
/// Features are the crate's defaults and development dependencies do not count, neither their packages nor the
/// features they ask for; `cargo metadata` cannot say that, because it joins the features of the whole workspace.
pub(crate) fn reach(root: &Path, package: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut tree = command(root, ["tree", "--edges", "normal", "--prefix", "depth"]);
    let text = output(tree.args(["--format", " {p}", "--package", package]))?;
    parse_tree(&text)
}

fn parse_tree(text: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut reach = BTreeMap::new();
    let mut path: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let depth: usize = words
            .next()
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("`cargo tree` says {line:?}, which has no depth"))?;
        let name = words.next().with_context(|| format!("`cargo tree` says {line:?}, which has no name"))?;
        path.truncate(depth);
        path.push(name.to_owned());
        reach.entry(name.to_owned()).or_insert_with(|| path.clone());
    }
    Ok(reach)
}

/// What cargo tells a program that it runs about the program's own package.
const OWN_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// A cargo command in the given directory.
pub(crate) fn command<const N: usize>(root: &Path, arguments: [&str; N]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(arguments);
    // Build scripts, ring's for one, ask to run again when it changes; what was built by a command that somebody has typed
    // would be built anew by the same command from here, and the other way round.
    for (name, _) in std::env::vars_os() {
        if OWN_PACKAGE.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command and returns what it printed; what it complains about goes to standard error as it comes.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what `{line}` printed"))
}

/// Runs a command with its output going where ours goes; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_gives_the_shortest_way_seen_first() {
        let tree = "0 tidegate-api v0.1.0 (/x)\n1 serde v1.0.0\n2 serde_core v1.0.0\n1 tokio v1.0.0\n2 mio v1.0.0\n1 mio v1.0.0\n";
        let reach = parse_tree(tree).unwrap();
        assert_eq!(reach["serde_core"], ["tidegate-api", "serde", "serde_core"]);
        assert_eq!(reach["mio"], ["tidegate-api", "tokio", "mio"]);
        assert_eq!(reach.len(), 5);
    }

    #[test]
    fn a_tree_that_is_not_understood_is_an_error() {
        assert!(parse_tree("tidegate-api v0.1.0").is_err());
    }

    #[test]
    fn commands_do_not_hear_of_the_package_that_runs_them() {
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some(), "cargo runs the tests");
        let command = command(Path::new("."), ["metadata"]);
        assert!(command.get_envs().any(|(name, value)| name == "CARGO_PKG_NAME" && value.is_none()));
        assert!(command.get_envs().all(|(_, value)| value.is_none()));
    }

    #[test]
    fn commands_read_as_one_types_them() {
        assert_eq!(line(Command::new("/usr/bin/cargo").args(["test", "-q"])), "cargo test -q");
    }
}
