//! Parsed text as a tree that remembers where everything was written. The invariant: after [`Node::settle`] no
//! object has the same key twice and no merge key is left.

use serde_json::{Map, Number, Value};

use crate::complaint::{Found, Severity};
use crate::path::{Path, Step};

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) content: Content,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Entry>),
}

/// A member of an object and where its key begins.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Place,
    /// The key is YAML's `<<`.
    pub(crate) is_merge: bool,
    pub(crate) node: Node,
}

impl Node {
    /// Merges what `<<` names and complains about keys that are written twice; the last one counts.
    pub(crate) fn settle(&mut self, path: &Path, found: &mut Vec<(Place, Found)>) {
        match &mut self.content {
            Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {}
            Content::List(nodes) => {
                for (index, node) in nodes.iter_mut().enumerate() {
                    node.settle(&path.index(index), found);
                }
            }
            Content::Object(entries) => {
                *entries = settle_entries(std::mem::take(entries), path, found);
            }
        }
    }

    /// The same without places.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(nodes) => Value::Array(nodes.iter().map(Self::to_value).collect()),
            Content::Object(entries) => {
                let members = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// Where that path is written, or the last thing on the way to it that is.
    pub(crate) fn place(&self, path: &Path) -> Place {
        let mut at = self.at;
        let mut node = self;
        for step in path.steps() {
            match (step, &node.content) {
                (Step::Field(name), Content::Object(entries)) => {
                    let Some(entry) = entries.iter().find(|entry| entry.key == *name) else { return at };
                    at = entry.at;
                    node = &entry.node;
                }
                (Step::Index(index), Content::List(nodes)) => {
                    let Some(element) = nodes.get(*index) else { return at };
                    at = element.at;
                    node = element;
                }
                _ => return at,
            }
        }
        at
    }

    /// The text of a member that is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.member(name)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A member of an object.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Content::Object(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node)
    }
}

fn settle_entries(entries: Vec<Entry>, path: &Path, found: &mut Vec<(Place, Found)>) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut merged: Vec<Entry> = Vec::new();
    // Large objects are data (labels, config maps), where a linear search per key would be quadratic.
    let mut positions = std::collections::HashMap::with_capacity(entries.len());
    for mut entry in entries {
        let here = path.field(&entry.key);
        entry.node.settle(&here, found);
        if entry.is_merge {
            merged.extend(merge_sources(entry, &here, found));
            continue;
        }
        if let Some(&position) = positions.get(&entry.key) {
            let first: &mut Entry = &mut kept[position];
            let message = format!("`{}` is written twice, first in line {}", entry.key, first.at.line);
            found.push((entry.at, error("duplicate-key", &here, message, "keep one of them")));
            *first = entry;
        } else {
            positions.insert(entry.key.clone(), kept.len());
            kept.push(entry);
        }
    }
    for entry in merged {
        if !positions.contains_key(&entry.key) {
            positions.insert(entry.key.clone(), kept.len());
            kept.push(entry);
        }
    }
    kept
}

/// The members that a `<<` brings in, those that win first.
fn merge_sources(entry: Entry, path: &Path, found: &mut Vec<(Place, Found)>) -> Vec<Entry> {
    let sources = match entry.node.content {
        Content::List(nodes) => nodes,
        _ => vec![entry.node],
    };
    let mut members = Vec::new();
    for source in sources {
        if let Content::Object(entries) = source.content {
            members.extend(entries);
        } else {
            let message = "`<<` takes an object or a list of objects".to_owned();
            found.push((entry.at, error("merge-key", path, message, "write `<<: *anchor`")));
        }
    }
    members
}

fn error(rule: &'static str, path: &Path, message: String, hint: &str) -> Found {
    Found { severity: Severity::Error, rule, path: path.clone(), message, hint: hint.to_owned() }
}
