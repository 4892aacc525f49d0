//! A Rust source file as the rules see it: code tokens and comments with their lines, and which of them are test code.
//!
//! The rules themselves live in `rules`. Invariant: text inside strings, characters and comments never becomes a
//! token, so a rule cannot mistake a message or an example for code.

use std::path::{Path, PathBuf};

mod lexer;

#[cfg(test)]
mod tests;

/// Where the generated code lives; no rule about style applies to it.
const GENERATED_DIR: &str = "crates/proto/src/gen";

/// A word, number or punctuation mark of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// True inside an item that is compiled for tests only.
    pub(crate) in_test: bool,
}

/// One line of a comment, without its markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// One source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the workspace root.
    pub(crate) path: PathBuf,
    /// The package directory: the name below `crates/`, or `xtask`, or `e2e`.
    pub(crate) package: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) lines: usize,
    /// First and last line of each item that is compiled for tests only.
    pub(crate) test_spans: Vec<(usize, usize)>,
    /// Whether the whole file is test code, told by its name or place.
    pub(crate) is_test_file: bool,
    pub(crate) is_generated: bool,
    /// Whether the first line is an inner doc comment.
    pub(crate) has_head: bool,
}

impl Source {
    /// Reads the text of the file at `path`, which is relative to the workspace root.
    pub(crate) fn parse(path: &Path, text: &str) -> Self {
        let (mut tokens, comments) = lexer::split(text);
        let spans = test_spans(&tokens);
        let test_spans = spans.iter().map(|&(first, last)| (tokens[first].line, tokens[last].line)).collect();
        for &(first, last) in &spans {
            for token in &mut tokens[first..=last] {
                token.in_test = true;
            }
        }
        Self {
            path: path.to_owned(),
            package: package(path),
            tokens,
            comments,
            lines: text.lines().count(),
            test_spans,
            is_test_file: is_test_path(path),
            is_generated: path.starts_with(GENERATED_DIR),
            has_head: text.starts_with("//!"),
        }
    }

    /// Whether the token belongs to code that is compiled for tests only.
    pub(crate) fn is_test(&self, token: &Token) -> bool {
        self.is_test_file || token.in_test
    }

    /// Whether the file is an example: a program of its own, run by hand, that puts its parts together itself.
    pub(crate) fn is_example(&self) -> bool {
        self.path.iter().any(|part| part == "examples")
    }

    /// Lines that are not test code.
    pub(crate) fn lines_of_code(&self) -> usize {
        if self.is_test_file {
            return 0;
        }
        self.lines - self.lines_of_tests()
    }

    /// Lines of test code inside a file that is not all test code.
    pub(crate) fn lines_of_tests(&self) -> usize {
        self.test_spans.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Tokens at which `pattern` begins.
    pub(crate) fn find<'a>(&'a self, pattern: &'a [&'a str]) -> impl Iterator<Item = &'a Token> {
        self.tokens
            .windows(pattern.len())
            .filter(move |window| window.iter().zip(pattern).all(|(token, text)| token.text == *text))
            .map(|window| &window[0])
    }

    /// The text of the token before the one at `index`, empty at the start.
    pub(crate) fn text_before(&self, index: usize) -> &str {
        index.checked_sub(1).map_or("", |before| self.tokens[before].text.as_str())
    }

    /// The text of the token after the one at `index`, empty at the end.
    pub(crate) fn text_after(&self, index: usize) -> &str {
        self.tokens.get(index + 1).map_or("", |token| token.text.as_str())
    }
}

fn package(path: &Path) -> String {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    match parts.next() {
        Some("crates") => parts.next().unwrap_or_default().to_owned(),
        Some(first) => first.to_owned(),
        None => String::new(),
    }
}

/// Test code by place: below `tests/` or `benches/`, or in a file named `tests.rs`.
fn is_test_path(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "benches" || part == "tests.rs")
}

/// First and last token of each item under `#[cfg(test)]` or a like condition.
fn test_spans(tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        match attribute(tokens, index) {
            Some(Attribute { is_test: true, is_inner: true, .. }) => {
                spans.push((0, tokens.len() - 1));
                return spans;
            }
            Some(Attribute { end, is_test: true, is_inner: false }) => {
                let last = item_end(tokens, end + 1);
                spans.push((index, last));
                index = last + 1;
            }
            Some(Attribute { end, is_test: false, .. }) => index = end + 1,
            None => index += 1,
        }
    }
    spans
}

/// An attribute that starts at some token.
struct Attribute {
    /// Index of its closing bracket.
    end: usize,
    /// Whether it is a `cfg` that demands `test`.
    is_test: bool,
    is_inner: bool,
}

fn attribute(tokens: &[Token], start: usize) -> Option<Attribute> {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    if text(start) != "#" {
        return None;
    }
    let is_inner = text(start + 1) == "!";
    let open = start + 1 + usize::from(is_inner);
    if text(open) != "[" {
        return None;
    }
    let end = matching(tokens, open)?;
    let inside = &tokens[open + 1..end];
    let has = |word: &str| inside.iter().any(|token| token.text == word);
    let is_cfg = inside.first().is_some_and(|token| token.text == "cfg");
    Some(Attribute { end, is_test: is_cfg && has("test") && !has("not"), is_inner })
}

/// Index of the bracket that closes the one at `open`.
fn matching(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// Index of the last token of the item at `start`: its closing brace, or the semicolon or bracket that ends it.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut index = start;
    while index < tokens.len() {
        match tokens[index].text.as_str() {
            ";" => return index,
            "{" => return matching(tokens, index).unwrap_or(tokens.len() - 1),
            "(" | "[" => index = matching(tokens, index).unwrap_or(tokens.len() - 1) + 1,
            ")" | "]" | "}" => return index.saturating_sub(1).max(start),
            _ => index += 1,
        }
    }
    tokens.len() - 1
}
