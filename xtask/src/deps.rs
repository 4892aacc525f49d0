//! Which crate may use which: the table, and the check of the manifests against it.
//!
//! That a crate is named only in one file of another is for `rules::places`. Invariant: a package of the workspace
//! that has no row here fails the check, so no crate escapes by being added.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cargo::{self, Package, Workspace};
use crate::finding::Finding;

/// What a crate may use.
struct Rule {
    package: &'static str,
    /// Packages of the workspace it may declare, or all of them.
    may_use: Crates,
    /// Packages it must never be built from, not even through others.
    never: &'static [&'static [&'static str]],
    /// Packages from outside that it may declare, or all that `never` leaves.
    outside: Crates,
}

/// A set of packages.
#[derive(Clone, Copy)]
enum Crates {
    All,
    These(&'static [&'static str]),
}

impl Crates {
    fn allow(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(&name),
        }
    }
}

/// Runtimes, sockets and everything built on them.
const RUNTIMES: &[&str] = &[
    "tokio",
    "tokio-util",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "hyper",
    "tonic",
    "axum",
    "reqwest",
    "ureq",
];
/// Sources of randomness and of files that are made at random.
const RANDOMNESS: &[&str] = &["rand", "fastrand", "uuid", "tempfile"];
/// Clients of Kubernetes. Its types and derives (`kube-core`, `kube-derive`, `k8s-openapi`) are not among them.
const KUBE: &[&str] = &["kube", "kube-client", "kube-runtime"];

const API: &str = "tidegate-api";
const DEPLOY: &str = "tidegate-deploy";
const PLAN: &str = "tidegate-plan";
const MODEL: &str = "tidegate-model";
const PROTO: &str = "tidegate-proto";
const JOURNAL: &str = "tidegate-journal";
const LANE: &str = "tidegate-lane";
const CONNECT: &str = "tidegate-connect";
const WORKER: &str = "tidegate-worker";
const KEEPER: &str = "tidegate-keeper";
const PLATFORM: &str = "tidegate-platform";
const SERVER: &str = "tidegate-server";

/// One row for each package of the workspace.
const RULES: &[Rule] = &[
    Rule {
        package: API,
        may_use: Crates::These(&[]),
        never: &[RUNTIMES, RANDOMNESS, KUBE],
        outside: Crates::All,
    },
    Rule {
        package: DEPLOY,
        may_use: Crates::These(&[API]),
        never: &[RUNTIMES, RANDOMNESS, KUBE],
        outside: Crates::All,
    },
    Rule {
        package: PLAN,
        may_use: Crates::These(&[API]),
        never: &[RUNTIMES, RANDOMNESS, KUBE, &[MODEL]],
        outside: Crates::All,
    },
    Rule {
        package: MODEL,
        may_use: Crates::These(&[]),
        never: &[RUNTIMES, RANDOMNESS, KUBE, &[API]],
        outside: Crates::All,
    },
    Rule {
        package: PROTO,
        may_use: Crates::These(&[]),
        never: &[KUBE],
        outside: Crates::These(&["prost", "prost-types", "tonic", "tonic-prost"]),
    },
    Rule {
        package: JOURNAL,
        may_use: Crates::These(&[]),
        never: &[RUNTIMES, KUBE, &[MODEL]],
        outside: Crates::All,
    },
    Rule {
        package: LANE,
        may_use: Crates::These(&[MODEL]),
        never: &[RUNTIMES, RANDOMNESS, KUBE, &[API]],
        outside: Crates::All,
    },
    Rule {
        package: CONNECT,
        may_use: Crates::These(&[MODEL, API, PROTO, JOURNAL, LANE]),
        never: &[KUBE, &[PLAN, WORKER]],
        outside: Crates::All,
    },
    Rule {
        package: WORKER,
        may_use: Crates::These(&[MODEL, API, CONNECT]),
        never: &[KUBE, &[PLAN, PLATFORM]],
        outside: Crates::All,
    },
    Rule {
        package: KEEPER,
        may_use: Crates::These(&[MODEL, API, PLAN, CONNECT]),
        never: &[KUBE, &[WORKER, PLATFORM]],
        outside: Crates::All,
    },
    Rule {
        package: PLATFORM,
        may_use: Crates::These(&[API, PLAN, DEPLOY, CONNECT, WORKER, KEEPER, MODEL, JOURNAL]),
        never: &[&["axum"]],
        outside: Crates::All,
    },
    Rule {
        package: SERVER,
        may_use: Crates::These(&[API, PLAN, PLATFORM, KEEPER, PROTO]),
        never: &[],
        // It reaches a Kubernetes client through the platform, and never uses one itself. Beside HTTP a daemon speaks
        // gRPC (`tonic`, `prost-types`), and on a cluster every port is TLS with a certificate of its own (`rcgen`,
        // `tokio-rustls`).
        outside: Crates::These(&[
            "async-trait",
            "axum",
            "futures",
            "hyper",
            "hyper-util",
            "prometheus-client",
            "prost-types",
            "rcgen",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tokio-rustls",
            "tokio-util",
            "tonic",
            "tracing",
        ]),
    },
    Rule { package: "tidegate-cli", may_use: Crates::All, never: &[], outside: Crates::All },
    Rule { package: "e2e", may_use: Crates::All, never: &[], outside: Crates::All },
    // Nothing is built before it; its tests alone compare what `deploy` gives.
    Rule { package: "xtask", may_use: Crates::These(&[]), never: &[KUBE, RUNTIMES], outside: Crates::All },
];

