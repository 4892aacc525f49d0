//! Each rule finds what it is for and leaves alone what is allowed.

use std::path::Path;

use super::{Verdict, apply};
use crate::source::Source;

/// The findings for a file with the text below a proper first line, so that line 2 is the text's first.
fn findings(path: &str, text: &str) -> Vec<String> {
    let mut verdict = Verdict { findings: Vec::new(), notes: Vec::new() };
    apply(&Source::parse(Path::new(path), &format!("//! Head.\n{text}")), &mut verdict);
    verdict.findings.iter().map(ToString::to_string).collect()
}

/// The one finding, up to its remedy.
fn only(path: &str, text: &str) -> String {
    let found = findings(path, text);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].split_once("; ").map_or_else(|| found[0].clone(), |(what, _)| what.to_owned())
}

#[test]
fn unfinished_code_is_found() {
    let path = "crates/worker/src/run.rs";
    assert_eq!(only(path, "fn f() { todo!() }"), format!("{path}:2: `todo!` is not used here"));
    assert_eq!(
        only(path, "\nfn f() { unimplemented!() }"),
        format!("{path}:3: `unimplemented!` is not used here")
    );
}

#[test]
fn marks_need_the_number_of_an_issue() {
    let path = "crates/worker/src/run.rs";
    assert_eq!(only(path, "// TODO: later"), format!("{path}:2: `TODO` without the number of an issue"));
    assert_eq!(only(path, "// FIXME(#)"), format!("{path}:2: `FIXME` without the number of an issue"));
    assert_eq!(findings(path, "// TODO(#12): later; TODOS and MTODO are words\nlet a = \"TODO\";"), [""; 0]);
}

#[test]
fn silenced_lints_and_tests_are_found() {
    let path = "crates/worker/tests/it/main.rs";
    assert_eq!(only(path, "#[allow(dead_code)]"), format!("{path}:2: `#[allow(` is not used here"));
    assert_eq!(only(path, "#![allow(dead_code)]"), format!("{path}:2: `#![allow(` is not used here"));
    assert_eq!(only(path, "#[ignore = \"slow\"]"), format!("{path}:2: `#[ignore` is not used here"));
    assert_eq!(only(path, "#[should_panic]"), format!("{path}:2: `#[should_panic` is not used here"));
    assert_eq!(findings(path, "#[expect(dead_code, reason = \"r\")]"), [""; 0]);
}

#[test]
fn loose_tasks_and_queues_are_found() {
    let path = "crates/connect/src/source/http.rs";
    assert_eq!(only(path, "tokio::spawn(f())"), format!("{path}:2: `tokio::spawn` is not used here"));
    assert_eq!(
        only(path, "let (a, b) = mpsc::unbounded_channel();"),
        format!("{path}:2: `unbounded_channel` is not used here")
    );
    assert_eq!(findings(path, "tasks.spawn(f()); tokio::task::spawn_blocking(g)"), [""; 0]);
}

#[test]
fn only_tests_must_not_sleep() {
    let call = "fn f() { tokio::time::sleep(wait).await }";
    assert_eq!(findings("crates/connect/src/udf.rs", call), [""; 0]);
    assert_eq!(
        only("crates/connect/src/udf.rs", "#[cfg(test)]\nmod tests {\nfn f() { sleep(wait) }\n}"),
        "crates/connect/src/udf.rs:4: a test sleeps"
    );
    assert_eq!(
        only("crates/connect/tests/it/udf.rs", call),
        "crates/connect/tests/it/udf.rs:2: a test sleeps"
    );
    assert_eq!(only("e2e/src/pipeline.rs", call), "e2e/src/pipeline.rs:2: a test sleeps");
    assert_eq!(findings("e2e/src/wait.rs", call), [""; 0]);
    assert_eq!(findings("e2e/src/bin/slow_map.rs", call), [""; 0]);
}

