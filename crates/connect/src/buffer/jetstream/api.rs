//! What is said to JetStream and what it answers: subjects, JSON, codes of errors and what they mean to the protocol.
//! Nothing here sends. The one invariant: a code that is not known to mean "not done" is never taken for it.

use std::ops::Not;
use std::time::Duration;

use async_nats::HeaderMap;
use lane::broker::{Failure, Identity, StreamState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::link::Question;

/// Facts about the account.
pub(super) const INFO: &str = "$JS.API.INFO";

pub(super) fn stream(verb: &str, stream: &str) -> String {
    format!("$JS.API.STREAM.{verb}.{stream}")
}

pub(super) fn consumer(stream: &str, name: &str) -> String {
    format!("$JS.API.CONSUMER.CREATE.{stream}.{name}")
}

pub(super) fn pull(stream: &str, name: &str) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}")
}

/// A question in JSON.
pub(super) fn question(subject: String, wish: &impl Serialize, patience: Duration) -> Question {
    let payload = serde_json::to_vec(wish).expect("text and numbers can always be written");
    Question { subject: subject.into(), headers: HeaderMap::new(), payload: payload.into(), patience }
}

/// What JetStream says when it does not do something.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    code: u16,
    err_code: u32,
    description: String,
}

impl Refusal {
    const NO_MESSAGE: u32 = 10037;
    const NO_STREAM: u32 = 10059;
    const NAME_IN_USE: u32 = 10058;
    const NOT_ENABLED: [u32; 2] = [10039, 10076];

    pub(super) fn is_no_message(&self) -> bool {
        self.err_code == Self::NO_MESSAGE
    }

    pub(super) fn is_no_stream(&self) -> bool {
        self.err_code == Self::NO_STREAM
    }

    pub(super) fn is_name_in_use(&self) -> bool {
        self.err_code == Self::NAME_IN_USE
    }

    pub(super) fn is_not_enabled(&self) -> bool {
        Self::NOT_ENABLED.contains(&self.err_code)
    }

    pub(super) fn text(&self) -> String {
        format!("{} ({})", self.description, self.err_code)
    }

    /// What it means for a request about a stream, on a server that takes messages of this size.
    pub(super) fn failure(&self, stream: &str, limit: usize) -> Failure {
        match self.err_code {
            // Another one is the last, or one that goes by the same filter is being stored at this moment.
            10071 | 10164 => Failure::Refused,
            // Limits of the account, of the server's memory and of its storage.
            10002 | 10023 | 10028 | 10047 => Failure::Full,
            10077 => stored_not(&self.description, limit),
            10054 | 10097 => Failure::TooLarge { limit },
            Self::NO_STREAM => Failure::NoStream(SmolStr::new(stream)),
            // No leader, too much to do, offline, or JetStream is off: on a server that ran out of disk it is.
            10003 | 10008 | 10009 | 10039 | 10076 | 10118 | 10163 | 10167 => {
                Failure::Unavailable(self.text())
            }
            _ if self.code >= 500 => Failure::Unanswered(self.text()),
            _ => Failure::Denied(self.text()),
        }
    }
}

/// A store that fails says why in words alone. What is not known to have stored nothing may have stored it.
fn stored_not(description: &str, limit: usize) -> Failure {
    if description.contains("maximum messages") || description.contains("maximum bytes") {
        Failure::Full
    } else if description.contains("too large") {
        Failure::TooLarge { limit }
    } else {
        Failure::Unanswered(description.to_owned())
    }
}

/// Reads an answer. What cannot be read is as good as no answer.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<Result<T, Refusal>, Failure> {
    #[derive(Deserialize)]
    struct Head {
        error: Option<Refusal>,
    }
    let unreadable = |error: serde_json::Error| {
        let text = String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        Failure::Unanswered(format!("the answer cannot be read ({error}): {text}"))
    };
    let head: Head = serde_json::from_slice(payload).map_err(unreadable)?;
    match head.error {
        Some(refusal) => Ok(Err(refusal)),
        None => serde_json::from_slice(payload).map(Ok).map_err(unreadable),
    }
}

/// The answer to a publish.
#[derive(Debug, Deserialize)]
pub(super) struct Stored {
    pub(super) seq: u64,
    /// The library of the server may say that it had the message already; its sequence is then no answer to ours.
    #[serde(default)]
    pub(super) duplicate: bool,
}

/// The account, as far as it matters that there is an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Account {}

/// A stream with its settings and its state.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: serde_json::Map<String, serde_json::Value>,
    pub(super) created: String,
    pub(super) state: State,
}

/// What lies in a stream.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct State {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

impl StreamInfo {
    /// The state as the protocol wants it.
    pub(super) fn state(&self) -> Result<StreamState, Failure> {
        let limit = |name: &str| {
            let limit = self.config.get(name).and_then(serde_json::Value::as_i64);
            limit.filter(|limit| *limit > 0).map(i64::unsigned_abs)
        };
        let State { messages, bytes, first_seq, last_seq: last } = self.state;
        // A stream that never held anything says 0 for both.
        let first = if messages == 0 { last + 1 } else { first_seq };
        Ok(StreamState {
            identity: identity(&self.created)?,
            first,
            last,
            messages,
            bytes,
            messages_max: limit("max_msgs"),
            bytes_max: limit("max_bytes"),
        })
    }
}

