//! Rules about the shape of a file: its first line, its name and its size.
//!
//! The shape of functions is clippy's. Invariant: test code never counts towards the size of a file.

use crate::finding::Finding;
use crate::source::Source;

/// Lines of a file, tests not counted, beyond which it must be split.
const LINES_MAX: usize = 800;
/// Lines of a file, tests not counted, beyond which it is listed.
const LINES_AIM: usize = 400;
/// Lines of tests beyond which they have a file of their own.
const LINES_OF_INLINE_TESTS_MAX: usize = 150;

/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "misc", "shared", "manager"];

/// Everything wrong with the shape of the file.
pub(super) fn findings(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.has_head {
        findings.push(Finding::at(
            &source.path,
            1,
            "the first line is not `//!`",
            "say what lives here, what does not, and the one invariant a reader must know",
        ));
    }
    findings.extend(name(source));
    let lines = source.lines_of_code();
    if lines > LINES_MAX {
        findings.push(Finding::at(
            &source.path,
            0,
            format!("{lines} lines without tests, more than {LINES_MAX}"),
            "split it by topic into `foo.rs` and `foo/`",
        ));
    }
    let tests = source.lines_of_tests();
    if !source.is_test_file && tests > LINES_OF_INLINE_TESTS_MAX {
        let line = source.test_spans.last().map_or(0, |span| span.0);
        findings.push(Finding::at(
            &source.path,
            line,
            format!("{tests} lines of tests inside the file, more than {LINES_OF_INLINE_TESTS_MAX}"),
            "move them to `foo/tests.rs`",
        ));
    }
    findings
}

/// Files that are longer than they should be, but not too long.
pub(super) fn notes(source: &Source) -> Option<Finding> {
    let lines = source.lines_of_code();
    (lines > LINES_AIM && lines <= LINES_MAX).then(|| {
        Finding::at(
            &source.path,
            0,
            format!("{lines} lines without tests, more than {LINES_AIM}"),
            "look for a second topic in it",
        )
    })
}

fn name(source: &Source) -> Option<Finding> {
    if source.path.ends_with("mod.rs") {
        return Some(Finding::at(&source.path, 0, "`mod.rs` is not used here", "use `foo.rs` and `foo/`"));
    }
    let stems = source.path.iter().filter_map(|part| part.to_str()).map(|part| part.trim_end_matches(".rs"));
    let banned = stems.into_iter().find(|stem| BANNED_NAMES.contains(stem))?;
    Some(Finding::at(
        &source.path,
        0,
        format!("the name `{banned}` says nothing about what is inside"),
        "name it after its topic",
    ))
}
