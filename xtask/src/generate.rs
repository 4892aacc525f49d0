//! `gen`: the committed files that are made from others: the Rust code of `crates/proto`, and what an operator installs.
//!
//! What lives here is the comparison; the recipes are in `protos` and in the crate `deploy`. It is all of it a test, so
//! that the build tool itself is built without the compilers of `.proto` files and the types of Kubernetes. Invariant:
//! the same sources always give the same bytes, so that a difference means a stale file.

mod protos;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::finding::Finding;

/// Contents by path below a directory, with `/` between its parts.
type Generated = BTreeMap<String, String>;

/// A directory in which everything is generated.
struct Output {
    dir: &'static str,
    files: Generated,
}

/// Makes every directory anew, in memory.
fn outputs(root: &Path) -> Result<Vec<Output>> {
    let mut outputs = vec![Output { dir: protos::GENERATED_DIR, files: protos::generate(root)? }];
    let mut installed = deploy::forms::files();
    for (dir, prefix) in [("deploy/chart", "chart/"), ("deploy/kustomize", "kustomize/")] {
        let names: Vec<String> = installed.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        let files = names.into_iter().filter_map(|name| {
            let text = installed.remove(&name)?;
            Some((name[prefix.len()..].to_owned(), text))
        });
        outputs.push(Output { dir, files: files.collect() });
    }
    assert!(
        installed.is_empty(),
        "files outside of the directories that are compared: {:?}",
        installed.keys()
    );
    Ok(outputs)
}

/// Writes the generated files and removes those that nothing generates any more.
///
/// Returns the paths of the files that were written or removed.
fn write(root: &Path) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for output in outputs(root)? {
        let dir = root.join(output.dir);
        let existing = read_all(&dir)?;
        for (name, text) in &output.files {
            if existing.get(name) != Some(text) {
                let path = dir.join(name);
                let parent = path.parent().context("a file is in a directory")?;
                fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
                changed.push(format!("{}/{name}", output.dir));
            }
        }
        for name in existing.keys().filter(|name| !output.files.contains_key(*name)) {
            fs::remove_file(dir.join(name)).with_context(|| format!("remove {name}"))?;
            changed.push(format!("{}/{name}", output.dir));
        }
    }
    Ok(changed)
}

/// Compares the committed files with what their sources give.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for output in outputs(root)? {
        let existing = read_all(&root.join(output.dir))?;
        findings.extend(compare(output.dir, &output.files, &existing));
    }
    Ok(findings)
}

/// One finding for each file that is missing, stale or left over.
fn compare(dir: &str, wanted: &Generated, existing: &Generated) -> Vec<Finding> {
    let finding = |name: &str, line: usize, what: &str| {
        Finding::at(Path::new(dir).join(name), line, what, "run `cargo xtask gen`")
    };
    let mut findings = Vec::new();
    for (name, text) in wanted {
        match existing.get(name) {
            None => findings.push(finding(name, 0, "generated file is missing")),
            Some(found) if found != text => {
                findings.push(finding(name, first_difference(text, found), "generated file is stale"));
            }
            Some(_) => {}
        }
    }
    for name in existing.keys().filter(|name| !wanted.contains_key(*name)) {
        findings.push(finding(name, 0, "nothing generates this file"));
    }
    findings
}

/// Number of the first line that differs, counted from 1.
fn first_difference(wanted: &str, found: &str) -> usize {
    let same = wanted.lines().zip(found.lines()).take_while(|(left, right)| left == right).count();
    same + 1
}

/// All files below the directory with their contents; none when there is no such directory.
fn read_all(dir: &Path) -> Result<Generated> {
    let mut found = Generated::new();
    let mut unread = vec![(dir.to_owned(), String::new())];
    while let Some((dir, prefix)) = unread.pop() {
        if !dir.exists() {
            continue;
        }
        for path in list(&dir)? {
            let name = path.file_name().and_then(|name| name.to_str()).context("file name is not text")?;
            let name = format!("{prefix}{name}");
            if path.is_dir() {
                unread.push((path, format!("{name}/")));
            } else {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                found.insert(name, text);
            }
        }
    }
    Ok(found)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(|| format!("list {}", dir.display()))?.path());
    }
    paths.sort();
    Ok(paths)
}

mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_what_their_sources_give() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace");
        if std::env::var_os("TIDEGATE_GENERATE").is_some() {
            for name in write(root).unwrap() {
                println!("changed {name}");
            }
        }
        let findings: Vec<String> = check(root).unwrap().iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    fn files(entries: &[(&str, &str)]) -> Generated {
        entries.iter().map(|(name, code)| ((*name).to_owned(), (*code).to_owned())).collect()
    }

    #[test]
    fn equal_files_are_fresh() {
        let wanted = files(&[("map.v1.rs", "a\nb\n")]);
        assert_eq!(compare("x", &wanted, &wanted), []);
    }

    #[test]
    fn a_changed_file_is_stale_at_its_first_difference() {
        let findings = compare(
            "crates/proto/src/gen",
            &files(&[("map.v1.rs", "a\nb\nc\n")]),
            &files(&[("map.v1.rs", "a\nb\nC\n")]),
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].to_string(),
            "crates/proto/src/gen/map.v1.rs:3: generated file is stale; run `cargo xtask gen`"
        );
    }

    #[test]
    fn missing_and_left_over_files_are_found() {
        let findings =
            compare("crates/proto/src/gen", &files(&[("new.rs", "a")]), &files(&[("old.rs", "a")]));
        let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "crates/proto/src/gen/new.rs: generated file is missing; run `cargo xtask gen`",
                "crates/proto/src/gen/old.rs: nothing generates this file; run `cargo xtask gen`",
            ]
        );
    }
}
