//! `check`: every rule that a machine can hold, all of them in one go.
//!
//! The rules are in modules of their own; here they are run, timed and counted. Invariant: a rule that fails never
//! keeps another from being looked at, and the command succeeds only if all of them were looked at and none failed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::cargo::{self, Workspace};
use crate::finding::Finding;
use crate::{deps, licenses, rules};

/// Findings of one step.
type Step = fn(&Workspace) -> Result<Vec<Finding>>;

/// What is checked without compiling, cheapest first.
const QUICK_STEPS: [(&str, Step); 4] = [
    ("sources: shape, words, purity, places", sources),
    ("directions of dependencies", deps::check),
    ("licences, bans and origins", licenses::check),
    ("format", format),
];

/// What is checked by compiling.
const SLOW_STEPS: [(&str, Step); 1] = [("clippy", clippy)];

/// Arguments of `check`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Leave out clippy, so that nothing is compiled.
    #[arg(long)]
    quick: bool,
}

/// Runs every step and says what failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let workspace = Workspace::load()?;
    let mut failed = 0_usize;
    let slow = if arguments.quick { [].as_slice() } else { SLOW_STEPS.as_slice() };
    for (name, step) in QUICK_STEPS.iter().chain(slow) {
        let step_start = Instant::now();
        let result = step(&workspace);
        let verdict = match &result {
            Ok(findings) if findings.is_empty() => "ok".to_owned(),
            Ok(findings) => format!("{} to mend", findings.len()),
            Err(_) => "could not be looked at".to_owned(),
        };
        println!("{name:.<44} {verdict} ({})", seconds(step_start.elapsed()));
        match result {
            Ok(findings) => {
                failed += findings.len();
                for finding in findings {
                    println!("  {finding}");
                }
            }
            Err(error) => {
                failed += 1;
                println!("  {error:#}");
            }
        }
    }
    println!("check took {}", seconds(start.elapsed()));
    if failed > 0 {
        bail!("{failed} to mend, listed above");
    }
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn sources(workspace: &Workspace) -> Result<Vec<Finding>> {
    let verdict = rules::check(&workspace.root)?;
    for note in verdict.notes {
        println!("  note: {note}");
    }
    Ok(verdict.findings)
}

fn format(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut command = cargo::command(&workspace.root, ["fmt", "--all", "--", "--check", "-l"]);
    let line = cargo::line(&command);
    let output = command.output().with_context(|| format!("start `{line}`"))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<Finding> = listed
        .lines()
        .map(|path| {
            let path = Path::new(path);
            let relative = path.strip_prefix(&workspace.root).unwrap_or(path);
            Finding::at(relative, 0, "is not formatted", "run `cargo fmt --all`")
        })
        .collect();
    if findings.is_empty() && !output.status.success() {
        bail!("`{line}` ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(findings)
}

fn clippy(workspace: &Workspace) -> Result<Vec<Finding>> {
    let mut all = Vec::new();
    // To cargo, tests that only run when they are named are not among all targets.
    for targets in [["--workspace", "--all-targets"].as_slice(), &["--workspace", "--test", "cluster"]] {
        let options = ["clippy", "--quiet", "--keep-going", "--message-format=json"];
        let mut command = cargo::command(&workspace.root, options);
        command.args(targets).args(["--", "-D", "warnings"]).stderr(Stdio::inherit());
        let line = cargo::line(&command);
        let output = command.output().with_context(|| format!("start `{line}`"))?;
        let findings = complaints(&String::from_utf8_lossy(&output.stdout))?;
        if findings.is_empty() && !output.status.success() {
            bail!("`{line}` ended with {}; its words are above", output.status);
        }
        all.extend(findings);
    }
    Ok(all)
}

/// One finding for each place and message, though cargo tells them once for each target.
fn complaints(messages: &str) -> Result<Vec<Finding>> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let value: Value = serde_json::from_str(line).context("read a message of clippy")?;
        let message = &value["message"];
        let spans = message["spans"].as_array();
        let span = spans.and_then(|spans| spans.iter().find(|span| span["is_primary"] == true));
        let Some(span) = span else { continue };
        let place = span["file_name"].as_str().unwrap_or_default();
        let line = span["line_start"].as_u64().unwrap_or(0) as usize;
        let text = message["message"].as_str().unwrap_or_default();
        if seen.insert((place.to_owned(), line, text.to_owned())) {
            findings.push(Finding::at(place, line, text.replace('\n', " "), remedy(message)));
        }
    }
    Ok(findings)
}

/// What the compiler proposes, and the name of the lint. That a lint can be silenced is not proposed.
fn remedy(message: &Value) -> String {
    let children = message["children"].as_array();
    let help = children.into_iter().flatten().filter(|child| child["level"] == "help");
    let advice = help
        .filter_map(|child| child["message"].as_str()?.lines().next())
        .find(|text| !text.starts_with("for further") && !text.starts_with("to override"));
    match (advice, message["code"]["code"].as_str()) {
        (Some(advice), Some(code)) => format!("{advice} ({code})"),
        (Some(advice), None) => advice.to_owned(),
        (None, Some(code)) => format!("see {code}"),
        (None, None) => "see the compiler's words with `cargo check`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_told_for_two_targets_is_one_finding() {
        let message = r#"{"reason":"compiler-message","message":{"message":"unused variable: `x`","code":{"code":"unused_variables"},"spans":[{"is_primary":true,"file_name":"crates/api/src/lib.rs","line_start":7}],"children":[{"level":"help","message":"prefix it with an underscore"}]}}"#;
        let findings =
            complaints(&format!("{message}\n{message}\n{{\"reason\":\"build-finished\"}}\n")).unwrap();
        let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "crates/api/src/lib.rs:7: unused variable: `x`; prefix it with an underscore (unused_variables)"
            ]
        );
    }
}
