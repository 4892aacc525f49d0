//! Bytes of a file to located documents, one per object. What the documents mean is for [`mod@crate::load`]. The
//! invariant: whatever the bytes are, reading ends soon, in bounded memory, with documents or complaints.

mod json;
pub(crate) mod tree;
mod yaml;

use std::sync::Arc;

use crate::complaint::{Complaint, Found};
use crate::path::Path;
use tree::{Content, Node, Place};

/// The largest file that is read.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most values in one file, with aliases written out.
pub const VALUES_MAX: usize = 200_000;
/// The deepest nesting of values.
pub const DEPTH_MAX: usize = 64;

pub(crate) struct Limits {
    pub(crate) nodes: usize,
    pub(crate) depth: usize,
}

/// One object as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) file: Arc<str>,
    pub(crate) node: Node,
}

impl Document {
    /// Adds to a finding where it is written.
    pub(crate) fn complaint(&self, found: Found) -> Complaint {
        let place = self.node.place(&found.path);
        complain(&self.file, place, found)
    }
}

fn complain(file: &str, place: Place, found: Found) -> Complaint {
    let Found { severity, rule, path, message, hint } = found;
    Complaint {
        severity,
        rule,
        path,
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        message,
        hint,
    }
}

/// Takes a file apart into documents. `kind: List` is replaced by its items; empty documents are left out.
pub(crate) fn read(bytes: &[u8], file: &str) -> (Vec<Document>, Vec<Complaint>) {
    let mut complaints = Vec::new();
    let text = match text_of(bytes, file) {
        Ok(text) => text,
        Err(complaint) => return (Vec::new(), vec![*complaint]),
    };
    let (nodes, error) = parse(text, file);
    if let Some(error) = error {
        let mut complaint = Complaint::about_file(file, error.rule, error.message, error.hint);
        (complaint.line, complaint.column) = (error.at.line, error.at.column);
        complaints.push(complaint);
    }
    let file: Arc<str> = Arc::from(file);
    let mut documents = Vec::new();
    for mut node in nodes {
        let mut found = Vec::new();
        node.settle(&Path::root(), &mut found);
        complaints.extend(found.into_iter().map(|(place, found)| complain(&file, place, found)));
        documents.extend(unpack_list(Document { file: Arc::clone(&file), node }));
    }
    (documents, complaints)
}

/// The documents of a file without any types: what the YAML or JSON says, and nothing about whether it makes sense.
///
/// # Errors
///
/// Complaints about the text itself.
pub fn to_values(bytes: &[u8], file: &str) -> Result<Vec<serde_json::Value>, Vec<Complaint>> {
    let (documents, complaints) = read(bytes, file);
    if complaints.is_empty() {
        Ok(documents.iter().map(|document| document.node.to_value()).collect())
    } else {
        Err(complaints)
    }
}

/// Whether a text inside a manifest is a YAML object, or nothing at all.
pub(crate) fn is_yaml_object(text: &str) -> bool {
    let limits = Limits { nodes: VALUES_MAX, depth: DEPTH_MAX };
    let (nodes, error) = yaml::parse(text, &limits);
    let is_object = |node: &Node| matches!(node.content, Content::Object(_) | Content::Null);
    error.is_none() && nodes.len() <= 1 && nodes.iter().all(is_object)
}

fn text_of<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str, Box<Complaint>> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!(
            "the file has {} bytes, and the limit is {FILE_BYTES_MAX} bytes ({} MiB)",
            bytes.len(),
            FILE_BYTES_MAX / (1024 * 1024)
        );
        let hint = "a manifest is small; is this the right file?";
        return Err(Box::new(Complaint::about_file(file, "file-too-large", message, hint)));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let message =
                format!("the file is not UTF-8 text: byte {} is {:#04x}", good.len(), bytes[good.len()]);
            let mut complaint = Complaint::about_file(file, "not-utf8", message, "save it as UTF-8");
            let line_start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
            let lines = good.split(|byte| *byte == b'\n').count() - 1;
            complaint.line = lines as u32 + 1;
            complaint.column = String::from_utf8_lossy(&good[line_start..]).chars().count() as u32 + 1;
            Err(Box::new(complaint))
        }
    }
}

fn parse(text: &str, file: &str) -> (Vec<Node>, Option<yaml::Error>) {
    let limits = Limits { nodes: VALUES_MAX, depth: DEPTH_MAX };
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml::parse(text, &limits);
    }
    match json::parse(text, &limits) {
        Ok(nodes) => (nodes, None),
        Err(error) => {
            // YAML may begin with a brace as well; who writes `.json` means JSON.
            let is_json = file.to_ascii_lowercase().ends_with(".json");
            let (nodes, yaml_error) = yaml::parse(text, &limits);
            if yaml_error.is_none() && !is_json { (nodes, None) } else { (Vec::new(), Some(error)) }
        }
    }
}

fn unpack_list(document: Document) -> Vec<Document> {
    let Document { file, node } = document;
    let is_list = node.text("kind") == Some("List") && node.text("apiVersion") == Some("v1");
    match node.content {
        Content::Null => Vec::new(),
        Content::Object(entries) if is_list => {
            let items =
                entries.into_iter().find(|entry| entry.key == "items").map(|entry| entry.node.content);
            let Some(Content::List(items)) = items else { return Vec::new() };
            items.into_iter().map(|node| Document { file: Arc::clone(&file), node }).collect()
        }
        content => vec![Document { file, node: Node { at: node.at, content } }],
    }
}
