//! JSON values as YAML, in one canonical form. Pure. Invariant: what is written reads back as the same value: text that
//! could be anything else is quoted.

use serde_json::Value;

/// The value as a YAML document.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Array(items) if !items.is_empty() => write_items(items, 0, &mut text),
        Value::Object(members) if !members.is_empty() => write_members(members, 0, &mut text),
        scalar => {
            text.push_str(&inline(scalar));
            text.push('\n');
        }
    }
    text
}

fn write_members(members: &serde_json::Map<String, Value>, indent: usize, text: &mut String) {
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&scalar(key));
        text.push(':');
        match value {
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                write_items(items, indent, text);
            }
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                write_members(inner, indent + 2, text);
            }
            Value::String(lines) if is_block(lines) => write_block(lines, indent + 2, text),
            simple => {
                text.push(' ');
                text.push_str(&inline(simple));
                text.push('\n');
            }
        }
    }
}

fn write_items(items: &[Value], indent: usize, text: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str("- ");
        match item {
            Value::Array(inner) if !inner.is_empty() => write_items(inner, indent + 2, text),
            Value::Object(inner) if !inner.is_empty() => write_members(inner, indent + 2, text),
            simple => {
                text.push_str(&inline(simple));
                text.push('\n');
            }
        }
    }
}

/// Whether a text is better written line by line, and can be: it has lines, they are printable, and the first one shows
/// how far the others are indented.
fn is_block(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let is_line = |any: char| {
        any == '\n' || any == '\t' || !(any.is_control() || "\u{2028}\u{2029}\u{feff}".contains(any))
    };
    text.contains('\n') && !first.is_empty() && !first.starts_with([' ', '\t']) && text.chars().all(is_line)
}

/// The text as a block after `key:`; how many line ends it has at its end is said by the sign after the bar.
fn write_block(lines: &str, indent: usize, text: &mut String) {
    let ends = lines.len() - lines.trim_end_matches('\n').len();
    text.push_str(match ends {
        0 => " |-\n",
        1 => " |\n",
        _ => " |+\n",
    });
    for line in lines.strip_suffix('\n').unwrap_or(lines).split('\n') {
        if !line.is_empty() {
            text.push_str(&" ".repeat(indent));
            text.push_str(line);
        }
        text.push('\n');
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        // JSON is YAML for everything else: null, true, numbers, [] and {}.
        other => other.to_string(),
    }
}

/// Text without quotes where nobody can take it for anything else.
fn scalar(text: &str) -> String {
    let is_first = |first: char| first.is_ascii_alphabetic() || "/_".contains(first);
    let is_plain = |any: char| any.is_ascii_alphanumeric() || "/_-.+@".contains(any);
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    let is_safe = text.chars().next().is_some_and(is_first) && text.chars().all(is_plain) && !is_word;
    if is_safe { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::to_yaml;

    #[test]
    fn every_value_reads_back_as_itself() {
        let value = json!({
            "a": {"b": [1, "two", {"c": null, "d": []}, [[3], {}]], "yes": "no", "1": "1", "": " "},
            "image": "quay.io/x/y:1", "lines": "a\nb\u{e9}\u{0}",
            "block": "a\n\n  b: #c\n", "cut": "a\nb", "kept": "a\nb\n\n", "tab": "a\n\tb \n", "odd": " a\nb", "bare": "\na",
            "nested": {"deep": [{"text": "x\ny\n"}, {"text": "x: y\n"}]}, "end": "a\n", "n": -1.5, "t": true, "~": "~", "k: v": "# x",
        });
        let text = to_yaml(&value);
        let read = crate::read::to_values(text.as_bytes(), "x.yaml");
        assert_eq!(read.unwrap(), [value], "{text}");
    }

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({"kind": "Pipeline", "spec": {"vertices": [{"name": "in", "scale": {"min": 1}}]}});
        let expected = "kind: Pipeline\nspec:\n  vertices:\n  - name: in\n    scale:\n      min: 1\n";
        assert_eq!(to_yaml(&value), expected);
        let value = json!({"data": {"settings": "a: 1\nb:\n  c: 2\n"}});
        assert_eq!(to_yaml(&value), "data:\n  settings: |\n    a: 1\n    b:\n      c: 2\n");
    }
}
