//! What the rules rely on: text is not code, and test code is known as such.

use std::path::Path;

use super::Source;

fn source(text: &str) -> Source {
    Source::parse(Path::new("crates/model/src/frame.rs"), text)
}

fn words(source: &Source) -> Vec<&str> {
    source.tokens.iter().map(|token| token.text.as_str()).collect()
}

#[test]
fn strings_characters_and_comments_are_not_code() {
    let found = source(
        "let a = \"todo!() \\\" x\"; // todo!()\nlet b = r#\"a \" todo!()\"#; /* x /* y */\ntodo!() */ 'a' '\\'' b'x' &'static c",
    );
    assert_eq!(words(&found), ["let", "a", "=", ";", "let", "b", "=", ";", "&", "c"]);
    assert_eq!(found.tokens.last().map(|token| token.line), Some(3));
}

#[test]
fn comments_keep_their_lines() {
    let found = source("//! head\nfn f() {} // one\n/* two\nthree */\n");
    let comments: Vec<(usize, &str)> =
        found.comments.iter().map(|comment| (comment.line, comment.text.trim())).collect();
    assert_eq!(comments, [(1, "//! head"), (2, "// one"), (3, "two"), (4, "three")]);
}

#[test]
fn paths_are_three_tokens_and_raw_words_lose_their_mark() {
    assert_eq!(words(&source("tokio::spawn(r#gen)")), ["tokio", "::", "spawn", "(", "gen", ")"]);
}

#[test]
fn an_item_for_tests_ends_with_its_braces() {
    let found =
        source("fn a() {}\n#[cfg(test)]\n#[derive(Debug)]\nmod tests {\n    fn b() { c() }\n}\nfn d() {}\n");
    assert_eq!(found.test_spans, [(2, 6)]);
    assert_eq!((found.lines_of_code(), found.lines_of_tests()), (2, 5));
    let outside: Vec<&str> =
        found.tokens.iter().filter(|token| !found.is_test(token)).map(|token| token.text.as_str()).collect();
    assert_eq!(outside, ["fn", "a", "(", ")", "{", "}", "fn", "d", "(", ")", "{", "}"]);
}

#[test]
fn an_import_for_tests_ends_with_its_semicolon() {
    let found = source("#[cfg(all(test, unix))]\nuse a::b;\nfn c() {}\n");
    assert_eq!(found.test_spans, [(1, 2)]);
}

#[test]
fn a_condition_against_tests_is_not_test_code() {
    assert!(source("#[cfg(not(test))]\nfn a() {}\n").test_spans.is_empty());
}

#[test]
fn a_file_below_tests_is_all_test_code() {
    let found = Source::parse(Path::new("crates/model/tests/it/main.rs"), "fn a() {}\n");
    assert!(found.is_test(&found.tokens[0]));
    assert_eq!(found.lines_of_code(), 0);
    assert_eq!(found.package, "model");
}

#[test]
fn text_that_does_not_compile_is_still_read() {
    assert_eq!(words(&source("fn a( { \"open")), ["fn", "a", "(", "{"]);
    assert!(source("#[cfg(test)]").test_spans.len() <= 1);
}
