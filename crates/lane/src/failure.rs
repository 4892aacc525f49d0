//! What goes wrong, in the words of the door. Invariant: `Retry` is only said of what has certainly not been done.

use model::UnitId;
use model::door::{Class, Error};

use crate::broker::{Failure, StreamName};

/// The unit is somebody else's.
pub(crate) fn lost(unit: &UnitId) -> Error {
    Error::new(Class::Lost, format!("keep unit {unit}: it has another owner"))
}

/// What a broker's failure means when nothing of it can have been done.
pub(crate) fn failed(attempted: impl Into<String>, failure: Failure) -> Error {
    let class = match &failure {
        Failure::Refused | Failure::Full | Failure::Unanswered(_) | Failure::Unavailable(_) => Class::Retry,
        Failure::TooLarge { .. } => Class::Reject,
        Failure::NoStream(_) | Failure::Denied(_) => Class::Fatal,
    };
    Error::caused(class, attempted, failure)
}

/// Whether asking again may help.
pub(crate) fn passes(failure: &Failure) -> bool {
    matches!(failure, Failure::Unanswered(_) | Failure::Unavailable(_))
}

/// Something stored cannot be read.
pub(crate) fn unreadable(
    what: impl std::fmt::Display,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::caused(Class::Fatal, format!("read {what}"), cause)
}

/// A stream is not the one that positions speak of.
pub(crate) fn recreated(stream: &StreamName) -> Error {
    Error::new(
        Class::Fatal,
        format!(
            "go on in stream {stream}: it was deleted and made again, so that positions in it mean nothing; \
             delete all streams of the pipeline and create them together to begin anew"
        ),
    )
}

/// A stream has lost its end.
pub(crate) fn rewound(stream: &StreamName, last: u64, known: u64) -> Error {
    Error::new(
        Class::Fatal,
        format!(
            "go on in stream {stream}: it ends at {last} and has held {known}; it was restored from an older copy \
             or lost what it had confirmed"
        ),
    )
}

/// What a unit has confirmed is not there any more.
pub(crate) fn forgotten(unit: &UnitId, found: u64, known: u64) -> Error {
    Error::new(
        Class::Fatal,
        format!(
            "claim unit {unit}: its last commit is number {found}, and number {known} was confirmed; a stream was \
             restored from an older copy or lost what it had confirmed"
        ),
    )
}

/// A stream that should be there cannot be looked at.
pub(crate) fn missing_stream(stream: &StreamName, error: Error) -> Error {
    let class = error.class();
    let hint = if class == Class::Fatal {
        "; the streams of a pipeline are made with `tidegate isbsvc create`"
    } else {
        ""
    };
    Error::caused(class, format!("open stream {stream}{hint}"), error)
}

/// A frame is not there though nothing has settled it.
pub(crate) fn missing(unit: &UnitId, stream: &StreamName, sequence: u64) -> Error {
    Error::new(
        Class::Fatal,
        format!(
            "read unit {unit}: frame {sequence} of stream {stream} is not there, and nobody has settled it"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_pass_is_retried() {
        let class = |failure| failed("x", failure).class();
        assert_eq!(class(Failure::Unavailable(String::new())), Class::Retry);
        assert_eq!(class(Failure::Full), Class::Retry);
        assert_eq!(class(Failure::TooLarge { limit: 1 }), Class::Reject);
        assert_eq!(class(Failure::NoStream("s".into())), Class::Fatal);
    }
}
