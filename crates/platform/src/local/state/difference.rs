//! What differs between two manifests, as paths with the values before and after. Pure.
//!
//! Elements of lists that have a `name` are matched by it, so a vertex that moved is not a difference of every vertex
//! behind it. Invariant: the result is empty exactly when the two run the same; comments, order of fields, status and
//! what a cluster adds to `metadata` do not count.

use serde_json::{Map, Value};

/// How much of a value is shown.
const SHOWN_MAX: usize = 60;
/// Top-level fields that decide what runs; of `metadata` only the name does.
const COUNTED: [&str; 3] = ["apiVersion", "kind", "spec"];

/// Lines such as `spec.vertices[cat].scale.min: 1 → 2`.
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for field in COUNTED {
        compare(field, &before[field], &after[field], &mut lines);
    }
    compare("metadata.name", &before["metadata"]["name"], &after["metadata"]["name"], &mut lines);
    lines
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => compare_objects(path, before, after, lines),
        (Value::Array(before), Value::Array(after)) => compare_lists(path, before, after, lines),
        _ if before == after => {}
        (Value::Null, _) => lines.push(format!("{path}: added {}", show(after))),
        (_, Value::Null) => lines.push(format!("{path}: removed {}", show(before))),
        _ => lines.push(format!("{path}: {} → {}", show(before), show(after))),
    }
}

fn compare_objects(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    lines: &mut Vec<String>,
) {
    let added = after.keys().filter(|field| !before.contains_key(*field));
    for field in before.keys().chain(added) {
        let of = |fields: &Map<String, Value>| fields.get(field).cloned().unwrap_or_default();
        compare(&format!("{path}.{field}"), &of(before), &of(after), lines);
    }
}

fn compare_lists(path: &str, before: &[Value], after: &[Value], lines: &mut Vec<String>) {
    let (Some(before_names), Some(after_names)) = (names(before), names(after)) else {
        for index in 0..before.len().max(after.len()) {
            let of = |list: &[Value]| list.get(index).cloned().unwrap_or_default();
            compare(&format!("{path}[{index}]"), &of(before), &of(after), lines);
        }
        return;
    };
    let added = after_names.iter().filter(|name| !before_names.contains(name));
    for name in before_names.iter().chain(added) {
        let of =
            |list: &[Value]| list.iter().find(|item| item["name"] == **name).cloned().unwrap_or_default();
        compare(&format!("{path}[{name}]"), &of(before), &of(after), lines);
    }
}

/// The names of all elements, if each has one of its own.
fn names(list: &[Value]) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for item in list {
        let name = item["name"].as_str()?;
        if names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX {
        return text;
    }
    let short: String = text.chars().take(SHOWN_MAX).collect();
    format!("{short}…")
}
