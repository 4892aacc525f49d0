//! YAML text to located trees. Plain scalars mean what Kubernetes tools take them for (`yes` is true, `0644` is
//! octal). The invariant: work and memory are bounded by [`Limits`], whatever the text says.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_json::Number;

use super::Limits;
use super::tree::{Content, Entry, Node, Place};

/// Why a text cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) rule: &'static str,
    pub(crate) at: Place,
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

/// The documents before the first error, and that error.
pub(crate) fn parse(text: &str, limits: &Limits) -> (Vec<Node>, Option<Error>) {
    let mut builder =
        Builder { parser: Parser::new_from_str(text), limits, nodes: 0, anchors: HashMap::new() };
    let mut documents = Vec::new();
    loop {
        match builder.document() {
            Ok(Some(node)) => documents.push(node),
            Ok(None) => return (documents, None),
            Err(error) => return (documents, Some(error)),
        }
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    limits: &'a Limits,
    /// How many nodes were made so far, copies for aliases included.
    nodes: usize,
    anchors: HashMap<usize, Anchored>,
}

/// A finished value that aliases may name.
struct Anchored {
    node: Node,
    /// How many nodes it has.
    size: usize,
    /// How deep its deepest node is inside it.
    height: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), Error> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, place(span.start))),
            // The scanner reads ahead, so it may meet its own bound before we meet ours.
            Some(Err(error)) if error.info().contains("recursion limit") => {
                Err(too_deep(place(*error.marker()), self.limits))
            }
            Some(Err(error)) => Err(Error {
                rule: "yaml-syntax",
                at: place(*error.marker()),
                message: format!("this is no YAML: {}", error.info()),
                hint: "look at the indentation and the quotes around this line",
            }),
            None => Ok((Event::StreamEnd, Place::default())),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Error> {
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(None),
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => {
                    // Anchors live as long as their document.
                    self.anchors.clear();
                    return self.node(event, at, 0).map(Some);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: Place, depth: usize) -> Result<Node, Error> {
        self.check_depth(depth, at)?;
        self.count(1, at)?;
        let nodes_before = self.nodes;
        let (anchor, content) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref()).map_err(|message| scalar_error(at, message))?)
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.object(depth)?),
            Event::Alias(anchor) => return self.alias(anchor, at, depth),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                return Err(Error {
                    rule: "yaml-syntax",
                    at,
                    message: "a value is missing here".to_owned(),
                    hint: "look at the brackets before this line",
                });
            }
        };
        let node = Node { at, content };
        if anchor != 0 {
            let size = self.nodes - nodes_before + 1;
            self.count(size, at)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size, height: height(&node) });
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Content, Error> {
        let mut nodes = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Content::List(nodes));
            }
            nodes.push(self.node(event, at, depth + 1)?);
        }
    }

    fn object(&mut self, depth: usize) -> Result<Content, Error> {
        let mut entries = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Content::Object(entries));
            }
            let plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, _, None));
            // The text as written is the key: `on` stays `on` and `1` stays `1`.
            let written = if let Event::Scalar(text, ..) = &event { Some(text.to_string()) } else { None };
            let key_node = self.node(event, at, depth + 1)?;
            let Some(key) = written.or_else(|| key_text(key_node)) else {
                return Err(Error {
                    rule: "yaml-key",
                    at,
                    message: "a key is a list or an object".to_owned(),
                    hint: "put text before the colon; text with braces or brackets needs quotes",
                });
            };
            let (event, value_at) = self.next()?;
            let node = self.node(event, value_at, depth + 1)?;
            entries.push(Entry { is_merge: plain && key == "<<", key, at, node });
        }
    }

    fn alias(&mut self, anchor: usize, at: Place, depth: usize) -> Result<Node, Error> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(Error {
                rule: "yaml-alias",
                at,
                message: "an alias names a value of another document, or one that it is itself part of"
                    .to_owned(),
                hint: "write the value out",
            });
        };
        let (size, height) = (anchored.size, anchored.height);
        self.check_depth(depth + height, at)?;
        self.count(size, at)?;
        Ok(self.anchors[&anchor].node.clone())
    }

    fn check_depth(&self, depth: usize, at: Place) -> Result<(), Error> {
        if depth <= self.limits.depth {
            return Ok(());
        }
        Err(too_deep(at, self.limits))
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Error> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= self.limits.nodes {
            return Ok(());
        }
        Err(Error {
            rule: "too-many-values",
            at,
            message: format!("the file has more than {} values, aliases written out", self.limits.nodes),
            hint: "split the file, and do not nest aliases",
        })
    }
}

