//! Numbers, texts and the like along the schema. The invariant: a value that is kept reads as the schema's type.

use serde_json::Value;

use super::{Fate, Spot, Walk, hints};
use crate::duration::{self, Duration};

impl<'a> Walk<'a> {
    pub(super) fn scalar(&mut self, value: &mut Value, spot: &Spot<'a, '_>) -> Fate {
        let schema = spot.schema;
        if schema.has_type("integer") {
            return self.integer(value, spot);
        }
        if schema.has_type("number") {
            return if value.is_number() {
                self.range(value, spot)
            } else {
                self.wrong_type(value, "a number", spot)
            };
        }
        if schema.has_type("boolean") {
            return if value.is_boolean() {
                Fate::Keep
            } else {
                self.wrong_type(value, "true or false", spot)
            };
        }
        if !schema.has_type("string") {
            return Fate::Keep;
        }
        let is_duration = schema.schema.get("format").is_some_and(|format| format == duration::SCHEMA_FORMAT);
        let wanted = if is_duration { "a duration such as \"30s\"" } else { "text" };
        let Value::String(text) = &*value else {
            let fate = self.wrong_type(value, wanted, spot);
            // A name that was written without quotes is still the name that others refer to.
            if !is_duration && (value.is_number() || value.is_boolean()) {
                *value = Value::String(value.to_string());
                return Fate::Keep;
            }
            return fate;
        };
        if is_duration {
            return self.duration(text, spot);
        }
        if let Some(least) = schema.schema.get("minLength").and_then(Value::as_u64)
            && (text.chars().count() as u64) < least
        {
            self.outcome.findings.error("empty", &spot.path, "it must not be empty");
            self.outcome.changed.push(spot.path.clone());
        }
        Fate::Keep
    }

    fn integer(&mut self, value: &mut Value, spot: &Spot<'a, '_>) -> Fate {
        if !value.is_i64() && !value.is_u64() {
            return self.wrong_type(value, "a whole number", spot);
        }
        let (least, most) = match spot.schema.schema.get("format").and_then(Value::as_str) {
            Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
            Some("uint32") => (0, i128::from(u32::MAX)),
            Some("uint64") => (0, i128::from(u64::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).unwrap_or_default();
        if number < least || number > most {
            let message = format!("{number} is out of range, {least} to {most} are possible");
            self.outcome.findings.error("range", &spot.path, message);
            self.outcome.changed.push(spot.path.clone());
            return Fate::Drop;
        }
        self.range(value, spot)
    }

    fn range(&mut self, value: &Value, spot: &Spot<'a, '_>) -> Fate {
        let Some(number) = value.as_f64() else { return Fate::Keep };
        let bound = |keyword: &str| spot.schema.schema.get(keyword).and_then(Value::as_f64);
        let message = match (bound("minimum"), bound("maximum")) {
            (Some(least), _) if number < least => {
                format!("{value} is too small, it must be at least {least}")
            }
            (_, Some(most)) if number > most => format!("{value} is too large, it must be at most {most}"),
            _ => return Fate::Keep,
        };
        self.outcome.findings.error("range", &spot.path, message);
        self.outcome.changed.push(spot.path.clone());
        Fate::Drop
    }

    fn duration(&mut self, text: &str, spot: &Spot<'a, '_>) -> Fate {
        let (message, hint) = match text.parse::<Duration>() {
            Ok(duration) if !duration.is_negative() => return Fate::Keep,
            Ok(_) => (format!("the duration `{text}` is negative"), "leave out the minus sign"),
            Err(error) => (
                format!("`{text}` is no duration: {error}"),
                "write for example 500ms, 1m30s or 2h; a day is 24h",
            ),
        };
        self.outcome.findings.error("duration", &spot.path, message).hint(hint);
        self.outcome.changed.push(spot.path.clone());
        Fate::Drop
    }

    pub(super) fn int_or_string(&mut self, value: &mut Value, spot: &Spot<'a, '_>) -> Fate {
        let is_quantity = spot.schema.name.ends_with("Quantity");
        let wanted = if is_quantity { "a quantity such as 500m or 1Gi" } else { "a whole number or text" };
        match value {
            Value::String(text) if is_quantity && !is_quantity_text(text) => {
                let message = format!("`{text}` is no quantity");
                let hint = "write a number with a suffix such as m, k, M, G, Ki, Mi or Gi";
                self.outcome.findings.error("quantity", &spot.path, message).hint(hint);
                self.outcome.changed.push(spot.path.clone());
                Fate::Drop
            }
            Value::String(_) => Fate::Keep,
            // Quantities are texts that may be written as numbers.
            Value::Number(number) if is_quantity => {
                *value = Value::String(number.to_string());
                Fate::Keep
            }
            Value::Number(number) if number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {
                Fate::Keep
            }
            _ => self.wrong_type(value, wanted, spot),
        }
    }

    pub(super) fn variant(&mut self, value: &mut Value, variants: &[&str], spot: &Spot<'a, '_>) -> Fate {
        let Value::String(text) = &*value else {
            return self.wrong_type(value, "text", spot);
        };
        if variants.contains(&text.as_str()) {
            return Fate::Keep;
        }
        let message = format!("`{text}` is not one of {}", hints::list(variants));
        let hint = hints::did_you_mean(text, variants.iter().copied());
        self.outcome.findings.error("unknown-value", &spot.path, message).hint(hint.unwrap_or_default());
        self.outcome.changed.push(spot.path.clone());
        Fate::Drop
    }
}

/// What a value is, in words.
pub(super) fn describe(value: &Value) -> String {
    const SHOWN_CHARS: usize = 40;
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() > SHOWN_CHARS => {
            format!("the text \"{}…\"", text.chars().take(SHOWN_CHARS).collect::<String>())
        }
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// What to do about a value of the wrong type.
pub(super) fn type_hint(value: &Value, wanted: &str) -> String {
    match value {
        Value::Number(number) if wanted.contains("duration") => format!("write {number}s for seconds"),
        Value::Number(number) if wanted == "text" => format!("put it in quotes: \"{number}\""),
        Value::Bool(_) if wanted == "text" => {
            "put it in quotes; yes, no, on and off are booleans in YAML".to_owned()
        }
        Value::String(text) if text.parse::<f64>().is_ok() && wanted.ends_with("number") => {
            "leave out the quotes".to_owned()
        }
        Value::String(_) if wanted == "true or false" => "write true or false without quotes".to_owned(),
        Value::Object(_) if wanted == "a list" => "begin each element with a dash".to_owned(),
        Value::Null if wanted == "an object" => "write {} for an empty object".to_owned(),
        _ => String::new(),
    }
}

/// Kubernetes' quantities: a sign, digits with at most one point, and a suffix or an exponent.
fn is_quantity_text(text: &str) -> bool {
    const SUFFIXES: [&str; 16] =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
    let exponent = suffix.strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
    let is_exponent =
        exponent.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    has_digit && number.matches('.').count() <= 1 && (SUFFIXES.contains(&suffix) || is_exponent)
}