/// Holds every package of the workspace against its row.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let names: Vec<&str> = workspace.members().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in workspace.members() {
        let manifest = Manifest::read(&workspace.root, package)?;
        let Some(rule) = RULES.iter().find(|rule| rule.package == package.name) else {
            findings.push(manifest.finding(
                "name",
                format!("`{}` has no row in the table of directions", package.name),
                "say in xtask/src/deps.rs and ARCHITECTURE.md what it may use",
            ));
            continue;
        };
        findings.extend(declared(rule, package, &names, &manifest));
        if !rule.never.is_empty() {
            let reach = cargo::reach(&workspace.root, &package.name)?;
            findings.extend(reached(rule, &reach, &manifest));
        }
    }
    Ok(findings)
}

/// Normal dependencies that the manifest declares, optional ones too, and the row does not allow.
fn declared(rule: &Rule, package: &Package, members: &[&str], manifest: &Manifest) -> Vec<Finding> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.is_normal);
    let forbidden = normal.filter(|dependency| {
        let name = dependency.package.as_str();
        let allowed = if members.contains(&name) { rule.may_use } else { rule.outside };
        !allowed.allow(name)
    });
    forbidden
        .map(|dependency| {
            manifest.finding(
                &dependency.alias,
                format!("`{}` may not use `{}`", package.name, dependency.package),
                "turn the direction round, or pass in what is needed; the table is in ARCHITECTURE.md",
            )
        })
        .collect()
}

/// Packages the crate is built from and must never be.
fn reached(rule: &Rule, reach: &BTreeMap<String, Vec<String>>, manifest: &Manifest) -> Vec<Finding> {
    let ways = rule.never.iter().flat_map(|group| group.iter()).filter_map(|name| reach.get(*name));
    ways.map(|way| {
        let first = way.get(1).map_or("name", String::as_str);
        manifest.finding(
            first,
            format!("`{}` reaches a package it must never reach: {}", rule.package, way.join(" → ")),
            "drop the dependency or the feature that brings it",
        )
    })
    .collect()
}

/// A manifest, for the line of a dependency.
struct Manifest {
    path: String,
    text: String,
}

