//! `tidegate lint`: formats and exit codes.

use std::fs;

use super::{DIRECT, call, call_with, pipeline};

const TYPO: &str = "    - {from: in, to: owt}\n";

#[test]
fn a_good_manifest_ends_with_0() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.yaml"), pipeline("", DIRECT)).unwrap();
    let called = call(dir.path(), &["lint", "good.yaml"]);
    assert_eq!((called.code, called.out.as_str()), (0, "nothing to complain about in 1 file\n"));
}

#[test]
fn complaints_end_with_1_and_say_file_line_and_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.yaml"), pipeline("", TYPO)).unwrap();
    let called = call(dir.path(), &["lint", "bad.yaml"]);
    assert_eq!(called.code, 1);
    let line = called.out.lines().find(|line| line.contains("owt")).unwrap();
    assert!(line.starts_with("bad.yaml:14:") && line.contains("spec.edges[0].to"), "{}", called.out);
    let last = called.out.lines().last().unwrap();
    assert!(last.ends_with("in 1 file") && last.contains("error"), "{last}");
}

#[test]
fn json_is_one_array_with_every_part() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.yaml"), pipeline("", TYPO)).unwrap();
    let called = call(dir.path(), &["lint", "--format", "json", "bad.yaml"]);
    assert_eq!(called.code, 1);
    let complaints: Vec<serde_json::Value> = serde_json::from_str(&called.out).unwrap();
    let found = complaints.iter().find(|complaint| complaint["path"] == "spec.edges[0].to").unwrap();
    assert_eq!(found["severity"], "error");
    assert_eq!(found["line"], 14);
}

#[test]
fn github_gets_workflow_commands_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.yaml"), pipeline("", TYPO)).unwrap();
    let called = call(dir.path(), &["lint", "--format", "github", "bad.yaml"]);
    assert_eq!(called.code, 1);
    assert!(called.out.lines().all(|line| line.starts_with("::")), "{}", called.out);
    assert!(called.out.contains("file=bad.yaml,line=14,"), "{}", called.out);
}

#[test]
fn a_directory_is_read_whole_and_standard_input_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("all/deep")).unwrap();
    fs::write(dir.path().join("all/a.yaml"), pipeline("", DIRECT)).unwrap();
    fs::write(dir.path().join("all/deep/b.yml"), pipeline("", TYPO).replace("name: p", "name: q")).unwrap();
    fs::write(dir.path().join("all/notes.txt"), "not a manifest").unwrap();
    fs::write(dir.path().join("all/tidegate.yaml"), "images: {}").unwrap();
    let called = call(dir.path(), &["lint", "all"]);
    assert_eq!(called.code, 1);
    assert!(
        called.out.contains("all/deep/b.yml:14:") && called.out.ends_with("in 2 files\n"),
        "{}",
        called.out
    );
    let called = call_with(dir.path(), &["lint", "-"], &pipeline("", TYPO));
    assert_eq!(called.code, 1);
    assert!(called.out.starts_with("stdin:14:"), "{}", called.out);
}

#[test]
fn what_cannot_be_read_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let called = call(dir.path(), &["lint", "none.yaml"]);
    assert_eq!(called.code, 2);
    assert_eq!(called.err, "tidegate: failed to read none.yaml: No such file or directory (os error 2)\n");
    fs::create_dir(dir.path().join("empty")).unwrap();
    let called = call(dir.path(), &["lint", "empty"]);
    assert_eq!(called.code, 2);
    assert!(called.err.contains("it has no .yaml, .yml or .json file"), "{}", called.err);
}

#[test]
fn broken_files_are_complaints() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("latin.yaml"), b"kind: Pipeline # caf\xe9\n").unwrap();
    fs::write(dir.path().join("large.yaml"), vec![b'#'; 10 << 20]).unwrap();
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    fs::write(dir.path().join("bomb.yaml"), bomb).unwrap();
    for (file, said) in
        [("latin.yaml", "not UTF-8"), ("large.yaml", "10485760 bytes"), ("bomb.yaml", "error")]
    {
        let called = call(dir.path(), &["lint", file]);
        assert_eq!(called.code, 1, "{file}");
        assert!(called.out.contains(said), "{}", called.out);
    }
}

#[test]
fn with_strict_warnings_count() {
    let dir = tempfile::tempdir().unwrap();
    let text = pipeline("", DIRECT).replace("log: {}", "log: {}\n        blackhole: {}");
    fs::write(dir.path().join("warned.yaml"), text).unwrap();
    let called = call(dir.path(), &["lint", "warned.yaml"]);
    assert!(called.out.contains(" warning["), "{}", called.out);
    assert_eq!(called.code, 0);
    assert_eq!(call(dir.path(), &["lint", "--strict", "warned.yaml"]).code, 1);
}
