//! Words and calls that may not stand anywhere, and those that may not stand in tests.
//!
//! Some of them are clippy's as well; they are here too because a lint can be expected away and these cannot.
//! Invariant: only code and comments are searched, never strings.

use std::path::Path;

use crate::finding::Finding;
use crate::source::{Source, Token};

/// Token sequences that are wrong everywhere, and what to do instead.
const BANNED: [(&[&str], &str); 12] = [
    (&["todo", "!"], "write it, or leave it out and say so in an issue"),
    (&["unimplemented", "!"], "write it, or return an error that names what is missing"),
    (&["#", "[", "ignore"], "make it fast enough, or give it to `e2e` and have it list itself as skipped"),
    (&["#", "[", "should_panic"], "return an error and assert its value"),
    (&["#", "[", "allow", "("], "use `#[expect(lint, reason = \"...\")]`"),
    (&["#", "!", "[", "allow", "("], "use `#![expect(lint, reason = \"...\")]`"),
    (&["tokio", "::", "spawn"], "use a `JoinSet` or a task handle that is joined"),
    (&["unbounded_channel"], "give the queue a limit with a name"),
    (&["UnboundedSender"], "give the queue a limit with a name"),
    (&["UnboundedReceiver"], "give the queue a limit with a name"),
    (&["mpsc", "::", "unbounded"], "give the queue a limit with a name"),
    (&["mem", "::", "forget"], "let it be dropped, or own it for as long as it lives"),
];

/// Marks of unfinished work; they need the number of an issue.
const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// Everything in the file that may not be written.
pub(super) fn findings(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (pattern, remedy) in BANNED {
        findings.extend(source.find(pattern).map(|token| {
            Finding::at(&source.path, token.line, format!("`{}` is not used here", pattern.concat()), remedy)
        }));
    }
    findings.extend(source.comments.iter().filter_map(|comment| {
        let mark = MARKS.iter().find(|mark| is_unnumbered(&comment.text, mark))?;
        Some(Finding::at(
            &source.path,
            comment.line,
            format!("`{mark}` without the number of an issue"),
            format!("finish it, or write `{mark}(#123)`"),
        ))
    }));
    if !may_poll(&source.path) {
        findings.extend(source.find(&["sleep", "("]).filter(|token| is_sleeping_test(source, token)).map(
            |token| {
                Finding::at(
                    &source.path,
                    token.line,
                    "a test sleeps",
                    "wait for the condition itself, or pause time and advance it",
                )
            },
        ));
    }
    findings
}

fn is_sleeping_test(source: &Source, token: &Token) -> bool {
    source.is_test(token) || source.package == "e2e"
}

/// Programs that play user code may be slow on purpose, one file holds the bounded wait for a condition that only a
/// poll can see, the fake doors of a crate's test `kit` take their time on a paused clock, and the simulated world of `lane`
/// owns its time.
fn may_poll(path: &Path) -> bool {
    let has = |name: &str| path.iter().any(|part| part == name);
    let is_kit = has("tests") && (has("kit") || has("kit.rs"));
    let is_simulated = path.starts_with("crates/lane/tests");
    let is_wait = (has("tests") || path.starts_with("e2e")) && path.ends_with("wait.rs");
    is_kit || is_simulated || is_wait || path.starts_with("e2e") && has("bin")
}

/// Whether the mark stands in the text as a word that is not followed by `(#number)`.
fn is_unnumbered(text: &str, mark: &str) -> bool {
    text.match_indices(mark).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + mark.len()..];
        let is_word = !before.is_some_and(char::is_alphanumeric)
            && !after.chars().next().is_some_and(|next| next.is_alphanumeric() || next == '_');
        let number = after.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
        let is_numbered = number.is_some_and(|(digits, _)| {
            !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit())
        });
        is_word && !is_numbered
    })
}
