//! A Python with the SDK that the end-to-end tests serve user code with, in a virtual environment below `target/`.
//!
//! Which tests use it is their matter. Invariant: the environment is used only if it holds exactly the pinned
//! version; a half-made one is made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::cargo;

/// The Python SDK of the reference, whose servers the tests run.
const REQUIREMENT: &str = "pynumaflow==0.14.0";

/// Programs that may be a Python, best first.
const CANDIDATES: [&str; 2] = ["python3", "python"];

/// The interpreter of the environment, made if need be.
pub(crate) fn prepare(target: &Path) -> Result<PathBuf> {
    let environment = target.join("venv");
    let interpreter = interpreter(&environment);
    let mark = environment.join("tidegate-requirement");
    if interpreter.exists() && fs::read_to_string(&mark).is_ok_and(|text| text == REQUIREMENT) {
        return Ok(interpreter);
    }
    let python =
        find().context("no Python 3.9 or later is on the path; install one with `venv` and `pip`")?;
    cargo::run(quiet(Command::new(python).args(["-m", "venv", "--clear"]).arg(&environment)))
        .context("make a virtual environment; it needs Python's `venv`")?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT];
    cargo::run(quiet(Command::new(&interpreter).args(install)))
        .with_context(|| format!("install {REQUIREMENT}; it needs the package index"))?;
    fs::write(&mark, REQUIREMENT).with_context(|| format!("write {}", mark.display()))?;
    Ok(interpreter)
}

fn interpreter(environment: &Path) -> PathBuf {
    if cfg!(windows) { environment.join("Scripts/python.exe") } else { environment.join("bin/python") }
}

fn find() -> Option<&'static str> {
    let is_recent = "import sys, venv; sys.exit(sys.version_info < (3, 9))";
    CANDIDATES.into_iter().find(|candidate| {
        let mut command = Command::new(candidate);
        command.args(["-c", is_recent]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Keeps standard output for the tests; complaints still show.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null())
}