fn place(mark: Marker) -> Place {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { line: count(mark.line()), column: count(mark.col() + 1) }
}

fn height(node: &Node) -> usize {
    match &node.content {
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => 0,
        Content::List(nodes) => nodes.iter().map(|node| height(node) + 1).max().unwrap_or(0),
        Content::Object(entries) => entries.iter().map(|entry| height(&entry.node) + 1).max().unwrap_or(0),
    }
}

fn too_deep(at: Place, limits: &Limits) -> Error {
    Error {
        rule: "too-deep",
        at,
        message: format!("values are nested more than {} deep", limits.depth),
        hint: "no manifest needs that; look for brackets that are never closed",
    }
}

fn scalar_error(at: Place, message: String) -> Error {
    Error { rule: "yaml-value", at, message, hint: "if it is text, put it in quotes" }
}

/// The text of a key that is an alias to a scalar.
fn key_text(node: Node) -> Option<String> {
    match node.content {
        Content::Text(text) => Some(text),
        Content::Null => Some("null".to_owned()),
        Content::Bool(value) => Some(value.to_string()),
        Content::Number(number) => Some(number.to_string()),
        Content::List(_) | Content::Object(_) => None,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Content, String> {
    let Some(tag) = tag else {
        let is_plain = style == ScalarStyle::Plain;
        return if is_plain { plain(text) } else { Ok(Content::Text(text.to_owned())) };
    };
    let matches_tag = |content: &Content| match tag.suffix.as_str() {
        "int" => matches!(content, Content::Number(number) if !number.is_f64()),
        "float" => matches!(content, Content::Number(_)),
        "bool" => matches!(content, Content::Bool(_)),
        "null" => matches!(content, Content::Null),
        _ => false,
    };
    let is_non_specific = tag.handle.is_empty() && tag.suffix == "!";
    if !tag.is_yaml_core_schema() && !is_non_specific {
        return Err(format!("the tag `{tag}` means nothing here"));
    }
    match tag.suffix.as_str() {
        "str" | "!" | "" => Ok(Content::Text(text.to_owned())),
        "int" | "float" | "bool" | "null" => match plain(text)? {
            content if matches_tag(&content) => Ok(content),
            _ => Err(format!("`{text}` is no {}", tag.suffix)),
        },
        _ => Err(format!("the tag `{tag}` means nothing here")),
    }
}

/// What a scalar without quotes is.
fn plain(text: &str) -> Result<Content, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Content::Null),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Ok(Content::Bool(true));
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Ok(Content::Bool(false));
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | ".nan" | ".NaN" | ".NAN" => {
            return Err(format!("`{text}` is a number that JSON does not have"));
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.') {
        return Ok(Content::Text(text.to_owned()));
    }
    if let Some(number) = integer(text) {
        return Ok(Content::Number(number));
    }
    if is_float(text)
        && let Ok(value) = text.parse::<f64>()
        && let Some(number) = Number::from_f64(value)
    {
        return Ok(Content::Number(number));
    }
    Ok(Content::Text(text.to_owned()))
}

/// Whole numbers: decimal, `0x`, `0o`, `0b`, and octal with a leading zero as file modes are written.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(Number::from(magnitude))
    }
}

/// Digits with at most one point and maybe an exponent.
fn is_float(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(position) => (&digits[..position], Some(&digits[position + 1..])),
        None => (digits, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_good = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    (!whole.is_empty() || !fraction.is_empty()) && all_digits(whole) && all_digits(fraction) && exponent_good
}