/// The time of creation in nanoseconds.
fn identity(created: &str) -> Result<Identity, Failure> {
    let time = created.parse::<jiff::Timestamp>().map_err(|error| {
        Failure::Unanswered(format!("the time of creation {created:?} cannot be read: {error}"))
    })?;
    let nanos = i64::try_from(time.as_nanosecond());
    nanos.map(Identity).map_err(|_| Failure::Unanswered(format!("created in the year {created}")))
}

/// The wish for one message.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Get<'a> {
    Last { last_by_subj: &'a str },
    Sequence { seq: u64 },
}

/// One message, as JSON has it.
#[derive(Deserialize)]
pub(super) struct Got {
    pub(super) message: GotMessage,
}

#[derive(Deserialize)]
pub(super) struct GotMessage {
    pub(super) subject: String,
    pub(super) seq: u64,
    /// Base64 of the block of headers.
    #[serde(default)]
    pub(super) hdrs: String,
    /// Base64 of the payload.
    #[serde(default)]
    pub(super) data: String,
}

/// The wish to remove what lies under a filter before a sequence.
#[derive(Serialize)]
pub(super) struct Purge<'a> {
    pub(super) filter: &'a str,
    /// The first that stays.
    pub(super) seq: u64,
}

/// An answer that only says that it is done.
#[derive(Deserialize)]
pub(super) struct Done {}

/// The wish for a consumer.
#[derive(Serialize)]
pub(super) struct CreateConsumer<'a> {
    pub(super) stream_name: &'a str,
    pub(super) config: ConsumerConfig<'a>,
    /// Never one that is there already.
    pub(super) action: &'static str,
}

#[derive(Serialize)]
pub(super) struct ConsumerConfig<'a> {
    pub(super) name: &'a str,
    pub(super) deliver_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opt_start_seq: Option<u64>,
    pub(super) ack_policy: &'static str,
    pub(super) replay_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filter_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) filter_subjects: &'a [String],
    pub(super) headers_only: bool,
    /// Nanoseconds after which the server forgets a consumer that nobody reads.
    pub(super) inactive_threshold: u64,
    pub(super) num_replicas: u32,
    pub(super) mem_storage: bool,
}

/// A consumer as it was made.
#[derive(Debug, Deserialize)]
pub(super) struct ConsumerInfo {
    #[serde(default)]
    pub(super) num_pending: u64,
}

/// The wish for messages.
#[derive(Serialize)]
pub(super) struct Pull {
    pub(super) batch: u64,
    pub(super) max_bytes: u64,
    /// Only what there is now.
    #[serde(skip_serializing_if = "Not::not")]
    pub(super) no_wait: bool,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_heartbeat: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Refusal {
        match read::<Done>(text.as_bytes()) {
            Ok(Err(refusal)) => refusal,
            Ok(Ok(_)) => panic!("{text} is a refusal"),
            Err(failure) => panic!("{text} can be read: {failure}"),
        }
    }

    #[test]
    fn refusals_mean_what_the_server_has_done() {
        let cases = [
            (r#"{"code":400,"err_code":10071,"description":"wrong last sequence: 5"}"#, Failure::Refused),
            (r#"{"code":400,"err_code":10164,"description":"wrong last sequence"}"#, Failure::Refused),
            (r#"{"code":503,"err_code":10077,"description":"maximum messages exceeded"}"#, Failure::Full),
            (r#"{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}"#, Failure::Full),
            (r#"{"code":503,"err_code":10023,"description":"insufficient resources"}"#, Failure::Full),
            (
                r#"{"code":503,"err_code":10077,"description":"write error"}"#,
                Failure::Unanswered("write error".to_owned()),
            ),
            (r#"{"code":400,"err_code":10054,"description":"x"}"#, Failure::TooLarge { limit: 7 }),
            (r#"{"code":404,"err_code":10059,"description":"x"}"#, Failure::NoStream(SmolStr::new("S"))),
            (
                r#"{"code":503,"err_code":10008,"description":"x"}"#,
                Failure::Unavailable("x (10008)".to_owned()),
            ),
            (
                r#"{"code":500,"err_code":19999,"description":"x"}"#,
                Failure::Unanswered("x (19999)".to_owned()),
            ),
            (r#"{"code":400,"err_code":19999,"description":"x"}"#, Failure::Denied("x (19999)".to_owned())),
        ];
        for (error, meaning) in cases {
            let text = format!(r#"{{"type":"t","error":{error}}}"#);
            assert_eq!(refusal(&text).failure("S", 7), meaning, "{text}");
        }
    }

    #[test]
    fn an_empty_stream_begins_after_its_last_sequence() {
        let text = |first: u64, last: u64, messages: u64| {
            format!(
                r#"{{"config":{{"max_msgs":-1,"max_bytes":9}},"created":"2026-01-02T03:04:05.000000006Z",
                   "state":{{"messages":{messages},"bytes":0,"first_seq":{first},"last_seq":{last}}}}}"#
            )
        };
        for (first, last, messages, begins) in [(0, 0, 0, 1), (8, 7, 0, 8), (3, 7, 5, 3)] {
            let info: StreamInfo = serde_json::from_str(&text(first, last, messages)).unwrap();
            let state = info.state().unwrap();
            assert_eq!((state.first, state.last), (begins, last));
            assert_eq!((state.messages_max, state.bytes_max), (None, Some(9)));
            assert_eq!(state.identity, Identity(1_767_323_045_000_000_006));
        }
    }
}
