//! `test`, `gen`, `sim` and `e2e`: runs of the test suites, with what they need made ready first.
//!
//! What a test does is in its crate; here stand the commands, the environment they get and the tally. Invariant: a
//! test that was skipped is named at the end of the run, whatever else happened.
//!
//! The tests find what they need in the environment: `TIDEGATE_BIN` is the binary, `TIDEGATE_TEST_PYTHON` a Python
//! with the SDK, `TIDEGATE_TEST_PROMTOOL` the checker of Prometheus' rules, `TIDEGATE_TEST_REDIS` Redis' server,
//! `TIDEGATE_TEST_NATS` NATS' server, `TIDEGATE_SEEDS` the number of seeds of a simulation, `TIDEGATE_LONG` asks for long
//! forms, `TIDEGATE_GENERATE` for generated files to be written where they are compared, `TIDEGATE_TEST_OVER=jetstream`
//! for a broker under every pipeline, and a test that lacks a tool appends `<name>: <why>` to the file that
//! `TIDEGATE_SKIPPED` names.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo::{self, Workspace};
use crate::{cluster, python, tool};

/// Arguments of `test`.
#[derive(Args)]
pub(crate) struct Test {
    /// Handed to `cargo test`: a package (`-p tidegate-journal`), a filter, or what follows `--`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo: Vec<String>,
}

