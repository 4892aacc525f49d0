//! Compares complaints with the expectations that a fixture carries. The invariant: a complaint that the fixture
//! does not expect fails the test just as a missing one does.

use api::{Complaint, Severity};
use tidegate_api as api;

const MARK: &str = "# => ";

/// Loads the fixture and compares every error and warning with its marks.
pub(crate) fn assert_complaints(yaml: &str) -> Vec<Complaint> {
    let loaded = api::load([("fixture.yaml", yaml.as_bytes())]);
    let mut found: Vec<(u32, String)> = loaded
        .complaints
        .iter()
        .filter(|complaint| complaint.severity > Severity::Note)
        .map(|complaint| {
            (complaint.line, format!("{} {}", complaint.rule, complaint.path).trim_end().to_owned())
        })
        .collect();
    let mut expected: Vec<(u32, String)> = Vec::new();
    for (index, line) in yaml.lines().enumerate() {
        if let Some((_, marks)) = line.split_once(MARK) {
            expected.extend(marks.split(';').map(|mark| (index as u32 + 1, mark.trim().to_owned())));
        }
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "\n{yaml}\nsays\n{}", api::complaint::to_text(&loaded.complaints));
    for complaint in &loaded.complaints {
        assert_eq!(complaint.file, "fixture.yaml");
        assert!(complaint.column > 0, "{complaint}");
    }
    loaded.complaints
}

/// A pipeline around the lines of a spec, which are indented by two.
pub(crate) fn pipeline(spec: &str) -> String {
    format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata:\n  name: p\nspec:\n{spec}\n"
    )
}

/// A mono vertex around the lines of a spec, which are indented by two.
pub(crate) fn mono_vertex(spec: &str) -> String {
    format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: MonoVertex\nmetadata:\n  name: m\nspec:\n{spec}\n"
    )
}

/// A pipeline from a source through a vertex `v` with these lines, which are indented by six, to a sink.
pub(crate) fn middle(vertex: &str) -> String {
    pipeline(&format!(
        "  vertices:\n    - name: in\n      source: {{generator: {{}}}}\n    - name: v\n{vertex}\n    - name: out\n      \
         sink: {{log: {{}}}}\n  edges:\n    - {{from: in, to: v}}\n    - {{from: v, to: out}}"
    ))
}

/// A pipeline whose source vertex has these lines, which are indented by six.
pub(crate) fn first(vertex: &str) -> String {
    pipeline(&format!(
        "  vertices:\n    - name: in\n{vertex}\n    - name: out\n      sink: {{log: {{}}}}\n  edges:\n    \
         - {{from: in, to: out}}"
    ))
}

/// A pipeline whose sink vertex has these lines, which are indented by six.
pub(crate) fn last(vertex: &str) -> String {
    pipeline(&format!(
        "  vertices:\n    - name: in\n      source: {{generator: {{}}}}\n    - name: out\n{vertex}\n  edges:\n    \
         - {{from: in, to: out}}"
    ))
}
