//! Tools of the cases: numbered messages, and a write that insists as the users of a sink do.

use bytes::Bytes;

use super::super::wait::{RETRIES_MAX, within};
use crate::door::sink::{Outcome, Sink};
use crate::door::{Class, Error};
use crate::{Message, Origin, Time};

/// The value of message `number`.
pub(super) fn value(number: u64) -> Bytes {
    Bytes::from(format!("value of message {number}"))
}

/// A message with a value of its own.
pub(super) fn message(number: u64, value: Bytes) -> Message {
    let offset = Origin::Numbered { number, partition: 0 };
    let mut message = Message::from_source("in".into(), offset, value, Time::from_millis(number as i64));
    message.keys = vec![smol_str::format_smolstr!("key-{}", number % 3)];
    message
}

/// `count` messages from number `first` on.
pub(super) fn messages(first: u64, count: u64) -> Vec<Message> {
    (first..first + count).map(|number| message(number, value(number))).collect()
}

/// Writes until everything is done: the whole batch again on `Retry`, what failed again otherwise.
pub(super) async fn write(sink: &mut dyn Sink, mut messages: Vec<Message>) {
    for _ in 0..RETRIES_MAX {
        let written = within("write", sink.write(&messages, Time::UNKNOWN)).await;
        let Some(outcomes) = succeeded(written) else { continue };
        assert_eq!(outcomes.len(), messages.len(), "a write has one outcome for each message");
        let mut left = Vec::new();
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Done => {}
                Outcome::Failed(_) => left.push(message),
                Outcome::Fallback | Outcome::Serve(_) | Outcome::OnSuccess(_) | Outcome::Nack(_) => {
                    panic!("message {} was neither done nor failed: {outcome:?}", message.id)
                }
            }
        }
        if left.is_empty() {
            return;
        }
        messages = left;
    }
    panic!("write: it has failed {RETRIES_MAX} times");
}

/// Closes a sink.
pub(super) async fn close(sink: &mut dyn Sink) {
    for _ in 0..RETRIES_MAX {
        if succeeded(within("close", sink.close()).await).is_some() {
            return;
        }
    }
    panic!("close: it has failed {RETRIES_MAX} times");
}

/// What a call gave; none when it is to be made again.
pub(super) fn succeeded<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.class() == Class::Retry => None,
        Err(error) => panic!("{:?}: {}", error.class(), error.chain()),
    }
}
