//! The text of an image map as values. All that it may hold is text, lists and objects, so a few lines over the YAML
//! events do; manifests are read elsewhere, with places and complaints.
//!
//! Invariant: the work is bounded by the length of the text: there are no aliases, and values are nested at most
//! [`DEPTH_MAX`] deep.

use saphyr_parser::{Event, Parser, StrInput};
use serde_json::{Map, Value};

/// The deepest nesting.
const DEPTH_MAX: usize = 8;

/// The first document of a text; an empty one is an empty object.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), line: 1 };
    loop {
        match reader.next()? {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd | Event::DocumentEnd => return Ok(Value::Object(Map::new())),
            event => {
                let value = reader.value(event, 0)?;
                return Ok(if value.is_null() { Value::Object(Map::new()) } else { value });
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.parser.next_event() {
            None => Ok(Event::StreamEnd),
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                Err(format!("line {}: this is no YAML: {}", error.marker().line(), error.info()))
            }
        }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("line {}: values are nested more than {DEPTH_MAX} deep", self.line));
        }
        match event {
            Event::Scalar(text, style, _, _) => {
                let is_null =
                    style == saphyr_parser::ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                Ok(if is_null { Value::Null } else { Value::String(text.into_owned()) })
            }
            Event::SequenceStart(..) => self.list(depth),
            Event::MappingStart(..) => self.object(depth),
            Event::Alias(_) => Err(format!("line {}: aliases are not used here", self.line)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Err(format!("line {}: a value is missing", self.line)),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::Array(items)),
                event => items.push(self.value(event, depth + 1)?),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let mut fields = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Object(fields)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(format!("line {}: a name is expected here", self.line)),
            };
            let line = self.line;
            let event = self.next()?;
            let value = self.value(event, depth + 1)?;
            if fields.insert(key.clone(), value).is_some() {
                return Err(format!("line {line}: {key:?} is there twice"));
            }
        }
    }
}
