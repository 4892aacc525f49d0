//! What a user says of all streams: `bufferConfig` of an `InterStepBufferService`. Keys are those of the reference, in
//! any letter case. The one invariant: a setting that would let the server remove what nobody has read is never used,
//! and is said so.

use std::time::Duration;

use saphyr_parser::{Event, Parser};

/// Where messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In the memory of the servers.
    Memory,
}

impl Storage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Memory => "memory",
        }
    }
}

/// What a user says of all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    /// How many messages may lie unread in one partition; less than what a vertex says counts.
    pub messages_max: Option<u64>,
    /// How many bytes may lie unread in one partition.
    pub bytes_max: Option<u64>,
    /// Where frames are kept.
    pub storage: Storage,
    /// How many servers keep them; none when it is not said.
    pub replicas: Option<u8>,
    /// How long the server recognises repeated ids.
    pub duplicates: Duration,
}

/// The window in which the server recognises repeated ids.
const DUPLICATES: Duration = Duration::from_mins(1);
/// Copies at most, as the server has it.
const REPLICAS_MAX: u8 = 5;

impl Default for BufferConfig {
    fn default() -> Self {
        let duplicates = DUPLICATES;
        Self { messages_max: None, bytes_max: None, storage: Storage::File, replicas: None, duplicates }
    }
}

/// Why the text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no YAML of sections and settings.
    #[error("read the buffer settings: {0}; write `stream:` and below it `key: value` lines")]
    Syntax(String),
    /// A value means nothing.
    #[error("read `stream.{key}` of the buffer settings: {value:?} is not {expected}")]
    Value {
        /// The setting.
        key: String,
        /// What is written.
        value: String,
        /// What may be written.
        expected: &'static str,
    },
}

impl BufferConfig {
    /// Reads the settings, and says what of them is not used and why.
    pub fn read(text: &str) -> Result<(Self, Vec<String>), Error> {
        let mut config = Self::default();
        let mut warnings = Vec::new();
        for (path, value) in settings(text)? {
            let [section, key] = path.as_slice() else { continue };
            // Consumers and buckets of the reference have no counterpart.
            if section.eq_ignore_ascii_case("stream") {
                config.set(&key.to_ascii_lowercase(), &value, &mut warnings)?;
            }
        }
        Ok((config, warnings))
    }

    fn set(&mut self, key: &str, value: &str, warnings: &mut Vec<String>) -> Result<(), Error> {
        let wrong = |expected| Error::Value { key: key.to_owned(), value: value.to_owned(), expected };
        let limit = || -> Result<Option<u64>, Error> {
            let limit: i64 = value.parse().map_err(|_| wrong("a whole number, -1 for no limit"))?;
            Ok(u64::try_from(limit).ok().filter(|limit| *limit > 0))
        };
        match key {
            "maxmsgs" => self.messages_max = limit()?,
            "maxbytes" => self.bytes_max = limit()?,
            "replicas" => {
                let replicas = value.parse().ok().filter(|count| (1..=REPLICAS_MAX).contains(count));
                self.replicas = Some(replicas.ok_or_else(|| wrong("1 to 5"))?);
            }
            "storage" => {
                self.storage = match value {
                    "0" | "file" => Storage::File,
                    "1" | "memory" => Storage::Memory,
                    _ => return Err(wrong("0 (file) or 1 (memory)")),
                };
                if self.storage == Storage::Memory {
                    warnings.push(
                        "stream.storage: frames are kept in memory and are lost when the servers restart"
                            .to_owned(),
                    );
                }
            }
            "duplicates" => self.duplicates = duration(value).ok_or_else(|| wrong("a time such as 60s"))?,
            "maxage" => {
                let age = duration(value).ok_or_else(|| wrong("a time such as 72h"))?;
                if !age.is_zero() {
                    warnings.push(format!(
                        "stream.maxAge: {value} is not used, because frames that wait longer would be lost unread; \
                         what was read is removed at once"
                    ));
                }
            }
            "retention" => match value {
                "0" | "limits" => {}
                "1" | "interest" | "2" | "workqueue" => warnings.push(format!(
                    "stream.retention: {value} is not used, because the server would remove frames by acknowledgements, \
                     and none are given; what was read is removed at once"
                )),
                _ => return Err(wrong("0 (limits), 1 (interest) or 2 (workqueue)")),
            },
            "discard" if value.eq_ignore_ascii_case("new") || value == "1" => {}
            "discard" => warnings.push(format!(
                "stream.discard: {value} is not used, because a full buffer would lose its oldest frames; writers wait \
                 instead"
            )),
            _ => warnings.push(format!("stream.{key}: there is no such setting")),
        }
        Ok(())
    }
}

