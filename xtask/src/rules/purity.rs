//! Who may look at the world: `api`, `deploy`, `plan` and `model` never, the environment only `cli`.
//!
//! Crates that bring such calls along are found by `deps`; here stands what the standard library offers to anyone.
//! Invariant: tests and conformance suites are free, because they decide nothing in production.

use crate::finding::Finding;
use crate::source::Source;

/// Crates whose functions depend on their arguments alone.
const PURE: [&str; 4] = ["api", "deploy", "plan", "model"];

/// Packages that may read flags and environment variables.
const MAY_READ_ENVIRONMENT: [&str; 3] = ["cli", "e2e", "xtask"];

/// What a pure crate may not call.
const IMPURE: [(&[&str], &str); 20] = [
    (&["std", "::", "fs"], "files"),
    (&["fs", "::"], "files"),
    (&["File", "::", "open"], "files"),
    (&["File", "::", "create"], "files"),
    (&["std", "::", "thread"], "threads"),
    (&["thread", "::"], "threads"),
    (&["std", "::", "process"], "processes"),
    (&["Command", "::", "new"], "processes"),
    (&["TcpStream"], "the network"),
    (&["TcpListener"], "the network"),
    (&["UdpSocket"], "the network"),
    (&["UnixStream"], "the network"),
    (&["ToSocketAddrs"], "the network"),
    (&["SystemTime", "::", "now"], "the clock"),
    (&["Instant", "::", "now"], "the clock"),
    (&[".", "elapsed", "("], "the clock"),
    (&["RandomState"], "randomness"),
    (&["rand", "::"], "randomness"),
    (&["getrandom", "::"], "randomness"),
    (&["tokio", "::"], "a runtime"),
];

/// What reads the environment.
const ENVIRONMENT: [&str; 10] =
    ["var", "var_os", "vars", "vars_os", "args", "args_os", "set_var", "remove_var", "home_dir", "temp_dir"];

/// Every look at the world that the file's crate may not take.
pub(super) fn findings(source: &Source) -> Vec<Finding> {
    let mut findings = environment(source);
    let is_conformance = source.path.iter().any(|part| part == "conformance" || part == "conformance.rs");
    if PURE.contains(&source.package.as_str()) && !is_conformance {
        findings.extend(impure(source));
    }
    findings
}

fn impure(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (pattern, world) in IMPURE {
        findings.extend(source.find(pattern).filter(|token| !source.is_test(token)).map(|token| {
            Finding::at(
                &source.path,
                token.line,
                format!("`{}` depends on {world}, and `{}` is pure", pattern.concat(), source.package),
                "take what it gives as an argument",
            )
        }));
    }
    findings
}

fn environment(source: &Source) -> Vec<Finding> {
    if MAY_READ_ENVIRONMENT.contains(&source.package.as_str())
        || source.path.ends_with("build.rs")
        || source.is_example()
    {
        return Vec::new();
    }
    let reads = ENVIRONMENT.iter().flat_map(|call| {
        let hits: Vec<usize> = source
            .find(&["env", "::", call])
            .filter(|token| !source.is_test(token))
            .map(|token| token.line)
            .collect();
        hits.into_iter().map(move |line| (line, *call))
    });
    reads
        .map(|(line, call)| {
            Finding::at(
                &source.path,
                line,
                format!("`env::{call}` outside `cli`"),
                "take the value in a struct that `cli` fills",
            )
        })
        .collect()
}
