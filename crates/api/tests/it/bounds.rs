//! Hostile and broken files end soon, with a clear error.

use std::fmt::Write as _;

use tidegate_api as api;

fn only_complaint(bytes: &[u8]) -> api::Complaint {
    let loaded = api::load([("hostile.yaml", bytes)]);
    assert_eq!(loaded.complaints.len(), 1, "{:?}", loaded.complaints.iter().take(5).collect::<Vec<_>>());
    let complaint = loaded.complaints.into_iter().next().expect("there is one");
    assert!(complaint.is_error());
    complaint
}

#[test]
fn a_file_of_ten_megabytes_is_refused_and_the_limit_named() {
    let complaint = only_complaint("a: b\n".repeat(2 * 1024 * 1024).as_bytes());
    assert_eq!(complaint.rule, "file-too-large");
    assert!(complaint.message.contains("10485760 bytes"), "{complaint}");
    assert!(complaint.message.contains("4194304 bytes (4 MiB)"), "{complaint}");
}

#[test]
fn a_file_of_the_limit_is_read() {
    let head = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: MonoVertex\nmetadata: {name: m}\nspec: {source: {generator: {}}, sink: {log: {}}}\n#";
    let mut text = head.to_owned();
    text.push_str(&"x".repeat(api::read::FILE_BYTES_MAX - head.len()));
    assert_eq!(api::load([("f", text.as_bytes())]).complaints, []);
    text.push('x');
    assert_eq!(only_complaint(text.as_bytes()).rule, "file-too-large");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{inner}]").unwrap();
    }
    let complaint = only_complaint(text.as_bytes());
    assert_eq!(complaint.rule, "too-many-values");
    assert!(complaint.message.contains("200000"), "{complaint}");
    assert!(complaint.line > 1 && complaint.line < 10, "{complaint}");
}

#[test]
fn a_bomb_of_merge_keys_is_refused() {
    let mut text = "a0: &a0 {k0: 1, k1: 1, k2: 1}\n".to_owned();
    for level in 1..64 {
        writeln!(text, "a{level}: &a{level} {{<<: [*a{0}, *a{0}, *a{0}], n{level}: *a{0}}}", level - 1)
            .unwrap();
    }
    assert_eq!(only_complaint(text.as_bytes()).rule, "too-many-values");
}

#[test]
fn a_tower_of_anchors_is_refused() {
    // Each anchor contains the one before, so depth would grow without bound though each line is short.
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(only_complaint(text.as_bytes()).rule, "too-deep");
}

#[test]
fn deep_nesting_is_refused_in_every_spelling() {
    let brackets = "[".repeat(1_000_000);
    let braces = "{\"a\":".repeat(500_000);
    let flow = format!("a: {}", "[".repeat(100_000));
    let mut block = String::new();
    for depth in 0..500 {
        writeln!(block, "{}a:", " ".repeat(depth)).unwrap();
    }
    let dashes = format!("{}x", "- ".repeat(100_000));
    for text in [brackets, braces, flow, block, dashes] {
        let complaint = only_complaint(text.as_bytes());
        assert_eq!(complaint.rule, "too-deep", "{complaint}");
        assert!(complaint.message.contains("64"), "{complaint}");
    }
}

#[test]
fn many_values_are_refused() {
    for text in
        ["- a\n".repeat(300_000), format!("[{}1]", "1,".repeat(300_000)), "a: {b: c}\n---\n".repeat(100_000)]
    {
        let loaded = api::load([("f", text.as_bytes())]);
        assert!(loaded.complaints.iter().any(|complaint| complaint.rule == "too-many-values"));
    }
}

#[test]
fn an_alias_to_itself_is_refused() {
    assert_eq!(only_complaint(b"a: &a [*a]\n").rule, "yaml-alias");
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let complaint = only_complaint(b"kind: Pipeline\nname: caf\xe9\n");
    assert_eq!((complaint.rule, complaint.line, complaint.column), ("not-utf8", 2, 10));
    assert!(complaint.message.contains("byte 24 is 0xe9"), "{complaint}");
    assert_eq!(only_complaint(&[0xff, 0xfe, b'a', 0]).rule, "not-utf8");
}

#[test]
fn a_byte_order_mark_is_no_trouble() {
    let text = "\u{feff}apiVersion: numaflow.numaproj.io/v1alpha1\nkind: MonoVertex\nmetadata: {name: m}\nspec: {source: {generator: {}}, sink: {log: {}}}\n";
    assert_eq!(api::load([("f", text.as_bytes())]).complaints, []);
}

#[test]
fn numbers_that_json_cannot_hold_are_refused() {
    for text in [".inf", "-.inf", ".nan", "!!int abc", "!!binary aGk=", "!local x"] {
        assert_eq!(only_complaint(format!("a: {text}\n").as_bytes()).rule, "yaml-value", "{text}");
    }
}

#[test]
fn cut_off_files_never_pass_for_good() {
    let text = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: MonoVertex\nmetadata: {name: m}\nspec:\n  source:\n    generator: {rpu: 5}\n  sink: {log: {}}\n";
    let good = api::load([("f", text.as_bytes())]).accept().unwrap().0;
    for end in 0..text.len() - 1 {
        let loaded = api::load([("f", &text.as_bytes()[..end])]);
        match loaded.accept() {
            Err(complaints) => assert!(complaints.iter().any(api::Complaint::is_error)),
            Ok((objects, notes)) => {
                // A kind that is cut off is somebody else's kind; the last closing brace is the whole object.
                let is_foreign = objects.is_empty() && notes.iter().any(|note| note.rule == "kind-foreign");
                assert!(is_foreign || objects == good, "cut at {end}");
            }
        }
    }
}

#[test]
fn a_file_full_of_faults_is_done_with_soon_and_says_how_many() {
    let mut text = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  vertices:\n".to_owned();
    for index in 0..3_000 {
        writeln!(text, "    - {{name: v{index}, udf: {{container: {{image: x}}}}}}").unwrap();
    }
    text.push_str("  edges:\n");
    for index in 0..3_000 {
        writeln!(text, "    - {{from: v{index}, to: w{index}}}").unwrap();
    }
    let complaints = api::load([("f", text.as_bytes())]).complaints;
    let unknown = complaints.iter().filter(|complaint| complaint.rule == "edge-unknown-vertex").count();
    assert!(
        unknown > 900 && complaints.len() <= 2 * api::complaint::COMPLAINTS_MAX + 2,
        "{}",
        complaints.len()
    );
    let rest = complaints.iter().find(|complaint| complaint.rule == "too-many-complaints").unwrap();
    assert!(rest.is_error());
    assert_eq!(rest.message, "2002 more errors and 0 more warnings and notes are not shown");
}

#[test]
fn a_large_pipeline_is_checked_soon() {
    let mut text = "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  vertices:\n    - {name: in, source: {generator: {}}}\n    - {name: out, sink: {log: {}}}\n".to_owned();
    for index in 0..8_000 {
        writeln!(text, "    - {{name: v{index}, udf: {{container: {{image: x}}}}}}").unwrap();
    }
    text.push_str(
        "  edges:\n    - {from: in, to: v0}\n    - {from: v7999, to: out}\n    - {from: v7999, to: v0}\n",
    );
    for index in 1..8_000 {
        writeln!(text, "    - {{from: v{}, to: v{index}}}", index - 1).unwrap();
    }
    assert_eq!(api::load([("f", text.as_bytes())]).complaints, []);
}
