//! `bench`: cases that measure the project on this machine, and the table of their medians.
//!
//! Each case has a file below `bench/`; how figures become a table is in `bench::report`. Invariant: all figures of
//! a table come from one invocation on one machine, and a case that fails is an error, never a missing row.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo::{self, Workspace};

mod disk;
mod jetstream;
mod pipeline;
mod report;

use report::Figure;

/// Something to measure.
struct Case {
    /// How it is called on the command line.
    name: &'static str,
    /// What it measures, in one line.
    what: &'static str,
    /// Whether it starts the release binary or the test programs, which are then built first.
    starts_binaries: bool,
    /// Measures once.
    measure: fn(&Lab) -> Result<Vec<Figure>>,
}

/// All cases, in the order of the table.
const CASES: &[Case] = &[
    Case {
        name: "disk",
        what: "what the disk takes sequentially, synced as the journal syncs",
        starts_binaries: false,
        measure: disk::measure,
    },
    Case {
        name: "mono",
        what: "mono vertex, generator to blackhole",
        starts_binaries: true,
        measure: pipeline::mono,
    },
    Case {
        name: "mono-map",
        what: "mono vertex with a map made with the Rust SDK",
        starts_binaries: true,
        measure: pipeline::mono_map,
    },
    Case {
        name: "three-100",
        what: "three vertices on the journal, 100 B, durable on disk",
        starts_binaries: true,
        measure: pipeline::three_100,
    },
    Case {
        name: "three-1024",
        what: "three vertices on the journal, 1 KiB, durable on disk",
        starts_binaries: true,
        measure: pipeline::three_1024,
    },
    Case {
        name: "latency",
        what: "three vertices at 500 messages a second",
        starts_binaries: true,
        measure: pipeline::latency,
    },
    Case {
        name: "jetstream-100",
        what: "three vertices over a NATS server on this machine, 100 B",
        starts_binaries: true,
        measure: jetstream::three_100,
    },
    Case {
        name: "jetstream-1024",
        what: "three vertices over a NATS server on this machine, 1 KiB",
        starts_binaries: true,
        measure: jetstream::three_1024,
    },
    Case {
        name: "jetstream-always",
        what: "three vertices over a NATS server that syncs always, 100 B",
        starts_binaries: true,
        measure: jetstream::three_always,
    },
    Case {
        name: "jetstream-latency",
        what: "three vertices over a NATS server at 500 messages a second",
        starts_binaries: true,
        measure: jetstream::latency,
    },
    Case {
        name: "start",
        what: "from process start to the first message out of three vertices",
        starts_binaries: true,
        measure: pipeline::start,
    },
    Case {
        name: "idle",
        what: "memory of three idle vertices",
        starts_binaries: true,
        measure: pipeline::idle,
    },
];

/// Where cases work.
struct Lab {
    /// A directory of this run, on the disk of the build directory; removed at the end.
    scratch: PathBuf,
    /// Where the release binaries are.
    binaries: PathBuf,
}

impl Lab {
    /// A release binary of the workspace.
    fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }
}

/// Arguments of `bench`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Cases to run; all if none is named.
    cases: Vec<String>,
    /// How often each case runs; the table shows medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Only list the cases.
    #[arg(long)]
    list: bool,
}

/// Runs the chosen cases and prints their table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for Case { name, what, .. } in CASES {
            println!("{name:<18} {what}");
        }
        return Ok(());
    }
    let cases = choose(&arguments.cases)?;
    let workspace = Workspace::load()?;
    if cases.iter().any(|case| case.starts_binaries) {
        let build = ["build", "--quiet", "--release", "--package", "tidegate-cli", "--package", "e2e"];
        cargo::run(&mut cargo::command(&workspace.root, build))?;
    }
    let lab = Lab {
        scratch: workspace.target.join("xtask").join(format!("bench-{}", std::process::id())),
        binaries: workspace.target.join("release"),
    };
    std::fs::create_dir_all(&lab.scratch).with_context(|| format!("create {}", lab.scratch.display()))?;
    let result = measure(&cases, arguments.runs, &lab);
    std::fs::remove_dir_all(&lab.scratch).with_context(|| format!("remove {}", lab.scratch.display()))?;
    print!("{}", report::table(&result?));
    Ok(())
}

/// Runs each case as often as asked for.
fn measure(cases: &[&Case], runs: u32, lab: &Lab) -> Result<Vec<report::Row>> {
    let mut rows = Vec::new();
    for case in cases {
        let mut measured = Vec::new();
        for run in 1..=runs {
            let figures = (case.measure)(lab).with_context(|| format!("case `{}`, run {run}", case.name))?;
            measured.push(figures);
        }
        rows.extend(report::medians(case.name, &measured)?);
    }
    Ok(rows)
}

fn choose(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(CASES.iter().collect());
    }
    let find = |name: &String| CASES.iter().find(|case| case.name == name);
    if let Some(unknown) = names.iter().find(|name| find(name).is_none()) {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        bail!("there is no case `{unknown}`; there are: {}", known.join(", "));
    }
    Ok(names.iter().filter_map(find).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_name() {
        assert_eq!(choose(&[]).unwrap().len(), CASES.len());
        assert_eq!(choose(&["disk".to_owned()]).unwrap()[0].name, "disk");
    }

    #[test]
    fn an_unknown_case_names_the_known_ones() {
        let error = choose(&["dsk".to_owned()]).err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("`dsk`") && text.contains("disk")));
    }
}
