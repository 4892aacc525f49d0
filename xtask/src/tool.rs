//! Programs of other people that tests run against where they are installed.
//!
//! They are found and never installed: each comes with the package manager of a machine. Invariant: what is given back has
//! answered a call.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// A program and where it comes from.
pub(crate) struct Tool {
    /// Its name on the path.
    name: &'static str,
    /// What it is part of.
    of: &'static str,
    /// The package of Debian that has it.
    package: &'static str,
}

/// Checks the rules of alerts.
pub(crate) const PROMTOOL: Tool = Tool { name: "promtool", of: "Prometheus", package: "prometheus" };
/// Keeps what processes share of their rates.
pub(crate) const REDIS: Tool = Tool { name: "redis-server", of: "Redis", package: "redis-server" };

/// The broker between vertices, and the version that is installed where there is none.
const NATS: &str = "nats-server";
const NATS_MODULE: &str = "github.com/nats-io/nats-server/v2@v2.15.2";

/// The oldest version that is taken.
const NATS_OLDEST: &str = "v2.12.0";

/// The oldest NATS server that is taken, kept below the build directory; built by Go when it is not there.
pub(crate) fn nats_oldest(target: &Path) -> Result<PathBuf> {
    let directory = target.join("xtask").join(format!("nats-{NATS_OLDEST}"));
    let program = directory.join(NATS);
    if !program.is_file() {
        let module = format!("github.com/nats-io/nats-server/v2@{NATS_OLDEST}");
        let mut go = Command::new("go");
        let built = go.args(["install", &module]).env("GOBIN", &directory).stdin(Stdio::null()).status();
        if !built.is_ok_and(|status| status.success()) {
            bail!("`go install {module}` did not make a server; the oldest that is taken cannot be tried");
        }
    }
    Ok(program)
}

/// NATS' server: on the path, or where Go puts programs; built from its module where it is missing and Go is there.
pub(crate) fn nats() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin").join(NATS));
    let places = || [Some(PathBuf::from(NATS)), home.clone()].into_iter().flatten();
    let works = |program: &PathBuf| {
        let mut command = Command::new(program);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if let Some(program) = places().find(works) {
        return Ok(program);
    }
    let built = Command::new("go").args(["install", NATS_MODULE]).stdin(Stdio::null()).status();
    if built.is_ok_and(|status| status.success())
        && let Some(program) = places().find(works)
    {
        return Ok(program);
    }
    bail!("no `{NATS}` is on the path or in ~/go/bin, and `go install {NATS_MODULE}` did not make one")
}

impl Tool {
    /// The program.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        let Self { name, of, package } = self;
        let mut command = Command::new(name);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            bail!("no `{name}` is on the path; it comes with {of}, on Debian with the package `{package}`");
        }
        Ok(PathBuf::from(name))
    }
}
