//! Prometheus' checker of rules, which the alert rules are tested with where it is installed.
//!
//! It is found and never installed: it comes with the package manager of a machine. Invariant: what is given back has
//! answered a call.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Its name on the path.
const NAME: &str = "promtool";

/// The program.
pub(crate) fn find() -> Result<PathBuf> {
    let mut command = Command::new(NAME);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        bail!(
            "no `{NAME}` is on the path; it comes with Prometheus, on Debian with the package `prometheus`"
        );
    }
    Ok(PathBuf::from(NAME))
}
