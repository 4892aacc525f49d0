//! What a broken session means: statuses of gRPC and breaches of protocol as sentences for people.

use std::error::Error as _;

use prost::Message as _;
use tonic::{Code, Status};

/// Why a session is over.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// User code, or its process, went away.
    Crashed {
        /// What it said, or what the connection said.
        message: String,
        /// Stack trace or other detail; may be empty.
        details: String,
    },
    /// User code answered in a way nobody may.
    Protocol {
        /// What is wrong with it.
        message: String,
        /// The slot of the message whose answer is wrong, when it is one.
        culprit: Option<usize>,
        /// Messages concerned.
        messages: Vec<String>,
    },
    /// The stream ended and nobody was waiting for anything.
    Left,
}

impl Trouble {
    pub(crate) fn from_status(status: &Status) -> Self {
        Self::Crashed { message: describe(status), details: details(status) }
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::Protocol { message: message.into(), culprit: None, messages: Vec::new() }
    }
}

/// `google.rpc.Status`, as it stands in the trailers of a failed call.
#[derive(Clone, PartialEq, prost::Message)]
struct RichStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.DebugInfo`, where SDKs put stack traces.
#[derive(Clone, PartialEq, prost::Message)]
struct DebugInfo {
    #[prost(string, repeated, tag = "1")]
    stack_entries: Vec<String>,
    #[prost(string, tag = "2")]
    detail: String,
}

/// The status in one sentence.
pub(crate) fn describe(status: &Status) -> String {
    let Some(source) = status.source() else {
        return if status.message().is_empty() {
            status.code().description().to_owned()
        } else if status.code() == Code::Internal {
            status.message().to_owned()
        } else {
            format!("{} ({})", status.message(), status.code().description())
        };
    };
    let mut text = String::from("its connection broke");
    let mut cause = Some(source);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The stack trace that came with the status, else whatever details there are.
pub(crate) fn details(status: &Status) -> String {
    let raw = status.details();
    if raw.is_empty() {
        return String::new();
    }
    let Ok(rich) = RichStatus::decode(raw) else {
        return String::from_utf8_lossy(raw).into_owned();
    };
    let debug = rich.details.iter().find(|any| any.type_url.ends_with("google.rpc.DebugInfo"));
    let Some(Ok(debug)) = debug.map(|any| DebugInfo::decode(any.value.as_slice())) else {
        return String::from_utf8_lossy(raw).into_owned();
    };
    let mut lines = debug.stack_entries;
    if !debug.detail.is_empty() {
        lines.push(debug.detail);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_trace_is_taken_out_of_the_details() {
        let debug = DebugInfo { stack_entries: vec!["at main.rs:7".into()], detail: "deep".into() };
        let any = prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.DebugInfo".into(),
            value: debug.encode_to_vec(),
        };
        let rich = RichStatus { details: vec![any] }.encode_to_vec();
        let status = Status::with_details(Code::Internal, "UDF_EXECUTION_ERROR(udf): no", rich.into());
        assert_eq!(details(&status), "at main.rs:7\ndeep");
        assert_eq!(describe(&status), "UDF_EXECUTION_ERROR(udf): no");
    }

    #[test]
    fn details_that_nobody_knows_are_shown_as_they_are() {
        let status = Status::with_details(Code::Aborted, "", bytes::Bytes::from_static(b"plain \xff words"));
        assert!(details(&status).starts_with("plain "));
        assert!(!describe(&status).is_empty());
    }
}