impl Manifest {
    fn read(root: &Path, package: &Package) -> Result<Self> {
        let path = package.manifest.strip_prefix(root).unwrap_or(&package.manifest);
        let text = fs::read_to_string(&package.manifest)
            .with_context(|| format!("read {}", package.manifest.display()))?;
        Ok(Self { path: path.display().to_string(), text })
    }

    /// A finding at the line that declares `key`.
    fn finding(&self, key: &str, what: String, remedy: &str) -> Finding {
        let short = key.strip_prefix("tidegate-").unwrap_or(key);
        let declares = |line: &str, key: &str| {
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', '=']))
        };
        let line = self.text.lines().position(|line| declares(line, key) || declares(line, short));
        Finding::at(&self.path, line.map_or(0, |line| line + 1), what, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::Dependency;

    const MEMBERS: [&str; 4] = [API, PLAN, MODEL, PROTO];

    fn rule(package: &str) -> &'static Rule {
        RULES.iter().find(|rule| rule.package == package).unwrap()
    }

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: String::new(),
            source: None,
            manifest: "crates/x/Cargo.toml".into(),
            dependencies: dependencies
                .iter()
                .map(|(name, is_normal)| Dependency {
                    package: (*name).to_owned(),
                    alias: name.trim_start_matches("tidegate-").to_owned(),
                    is_normal: *is_normal,
                })
                .collect(),
            is_member: true,
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            path: "crates/x/Cargo.toml".to_owned(),
            text: "[package]\nname = \"x\"\n[dependencies]\nmodel.workspace = true\ntokio = \"1\"\n"
                .to_owned(),
        }
    }

    fn texts(findings: &[Finding]) -> Vec<String> {
        findings
            .iter()
            .map(|finding| finding.to_string().split("; ").next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_dependency_against_the_direction_is_found_at_its_line() {
        let package = package(PLAN, &[(API, true), (MODEL, true)]);
        let findings = declared(rule(PLAN), &package, &MEMBERS, &manifest());
        assert_eq!(texts(&findings), ["crates/x/Cargo.toml:4: `tidegate-plan` may not use `tidegate-model`"]);
    }

    #[test]
    fn a_dependency_for_development_is_free() {
        let package = package(PLAN, &[(MODEL, false), ("tokio", false)]);
        assert_eq!(declared(rule(PLAN), &package, &MEMBERS, &manifest()), []);
    }

    #[test]
    fn generated_code_uses_its_runtime_and_nothing_else() {
        let package = package(PROTO, &[("prost", true), ("tonic", true), ("serde", true)]);
        let findings = declared(rule(PROTO), &package, &MEMBERS, &manifest());
        assert_eq!(texts(&findings), ["crates/x/Cargo.toml: `tidegate-proto` may not use `serde`"]);
    }

    #[test]
    fn a_forbidden_package_is_found_however_far_it_is() {
        let way = ["tidegate-model", "tokio", "mio"].map(str::to_owned);
        let reach = BTreeMap::from([
            ("tokio".to_owned(), way[..2].to_vec()),
            ("mio".to_owned(), way.to_vec()),
            ("bytes".to_owned(), vec![MODEL.to_owned(), "bytes".to_owned()]),
        ]);
        assert_eq!(
            texts(&reached(rule(MODEL), &reach, &manifest())),
            [
                "crates/x/Cargo.toml:5: `tidegate-model` reaches a package it must never reach: tidegate-model → tokio",
                "crates/x/Cargo.toml:5: `tidegate-model` reaches a package it must never reach: tidegate-model → tokio → mio",
            ]
        );
    }

    #[test]
    fn the_table_agrees_with_itself() {
        for rule in RULES {
            let Crates::These(may_use) = rule.may_use else { continue };
            for name in may_use {
                assert!(RULES.iter().any(|row| row.package == *name), "{name} has no row");
                let is_never = rule.never.iter().any(|group| group.contains(name));
                assert!(!is_never, "{} may and may never use {name}", rule.package);
            }
        }
    }
}