/// The settings in a text: their paths and values, at most two deep.
fn settings(text: &str) -> Result<Vec<(Vec<String>, String)>, Error> {
    let mut settings = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| Error::Syntax(error.to_string()))?;
        match event {
            Event::MappingStart(..) => depth += 1,
            Event::MappingEnd => {
                depth = depth.saturating_sub(1);
                path.pop();
            }
            // A key stands at the depth of its mapping; its value is one deeper.
            Event::Scalar(key, ..) if depth > 0 && path.len() < depth => path.push(key.into_owned()),
            Event::Scalar(value, ..) if depth > 0 => {
                settings.push((path.clone(), value.into_owned()));
                path.pop();
            }
            Event::Scalar(value, ..) if value.trim().is_empty() || value == "~" || value == "null" => {}
            Event::Scalar(value, ..) => return Err(Error::Syntax(format!("{value:?} stands alone"))),
            Event::SequenceStart(..) | Event::SequenceEnd | Event::Alias(_) => {
                return Err(Error::Syntax("it holds a list or a reference".to_owned()));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
    }
    Ok(settings)
}

/// A time as Go writes it, or a number of nanoseconds.
fn duration(text: &str) -> Option<Duration> {
    let nanos = text.parse().ok().map(Duration::from_nanos);
    nanos.or_else(|| text.parse::<::api::Duration>().ok().map(::api::Duration::to_std))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_the_reference_are_read() {
        let text = "stream:\n  retention: 0\n  maxMsgs: 100000\n  maxAge: 72h\n  maxBytes: -1\n  storage: 0\n  \
                    replicas: 3\n  duplicates: 60s\nconsumer:\n  ackWait: 60s\notBucket:\n  history: 1\n  ttl: 3h\n";
        let (config, warnings) = BufferConfig::read(text).unwrap();
        let expected = BufferConfig {
            messages_max: Some(100_000),
            bytes_max: None,
            storage: Storage::File,
            replicas: Some(3),
            duplicates: Duration::from_mins(1),
        };
        assert_eq!(config, expected);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("stream.maxAge: 72h is not used"), "{warnings:?}");
    }

    #[test]
    fn what_would_discard_frames_is_named() {
        let text = "{STREAM: {Retention: 2, maxage: 1h30m, discard: old, storage: memory, nagle: 1}}";
        let (config, warnings) = BufferConfig::read(text).unwrap();
        assert_eq!(config.storage, Storage::Memory);
        let named: Vec<&str> = warnings.iter().filter_map(|warning| warning.split(':').next()).collect();
        let settings = ["retention", "maxage", "discard", "storage", "nagle"];
        let mut expected: Vec<String> = settings.iter().map(|name| format!("stream.{name}")).collect();
        expected[1] = "stream.maxAge".to_owned();
        assert_eq!(named, expected);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (text, reason) in [
            ("stream: {maxMsgs: many}", "\"many\" is not a whole number"),
            ("stream: {replicas: 0}", "\"0\" is not 1 to 5"),
            ("stream: {maxAge: soon}", "\"soon\" is not a time"),
            ("stream: [1]", "list"),
            ("hello", "stands alone"),
            ("stream: {", "read the buffer settings"),
        ] {
            let error = BufferConfig::read(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        for text in ["", "null", "# nothing", "stream:\n"] {
            assert_eq!(BufferConfig::read(text).unwrap(), (BufferConfig::default(), vec![]), "{text}");
        }
    }
}
