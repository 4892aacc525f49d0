//! Canonical text of an object, for telling whether two manifests say the same. The invariant: order of keys,
//! layout, comments and aliases do not show in it; everything an object means does.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// The canonical text of anything that serialises: keys sorted, no spaces, absent and null the same.
pub fn canonical_text<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("what is hashed is plain data");
    let mut text = String::new();
    write_value(&value, &mut text);
    text
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().filter(|(_, member)| !member.is_null()).collect();
            sorted.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (position, (key, member)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_scalar(&Value::String(key.clone()), text);
                text.push(':');
                write_value(member, text);
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_value(element, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => write_scalar(value, text),
    }
}

fn write_scalar(value: &Value, text: &mut String) {
    write!(text, "{value}").expect("a string takes whatever is written to it");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonical_text;

    #[test]
    fn order_and_nulls_do_not_show() {
        let left = json!({"b": [1, {"y": null, "x": "a\"b"}], "a": {}});
        let right = json!({"a": {}, "b": [1, {"x": "a\"b"}], "c": null});
        assert_eq!(canonical_text(&left), r#"{"a":{},"b":[1,{"x":"a\"b"}]}"#);
        assert_eq!(canonical_text(&left), canonical_text(&right));
    }

    #[test]
    fn order_of_lists_shows() {
        assert_ne!(canonical_text(&json!([1, 2])), canonical_text(&json!([2, 1])));
    }
}
