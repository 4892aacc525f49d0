//! The binary as people use it: flags in, text and an exit code out.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod examples;
mod help;
mod isbsvc;
mod lint;
mod run;
mod site;

#[path = "../../../server/tests/it/fake.rs"]
mod fake;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How a call ended.
struct Called {
    code: i32,
    out: String,
    err: String,
}

/// Our binary, in a directory, with nothing of the caller's environment that matters.
fn tidegate(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .env("XDG_STATE_HOME", directory.join("state-home"))
        .env("XDG_RUNTIME_DIR", directory)
        .stdin(Stdio::null());
    command
}

fn called(output: &Output) -> Called {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Called { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn call(directory: &Path, args: &[&str]) -> Called {
    called(&tidegate(directory).args(args).output().unwrap())
}

/// A call with something on standard input.
fn call_with(directory: &Path, args: &[&str], input: &str) -> Called {
    let mut command = tidegate(directory);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    called(&child.wait_with_output().unwrap())
}

/// A pipeline from a generator to a sink, with a vertex in between when one is given.
fn pipeline(between: &str, to_sink: &str) -> String {
    format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata:\n  name: p\nspec:\n  vertices:\n    \
         - name: in\n      source:\n        generator: {{rpu: 50, duration: 1s}}\n{between}    - name: out\n      \
         sink:\n        log: {{}}\n  edges:\n{to_sink}"
    )
}

const DIRECT: &str = "    - {from: in, to: out}\n";
const BY_CAT: &str = "    - {from: in, to: cat}\n    - {from: cat, to: out}\n";