#[test]
fn pure_crates_do_not_look_at_the_world() {
    let path = "crates/plan/src/rollout.rs";
    assert_eq!(
        only(path, "let now = Instant::now();"),
        format!("{path}:2: `Instant::now` depends on the clock, and `plan` is pure")
    );
    assert_eq!(
        only(path, "let x = since.elapsed();").split(", ").next(),
        Some(&*format!("{path}:2: `.elapsed(` depends on the clock"))
    );
    assert_eq!(findings(path, "use std::fs;").len(), 1);
    assert_eq!(findings(path, "use std::{fs, io};\nfn f() { fs::read(p) }").len(), 1);
    assert_eq!(findings(path, "#[cfg(test)]\nmod tests { fn f() { std::fs::read(p) } }"), [""; 0]);
    assert_eq!(findings("crates/journal/src/disk.rs", "use std::fs;"), [""; 0]);
    assert_eq!(findings("crates/model/src/conformance/buffer.rs", "use tokio::task;"), [""; 0]);
}

#[test]
fn only_cli_reads_the_environment() {
    let call = "fn f() { std::env::var(\"A\") }";
    assert_eq!(
        only("crates/platform/src/local.rs", call),
        "crates/platform/src/local.rs:2: `env::var` outside `cli`"
    );
    assert_eq!(findings("crates/cli/src/main.rs", call), [""; 0]);
    assert_eq!(findings("crates/journal/tests/it/sim.rs", call), [""; 0]);
}

#[test]
fn crates_behind_a_seam_are_named_there_only() {
    assert_eq!(
        only("crates/worker/src/run.rs", "use connect::open;"),
        "crates/worker/src/run.rs:2: `worker` may name `connect` only in crates/worker/src/wire.rs"
    );
    assert_eq!(findings("crates/worker/src/run.rs", "use ::connect::open;").len(), 1);
    assert_eq!(findings("crates/worker/src/wire.rs", "use connect::open;"), [""; 0]);
    assert_eq!(
        findings("crates/worker/src/run.rs", "socket.connect(); crate::connect::f(); let connect = 1;"),
        [""; 0]
    );
    assert_eq!(findings("crates/platform/src/fake.rs", "fn f() { worker::run() }\nuse keeper;").len(), 2);
    assert_eq!(findings("crates/platform/src/local/spawn.rs", "fn f() { worker::run() }"), [""; 0]);
}

#[test]
fn files_have_a_head_a_telling_name_and_a_bounded_size() {
    let mut verdict = Verdict { findings: Vec::new(), notes: Vec::new() };
    apply(&Source::parse(Path::new("crates/cli/src/main.rs"), "fn main() {}\n"), &mut verdict);
    assert_eq!(verdict.findings.len(), 1);
    assert_eq!(findings("crates/cli/src/run/mod.rs", "").len(), 1);
    assert_eq!(findings("crates/cli/src/helpers.rs", "").len(), 1);
    assert_eq!(findings("crates/common/src/lib.rs", "").len(), 1);
    assert_eq!(findings("crates/cli/src/run.rs", &"fn f() {}\n".repeat(800)).len(), 1);
    assert_eq!(findings("crates/cli/src/run.rs", &"fn f() {}\n".repeat(799)), [""; 0]);
    assert_eq!(findings("crates/cli/src/run/tests.rs", &"fn f() {}\n".repeat(900)), [""; 0]);
}

#[test]
fn many_tests_move_out_of_the_file() {
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn f() {}\n".repeat(150));
    assert_eq!(
        only("crates/cli/src/run.rs", &tests),
        "crates/cli/src/run.rs:2: 153 lines of tests inside the file, more than 150"
    );
}

#[test]
fn long_files_are_noted_before_they_are_refused() {
    let mut verdict = Verdict { findings: Vec::new(), notes: Vec::new() };
    let text = format!("//! Head.\n{}", "fn f() {}\n".repeat(400));
    apply(&Source::parse(Path::new("crates/cli/src/run.rs"), &text), &mut verdict);
    assert_eq!((verdict.findings.len(), verdict.notes.len()), (0, 1));
}

#[test]
fn generated_code_is_left_alone() {
    assert_eq!(findings("crates/proto/src/gen/map.v1.rs", "#![allow(dead_code)]"), [""; 0]);
}
