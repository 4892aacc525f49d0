//! The server-info file: what user code says about itself.
//!
//! Reading is tolerant of whatever an SDK may write and strict about one thing: a file counts only when it ends with
//! the terminator. A file may be left over from an earlier process, so it is read again before every connection and
//! never believed without one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::Value;
use tokio::io::AsyncReadExt;

/// What a complete file ends with.
pub const TERMINATOR: &str = "U+005C__END__";
/// No SDK writes nearly as much; more is refused instead of read.
const SIZE_MAX_BYTES: u64 = 64 * 1024;

/// How a map wants its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapMode {
    /// One request, one response.
    #[default]
    Unary,
    /// A batch of requests and an end, a batch of responses and an end.
    Batch,
    /// One request, any number of responses and an end.
    Stream,
}

/// The language of an SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// numaflow-go.
    Go,
    /// pynumaflow.
    Python,
    /// numaflow-java.
    Java,
    /// numaflow-rs, and the JavaScript SDK built on it.
    Rust,
}

/// What user code says about itself. Everything but the terminator is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The SDK's language, when it is one we know.
    pub language: Option<Language>,
    /// The SDK's version; empty when it does not know.
    pub version: String,
    /// The oldest platform it works with; empty when it does not care.
    pub minimum_platform: String,
    /// The mode of a map.
    pub map_mode: MapMode,
    /// True when it listens on TCP, which is not spoken here.
    pub tcp: bool,
    /// Everything it added.
    pub metadata: BTreeMap<String, String>,
}

/// Why there is no info.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file; user code has not started.
    #[error("find the server-info file")]
    Missing,
    /// The file does not end with the terminator; user code is writing it.
    #[error("find the end of the server-info file")]
    Incomplete,
    /// The file is larger than any SDK writes.
    #[error("read the server-info file, which has more than {SIZE_MAX_BYTES} bytes")]
    Oversized,
    /// The file cannot be read.
    #[error("read the server-info file")]
    Unreadable(#[source] io::Error),
    /// The file is complete and not one JSON object.
    #[error("parse the server-info file")]
    Malformed(#[source] serde_json::Error),
}

/// Reads the file at `path` once.
pub async fn read(path: &Path) -> Result<Info, Error> {
    let file = tokio::fs::File::open(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        _ => Error::Unreadable(error),
    })?;
    let mut content = Vec::new();
    file.take(SIZE_MAX_BYTES + 1).read_to_end(&mut content).await.map_err(Error::Unreadable)?;
    if content.len() as u64 > SIZE_MAX_BYTES {
        return Err(Error::Oversized);
    }
    parse(&content)
}

/// Understands the content of a file.
pub fn parse(content: &[u8]) -> Result<Info, Error> {
    let content = content.trim_ascii_end();
    let Some(json) = content.strip_suffix(TERMINATOR.as_bytes()) else {
        return Err(Error::Incomplete);
    };
    let members: serde_json::Map<String, Value> = serde_json::from_slice(json).map_err(Error::Malformed)?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let metadata: BTreeMap<String, String> = members
        .get("metadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| value.as_str().map(|value| (key.clone(), value.to_owned())))
        .collect();
    Ok(Info {
        language: match text("language") {
            "go" => Some(Language::Go),
            "python" => Some(Language::Python),
            "java" => Some(Language::Java),
            "rust" => Some(Language::Rust),
            _ => None,
        },
        version: text("version").to_owned(),
        minimum_platform: text("minimum_numaflow_version").to_owned(),
        map_mode: match metadata.get("MAP_MODE").map(String::as_str) {
            Some("batch-map") => MapMode::Batch,
            Some("stream-map") => MapMode::Stream,
            Some(_) | None => MapMode::Unary,
        },
        tcp: text("protocol") == "tcp",
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(json: &str) -> Info {
        parse(format!("{json}{TERMINATOR}").as_bytes()).unwrap()
    }

    #[test]
    fn files_of_the_sdks_are_understood() {
        let rust = info(
            r#"{"protocol":"uds","language":"rust","minimum_numaflow_version":"1.4.0-z","version":"0.6.0","metadata":{"MAP_MODE":"batch-map"}}"#,
        );
        assert_eq!(rust.language, Some(Language::Rust));
        assert_eq!(rust.map_mode, MapMode::Batch);
        assert_eq!(rust.minimum_platform, "1.4.0-z");
        let python = info(
            r#"{"protocol": "uds", "language": "python", "minimum_numaflow_version": "1.4.0-z", "version": "0.14.0", "metadata": {"MULTIPROC": "2", "MAP_MODE": "unary-map"}}"#,
        );
        assert_eq!(python.language, Some(Language::Python));
        assert_eq!(python.metadata["MULTIPROC"], "2");
        let go = info(r#"{"protocol":"uds","language":"go","version":"v0.11.0","metadata":null}"#);
        assert_eq!((go.version.as_str(), go.map_mode), ("v0.11.0", MapMode::Unary));
    }

    #[test]
    fn missing_and_odd_members_get_defaults() {
        assert_eq!(info("{}"), Info::default());
        let odd = info(
            r#"{"language":"cobol","version":7,"protocol":"pigeon","metadata":{"MAP_MODE":"sideways","n":1}}"#,
        );
        assert_eq!(odd.language, None);
        assert_eq!(odd.version, "");
        assert_eq!(odd.map_mode, MapMode::Unary);
        assert!(!odd.tcp);
        assert_eq!(odd.metadata.len(), 1);
    }

    #[test]
    fn a_file_without_its_terminator_is_incomplete() {
        assert!(matches!(parse(b""), Err(Error::Incomplete)));
        assert!(matches!(parse(br#"{"language":"go"}"#), Err(Error::Incomplete)));
        assert!(matches!(parse(br#"{"language":"go"}U+005C__EN"#), Err(Error::Incomplete)));
        assert!(matches!(parse(b"nonsenseU+005C__END__"), Err(Error::Malformed(_))));
        assert!(matches!(parse(b"[]U+005C__END__"), Err(Error::Malformed(_))));
    }
}
