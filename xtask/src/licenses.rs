//! The promises of `deny.toml`, kept without `cargo-deny`: licences, banned packages and where packages come from.
//!
//! Advisories need a database and stay with `cargo deny`. Invariant: a key of `deny.toml` that this check would
//! have to obey and does not know is an error, so nothing in the file is mere decoration.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo::{Package, Workspace};
use crate::finding::Finding;

const POLICY: &str = "deny.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
    /// For `cargo deny`, which has the database.
    #[serde(rename = "advisories")]
    _advisories: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// Licences that one package may have besides.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    #[serde(rename = "crate")]
    package: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    deny: Vec<Ban>,
    /// For `cargo deny`, which can tell duplicates that matter from others.
    #[serde(rename = "multiple-versions")]
    _multiple_versions: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    package: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
    allow_git: Vec<String>,
    /// Always as if they said "deny".
    unknown_registry: Deny,
    unknown_git: Deny,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deny {
    Deny,
}

/// Holds every package the workspace is built from against the policy.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let path = workspace.root.join(POLICY);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let policy: Policy = toml::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
    Ok(workspace.packages.iter().flat_map(|package| judge(&policy, package)).collect())
}

fn judge(policy: &Policy, package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let label = format!("{} {}", package.name, package.version);
    let mut found = |what: String, remedy: &str| {
        findings.push(Finding::at(Path::new(POLICY), 0, what, remedy));
    };
    if let Some(ban) = policy.bans.deny.iter().find(|ban| ban.package == package.name) {
        found(format!("{label} is banned: {}", ban.reason), "use something else, or a feature without it");
    }
    let Sources { allow_registry, allow_git, unknown_registry: Deny::Deny, unknown_git: Deny::Deny } =
        &policy.sources;
    let is_known = match package.source.as_deref() {
        None => package.is_member,
        Some(source) => {
            let (kind, place) = source.split_once('+').unwrap_or(("", source));
            let place = place.split(['?', '#']).next().unwrap_or(place);
            let allowed = if kind == "git" { allow_git } else { allow_registry };
            allowed.iter().any(|known| known == place)
        }
    };
    if !is_known {
        let source = package.source.as_deref().unwrap_or("a path outside the workspace");
        found(format!("{label} comes from {source}"), "take it from a registry that the policy allows");
    }
    let exceptions = policy.licenses.exceptions.iter().filter(|exception| exception.package == package.name);
    let allowed: Vec<&str> = policy
        .licenses
        .allow
        .iter()
        .chain(exceptions.flat_map(|exception| &exception.allow))
        .map(String::as_str)
        .collect();
    match satisfied(&package.license, &allowed) {
        Some(true) => {}
        Some(false) => found(
            format!("{label} has the licence {}", package.license),
            "use something else; an exception needs an ADR",
        ),
        None => found(
            format!("{label} states no licence that can be read: {:?}", package.license),
            "use something else; an exception needs an ADR",
        ),
    }
    findings
}

/// Whether the allowed licences satisfy the SPDX expression; `None` if it is not one.
fn satisfied(expression: &str, allowed: &[&str]) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let result = any_of(&mut rest, allowed)?;
    rest.is_empty().then_some(result)
}

fn any_of(words: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut result = all_of(words, allowed)?;
    while let ["OR", rest @ ..] = words {
        *words = rest;
        result |= all_of(words, allowed)?;
    }
    Some(result)
}

fn all_of(words: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut result = one(words, allowed)?;
    while let ["AND", rest @ ..] = words {
        *words = rest;
        result &= one(words, allowed)?;
    }
    Some(result)
}

fn one(words: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    match words {
        ["(", rest @ ..] => {
            *words = rest;
            let result = any_of(words, allowed)?;
            let [")", rest @ ..] = words else { return None };
            *words = rest;
            Some(result)
        }
        [")" | "OR" | "AND" | "WITH", ..] | [] => None,
        [license, "WITH", exception, rest @ ..] => {
            let whole = format!("{license} WITH {exception}");
            *words = rest;
            Some(allowed.contains(&whole.as_str()))
        }
        [license, rest @ ..] => {
            *words = rest;
            Some(allowed.contains(license))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: [&str; 3] = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("MIT OR GPL-3.0", Some(true)),
            ("GPL-3.0 OR AGPL-3.0", Some(false)),
            ("MIT AND GPL-3.0", Some(false)),
            ("(MIT OR GPL-3.0) AND Apache-2.0", Some(true)),
            ("GPL-3.0 OR MIT AND Apache-2.0", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("MIT WITH LLVM-exception", Some(false)),
            ("MIT/GPL-3.0", Some(true)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT Apache-2.0", None),
        ] {
            assert_eq!(satisfied(expression, &ALLOWED), expected, "{expression}");
        }
    }

    fn policy() -> Policy {
        toml::from_str(
            "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"odd\", allow = [\"Zlib\"] }]\n\
             [bans]\ndeny = [{ crate = \"openssl\", reason = \"rustls is enough\" }]\n\
             [sources]\nunknown-registry = \"deny\"\nunknown-git = \"deny\"\nallow-git = []\n\
             allow-registry = [\"https://github.com/rust-lang/crates.io-index\"]\n",
        )
        .unwrap()
    }

    fn package(name: &str, license: &str, source: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.to_owned(),
            source: Some(source.to_owned()),
            manifest: "Cargo.toml".into(),
            dependencies: Vec::new(),
            is_member: false,
        }
    }

    #[test]
    fn a_package_is_judged_by_licence_name_and_source() {
        let index = "registry+https://github.com/rust-lang/crates.io-index";
        let count = |name, license, source| judge(&policy(), &package(name, license, source)).len();
        assert_eq!(count("good", "MIT", index), 0);
        assert_eq!(count("good", "GPL-3.0", index), 1);
        assert_eq!(count("odd", "Zlib", index), 0);
        assert_eq!(count("openssl", "MIT", index), 1);
        assert_eq!(count("good", "MIT", "git+https://example.org/x?rev=1#abc"), 1);
        assert_eq!(count("good", "MIT", "registry+https://example.org/index"), 1);
    }

    #[test]
    fn a_key_nobody_obeys_is_an_error() {
        assert!(toml::from_str::<Policy>("[licenses]\nallow = []\nconfidence-threshold = 1\n").is_err());
    }
}