/// Arguments of `sim`.
#[derive(Args)]
pub(crate) struct Sim {
    /// How many seeds each simulation runs.
    #[arg(long, default_value_t = 20_000)]
    seeds: u32,
    /// Only this seed: to live once more what a simulation has named.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Only this crate, for example `journal`; all that have simulations otherwise.
    #[arg(long = "crate")]
    package: Option<String>,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// Arguments of `e2e`.
#[derive(Args)]
pub(crate) struct E2e {
    /// Only tests whose name contains one of these.
    filters: Vec<String>,
    /// Those that need a cluster, on the one that kubectl speaks to.
    #[command(flatten)]
    pub(crate) cluster: cluster::Arguments,
}

/// Options of `cargo test` that say which targets are meant.
const TARGET_OPTIONS: [&str; 9] =
    ["--all-targets", "--test", "--tests", "--lib", "--bin", "--bins", "--doc", "--example", "--bench"];

/// Whole pipelines that run over the embedded buffer, and once more over a broker.
const OVER_A_BROKER: [&str; 2] = ["shapes::", "misbehaviour::"];

/// Runs every test of the workspace, or those that the arguments choose.
pub(crate) fn test(arguments: &Test) -> Result<()> {
    let workspace = Workspace::load()?;
    let end = arguments.cargo.iter().position(|argument| argument == "--").unwrap_or(arguments.cargo.len());
    let (options, rest) = arguments.cargo.split_at(end);
    let chooses_package =
        options.iter().any(|option| option.starts_with("-p") || option.starts_with("--package"));
    let chooses_target =
        options.iter().any(|option| TARGET_OPTIONS.contains(&option.split('=').next().unwrap_or(option)));
    let starts_binaries = !chooses_package || options.iter().any(|option| option.ends_with("e2e"));
    if starts_binaries {
        // All targets, because the features that development dependencies ask for would else build everything twice.
        let build = ["build", "--workspace", "--all-targets"];
        cargo::run(&mut cargo::command(&workspace.root, build))?;
    }
    let mut command = cargo::command(&workspace.root, ["test", "--no-fail-fast"]);
    if !chooses_package {
        command.arg("--workspace");
    }
    if !chooses_target {
        command.arg("--all-targets");
    }
    command.args(options).args(rest);
    let mut commands = vec![command];
    if arguments.cargo.is_empty() {
        commands.insert(0, cargo::command(&workspace.root, ["test", "--workspace", "--doc", "--quiet"]));
        // The whole workspace, because a choice of packages would choose other features and build everything twice.
        let mut over = cargo::command(&workspace.root, ["test", "--workspace", "--test", "local", "--"]);
        over.env("TIDEGATE_TEST_OVER", "jetstream").args(OVER_A_BROKER);
        commands.push(over);
    }
    Run::prepare(&workspace, "debug")?.all(commands)
}

/// Runs the simulations in release mode.
pub(crate) fn sim(arguments: &Sim) -> Result<()> {
    let workspace = Workspace::load()?;
    let packages = match &arguments.package {
        Some(name) => vec![package(&workspace, name)?],
        None => simulated(&workspace)?,
    };
    let seeds = arguments
        .seed
        .map_or_else(|| arguments.seeds.to_string(), |seed| format!("{seed}..{}", seed.saturating_add(1)));
    let commands = packages.into_iter().map(|name| {
        let mut command =
            cargo::command(&workspace.root, ["test", "--release", "--no-fail-fast", "--package"]);
        command.arg(name).env("TIDEGATE_SEEDS", &seeds).args(&arguments.filter);
        command
    });
    Run::without_tools(&workspace)?.all(commands.collect())
}

/// Runs the long form of the end-to-end tests.
pub(crate) fn e2e(arguments: &E2e) -> Result<()> {
    let workspace = Workspace::load()?;
    if arguments.cluster.cluster {
        return cluster::run(&workspace, &arguments.cluster, &arguments.filters);
    }
    let build = ["build", "--quiet", "--release", "--package", "tidegate-cli", "--package", "e2e"];
    cargo::run(&mut cargo::command(&workspace.root, build))?;
    let run = Run::prepare(&workspace, "release")?;
    let mut command =
        cargo::command(&workspace.root, ["test", "--release", "--no-fail-fast", "--package", "e2e"]);
    // Some tests print what they measured, such as the table of the pause grid.
    command.env("TIDEGATE_LONG", "1").args(["--", "--nocapture"]).args(&arguments.filters);
    run.all(vec![command])
}

/// Makes the generated files, by the test that compares them.
pub(crate) fn generate() -> Result<()> {
    let workspace = Workspace::load()?;
    let test = "generate::tests::the_committed_files_are_what_their_sources_give";
    let mut command =
        cargo::command(&workspace.root, ["test", "--quiet", "--package", "xtask", "--bin", "xtask"]);
    command.env("TIDEGATE_GENERATE", "1").args(["--", "--exact", test, "--nocapture"]);
    let mut tally = Tally::default();
    ensure!(follow(&mut command, &mut tally)?, "`{}` did not succeed", cargo::line(&command));
    // A test that has another name now would make nothing, in silence.
    ensure!(tally.passed == 1, "there is no test {test}");
    Ok(())
}

/// The package with the name, which may lack the prefix of the house.
fn package(workspace: &Workspace, name: &str) -> Result<String> {
    let prefixed = format!("tidegate-{name}");
    let found = workspace.members().find(|package| package.name == name || package.name == prefixed);
    found.map(|package| package.name.clone()).with_context(|| format!("the workspace has no crate `{name}`"))
}

/// Packages with a test that asks for the number of seeds.
fn simulated(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for package in workspace.members().filter(|package| package.name != "xtask") {
        let directory = package.manifest.parent().context("a manifest has no directory")?;
        if mentions(directory, "TIDEGATE_SEEDS")? {
            names.push(package.name.clone());
        }
    }
    if names.is_empty() {
        bail!("no test reads TIDEGATE_SEEDS, so there is nothing to simulate");
    }
    Ok(names)
}

fn mentions(directory: &Path, word: &str) -> Result<bool> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        let found = if path.is_dir() {
            mentions(&path, word)?
        } else {
            is_source
                && fs::read_to_string(&path)
                    .with_context(|| format!("read {}", path.display()))?
                    .contains(word)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the tests find around them, and where they note what they skip.
struct Run {
    environment: Vec<(&'static str, PathBuf)>,
    skipped_file: PathBuf,
    /// What is missing for all tests of a kind.
    missing: Vec<String>,
    start: Instant,
}

impl Run {
    /// A run whose tests start the binary and user code.
    fn prepare(workspace: &Workspace, profile: &str) -> Result<Self> {
        let mut run = Self::without_tools(workspace)?;
        run.environment.push(("TIDEGATE_BIN", workspace.binary(profile, "tidegate")));
        match python::prepare(&workspace.target) {
            Ok(python) => run.environment.push(("TIDEGATE_TEST_PYTHON", python)),
            Err(error) => run.missing.push(format!("user code in Python: {error:#}")),
        }
        for (what, variable, found) in [
            ("alert rules", "TIDEGATE_TEST_PROMTOOL", tool::PROMTOOL.find()),
            ("shared rates", "TIDEGATE_TEST_REDIS", tool::REDIS.find()),
            ("pipelines on JetStream", "TIDEGATE_TEST_NATS", tool::nats()),
            ("the oldest NATS server", "TIDEGATE_TEST_NATS_OLDEST", tool::nats_oldest(&workspace.target)),
        ] {
            match found {
                Ok(program) => run.environment.push((variable, program)),
                Err(error) => run.missing.push(format!("{what}: {error:#}")),
            }
        }
        Ok(run)
    }

    fn without_tools(workspace: &Workspace) -> Result<Self> {
        let directory = workspace.target.join("xtask");
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let skipped_file = directory.join(format!("skipped-{}", std::process::id()));
        fs::write(&skipped_file, "").with_context(|| format!("write {}", skipped_file.display()))?;
        let environment = vec![("TIDEGATE_SKIPPED", skipped_file.clone())];
        Ok(Self { environment, skipped_file, missing: Vec::new(), start: Instant::now() })
    }

    /// Runs the commands one after the other, all of them, and prints the tally.
    fn all(self, commands: Vec<Command>) -> Result<()> {
        let mut tally = Tally::default();
        let mut failed = Vec::new();
        for mut command in commands {
            command.envs(self.environment.iter().map(|(name, value)| (name, value.as_os_str())));
            let line = cargo::line(&command);
            println!("$ {line}");
            if !follow(&mut command, &mut tally)? {
                failed.push(line);
            }
        }
        let skipped = self.skipped()?;
        if !skipped.is_empty() {
            println!("skipped:");
            for line in &skipped {
                println!("  {line}");
            }
        }
        let Tally { passed, failed: failures } = tally;
        let took = self.start.elapsed().as_secs_f64();
        println!("{passed} passed, {failures} failed, {} skipped in {took:.1} s", skipped.len());
        if !failed.is_empty() {
            bail!("these did not succeed: {}", failed.join("; "));
        }
        if !skipped.is_empty() && std::env::var_os("CI").is_some_and(|value| value == "true") {
            bail!("nothing may be skipped where CI is true");
        }
        Ok(())
    }

    fn skipped(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.skipped_file)
            .with_context(|| format!("read {}", self.skipped_file.display()))?;
        fs::remove_file(&self.skipped_file)
            .with_context(|| format!("remove {}", self.skipped_file.display()))?;
        let mut lines: Vec<String> =
            text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        lines.extend(self.missing.iter().cloned());
        Ok(lines)
    }
}

/// How many tests ended how.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    failed: u64,
}

impl Tally {
    /// Counts a line of `cargo test` if it is the result of a test program.
    fn add(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else { return };
        let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((count, what)) = part.split_once(' ') else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => {}
            }
        }
    }
}

/// Runs the command, passes its lines on and counts the results in them. Tells whether it succeeded.
pub(crate) fn follow(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    let line = cargo::line(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("start `{line}`"))?;
    let output = child.stdout.take().context("a piped output is there to be taken")?;
    for text in BufReader::new(output).split(b'\n') {
        let text = text.with_context(|| format!("read what `{line}` prints"))?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        tally.add(&text);
    }
    let status = child.wait().with_context(|| format!("wait for `{line}`"))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_test_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out; finished in 1.00s",
            "test frame::result ... ok",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 8, failed: 2 });
    }
}
