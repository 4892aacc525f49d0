//! `tidegate examples`: every one can be printed, has no complaints, and the simplest ones run.

use std::fs;
use std::path::Path;

use super::{call, call_with};

fn names() -> Vec<String> {
    let called = call(Path::new("/"), &["examples", "list"]);
    assert_eq!(called.code, 0);
    let lines = called.out.lines().take_while(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn the_list_says_what_each_example_shows() {
    let called = call(Path::new("/"), &["examples"]);
    assert!(called.out.starts_with("simple  "), "{}", called.out);
    assert!(called.out.contains("\nuser-code  "), "{}", called.out);
    assert_eq!(names().len(), 15);
}

#[test]
fn no_example_has_a_complaint() {
    for name in names() {
        let printed = call(Path::new("/"), &["examples", "print", &name]);
        assert_eq!(printed.code, 0);
        let linted = call_with(Path::new("/"), &["lint", "--strict", "-"], &printed.out);
        assert_eq!(
            (linted.code, linted.out.as_str()),
            (0, "nothing to complain about in 1 file\n"),
            "{name}"
        );
    }
}

#[test]
fn an_unknown_example_ends_with_2_and_the_names() {
    let called = call(Path::new("/"), &["examples", "print", "nope"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("there are simple, mono-vertex, "), "{}", called.err);
}

#[test]
fn a_file_is_copied_and_the_run_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let numbers: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let text = numbers.join("\n");
    fs::write(dir.path().join("numbers.txt"), &text).unwrap();
    let called = call(dir.path(), &["examples", "run", "file-to-file"]);
    assert_eq!(called.code, 0, "{}", called.err);
    assert!(called.err.ends_with("drained and stopped; nothing is left\n"), "{}", called.err);
    let copied = fs::read_to_string(dir.path().join("copied.txt")).unwrap();
    let mut lines: Vec<&str> = copied.lines().collect();
    lines.sort_by_key(|line| line.parse::<u32>().unwrap());
    assert_eq!(lines, numbers);
}
