//! JSON text to located trees; several values may follow each other. YAML readers take most of JSON, but not its
//! tabs, long keys and escaped surrogates. The invariant: work is linear in the text and depth is bounded.

use serde_json::Number;

use super::Limits;
use super::tree::{Content, Entry, Node, Place};
use super::yaml::Error;

/// All values in the text.
pub(crate) fn parse(text: &str, limits: &Limits) -> Result<Vec<Node>, Error> {
    let mut reader = Reader { text, position: 0, line: 1, line_start: 0, limits, nodes: 0 };
    let mut values = Vec::new();
    loop {
        reader.skip_space();
        if reader.position == text.len() {
            return Ok(values);
        }
        values.push(reader.value(0)?);
    }
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes.
    position: usize,
    line: u32,
    /// Where the line began, in bytes.
    line_start: usize,
    limits: &'a Limits,
    nodes: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, Error> {
        self.skip_space();
        let at = self.place();
        self.nodes += 1;
        if depth > self.limits.depth {
            let message = format!("values are nested more than {} deep", self.limits.depth);
            return Err(Error { rule: "too-deep", at, message, hint: "no manifest needs that" });
        }
        if self.nodes > self.limits.nodes {
            let message = format!("the file has more than {} values", self.limits.nodes);
            return Err(Error { rule: "too-many-values", at, message, hint: "split the file" });
        }
        let content = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Content::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { at, content })
    }

    fn object(&mut self, depth: usize) -> Result<Content, Error> {
        self.position += 1;
        let mut entries = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Content::Object(entries));
        }
        loop {
            self.skip_space();
            let at = self.place();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.expected("`:`"));
            }
            let node = self.value(depth + 1)?;
            entries.push(Entry { key, at, is_merge: false, node });
            self.skip_space();
            if self.take(b'}') {
                return Ok(Content::Object(entries));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Content, Error> {
        self.position += 1;
        let mut nodes = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Content::List(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Content::List(nodes));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        let start = self.position;
        let mut is_escaped = false;
        for (offset, byte) in self.text.as_bytes()[start + 1..].iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    let end = start + 1 + offset + 1;
                    let text = serde_json::from_str(&self.text[start..end]);
                    let text =
                        text.map_err(|_| self.expected("text with valid escapes and no line breaks"))?;
                    self.position = end;
                    return Ok(text);
                }
                _ => {}
            }
        }
        Err(self.expected("text that ends with a double quote"))
    }

    fn number(&mut self) -> Result<Content, Error> {
        let rest = &self.text[self.position..];
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let length = rest.find(|c: char| !is_number(c)).unwrap_or(rest.len());
        let number: Number = serde_json::from_str(&rest[..length]).map_err(|_| self.expected("a number"))?;
        self.position += length;
        Ok(Content::Number(number))
    }

    fn word(&mut self) -> Result<Content, Error> {
        let words = [("true", Content::Bool(true)), ("false", Content::Bool(false)), ("null", Content::Null)];
        for (word, content) in words {
            if self.text[self.position..].starts_with(word) {
                self.position += word.len();
                return Ok(content);
            }
        }
        Err(self.expected("a value"))
    }

    fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.position += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = self.position;
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.position += usize::from(is_there);
        is_there
    }

    fn place(&self) -> Place {
        // Counting characters for every value of a file without line breaks would be quadratic.
        const FAR: usize = 4096;
        let along = &self.text.as_bytes()[self.line_start..self.position];
        let column = if along.len() < FAR {
            self.text[self.line_start..self.position].chars().count()
        } else {
            along.len()
        };
        Place { line: self.line, column: u32::try_from(column + 1).unwrap_or(u32::MAX) }
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.text[self.position..].chars().next() {
            None => "the end of the file".to_owned(),
            Some(character) => format!("`{}`", character.escape_debug()),
        };
        Error {
            rule: "json-syntax",
            at: self.place(),
            message: format!("this is no JSON: expected {what}, found {found}"),
            hint: "",
        }
    }
}
