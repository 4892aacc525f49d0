//! Between what flows here and what stands in the protobuf messages of user code. Pure.
//!
//! Invariant: results keep the headers and the system metadata of the message they were made from; only user metadata
//! is taken from user code, and when it sends none there is none.

use std::time::Duration;

use model::verdict::Nack;
use model::{Groups, Message, Time};
use prost_types::Timestamp;
use proto::metadata::{KeyValueGroup, Metadata};
use proto::nack::NackOptions;
use smol_str::SmolStr;

pub(crate) fn timestamp(time: Time) -> Timestamp {
    let (seconds, nanos) = time.parts();
    Timestamp { seconds, nanos }
}

/// A watermark as user code sees it; one that is not known has a time of its own.
pub(crate) fn watermark(time: Time) -> Timestamp {
    timestamp(if time == Time::MIN { Time::UNKNOWN } else { time })
}

pub(crate) fn time(timestamp: Timestamp) -> Time {
    Time::from_parts(timestamp.seconds, timestamp.nanos)
}

pub(crate) fn metadata(message: &Message) -> Metadata {
    let parts = message.attributes.parts();
    Metadata {
        previous_vertex: message.id.vertex.to_string(),
        sys_metadata: to_groups(&parts.system),
        user_metadata: to_groups(&parts.user),
    }
}

fn to_groups(groups: &Groups) -> std::collections::BTreeMap<String, KeyValueGroup> {
    groups.iter().map(|(name, group)| (name.clone(), KeyValueGroup { key_value: group.clone() })).collect()
}

/// The user metadata of an answer.
pub(crate) fn user_groups(metadata: Option<Metadata>) -> Groups {
    let groups = metadata.map(|metadata| metadata.user_metadata).unwrap_or_default();
    groups.into_iter().map(|(name, group)| (name, group.key_value)).collect()
}

pub(crate) fn keys(message: &Message) -> Vec<String> {
    message.keys.iter().map(SmolStr::to_string).collect()
}

pub(crate) fn names(texts: Vec<String>) -> Vec<SmolStr> {
    texts.into_iter().map(SmolStr::from).collect()
}

pub(crate) fn nack(options: NackOptions) -> Nack {
    Nack {
        reason: options.reason.unwrap_or_default(),
        deliveries_max: options.max_deliveries,
        delay: Duration::from_millis(options.delay.unwrap_or(0)),
    }
}

pub(crate) fn nack_options(nack: &Nack) -> NackOptions {
    NackOptions {
        reason: (!nack.reason.is_empty()).then(|| nack.reason.clone()),
        max_deliveries: nack.deliveries_max,
        delay: (!nack.delay.is_zero()).then(|| u64::try_from(nack.delay.as_millis()).unwrap_or(u64::MAX)),
        nack_map: std::collections::BTreeMap::new(),
    }
}
