//! The message and what travels with it. Values are shared, never copied; headers and metadata are carried as
//! one immutable block that costs nothing when it is empty.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::wire::{self, Malformed};
use crate::{Id, Name, Origin, Time};

/// One message on its way through a vertex.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who it is; made by the vertex that wrote it.
    pub id: Id,
    /// Where this vertex read it.
    pub offset: Origin,
    /// Its keys, in order; often none.
    pub keys: Vec<SmolStr>,
    /// The payload.
    pub value: Bytes,
    /// When it happened, as its source or transformer says.
    pub event_time: Time,
    /// Headers and metadata.
    pub attributes: Attributes,
    /// Tags put on by user code; they never leave the vertex.
    pub tags: Vec<SmolStr>,
    /// Set once the message has been sent back to be tried again.
    pub redelivery: Option<Box<Redelivery>>,
}

/// How often a message has been handed out before, and when it may be again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// Deliveries so far; the first try is 1.
    pub attempt: u32,
    /// Not to be handed out before this time.
    pub not_before: Time,
    /// After so many deliveries the message counts as exhausted; none means no bound of its own.
    pub deliveries_max: Option<u32>,
    /// Why it was sent back, for people.
    pub reason: String,
}

impl Message {
    /// A message as a source hands it over: its id follows from the vertex and the offset.
    pub fn from_source(vertex: Name, offset: Origin, value: Bytes, event_time: Time) -> Self {
        Self {
            id: Id::source(vertex, offset.clone()),
            offset,
            keys: Vec::new(),
            value,
            event_time,
            attributes: Attributes::default(),
            tags: Vec::new(),
            redelivery: None,
        }
    }

    /// Result number `index` of user code at `vertex` called with this message. Event time, offset, headers and
    /// system metadata are the parent's; keys, value, tags and user metadata are what user code says.
    pub fn child(&self, vertex: &Name, index: u32, value: Bytes) -> Self {
        Self {
            id: Id {
                vertex: vertex.clone(),
                origin: self.offset.clone(),
                parent_index: Some(self.id.index),
                index,
            },
            offset: self.offset.clone(),
            keys: Vec::new(),
            value,
            event_time: self.event_time,
            attributes: self.attributes.clone(),
            tags: Vec::new(),
            redelivery: None,
        }
    }

    /// Result number `index` of a source transformer: as [`Message::child`], but the id does not name the parent's
    /// index, since a source message has only one.
    pub fn transformed(&self, index: u32, value: Bytes, event_time: Time) -> Self {
        let mut result = self.child(&self.id.vertex, index, value);
        result.id.parent_index = None;
        result.event_time = event_time;
        result
    }

    /// About how many bytes the message takes in a frame; used to cut frames.
    pub fn size_hint(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| key.len() + 2).sum();
        24 + self.value.len() + keys + self.attributes.encoded_len()
    }
}

/// Metadata: group name → key → value.
pub type Groups = BTreeMap<String, BTreeMap<String, Bytes>>;

/// The readable form of [`Attributes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Headers, fixed by the source; user code cannot change them.
    pub headers: BTreeMap<String, String>,
    /// Metadata written by the platform.
    pub system: Groups,
    /// Metadata written by user code.
    pub user: Groups,
}

/// Headers and metadata of a message: immutable, shared between a message and its results, encoded once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Option<Arc<Block>>);

#[derive(Debug, PartialEq)]
struct Block {
    parts: Parts,
    encoded: Bytes,
}

static EMPTY: LazyLock<Parts> = LazyLock::new(Parts::default);

impl Attributes {
    /// Attributes from their parts; empty parts cost nothing.
    pub fn new(parts: Parts) -> Self {
        if parts == *EMPTY {
            return Self(None);
        }
        let encoded = wire::encode_parts(&parts);
        Self(Some(Arc::new(Block { parts, encoded })))
    }

    /// Attributes from the bytes that [`Attributes::encoded`] gave.
    pub(crate) fn decode(encoded: &Bytes) -> Result<Self, Malformed> {
        if encoded.is_empty() {
            return Ok(Self(None));
        }
        let parts = wire::decode_parts(encoded)?;
        Ok(Self(Some(Arc::new(Block { parts, encoded: encoded.clone() }))))
    }

    /// The parts.
    pub fn parts(&self) -> &Parts {
        self.0.as_ref().map_or(&EMPTY, |block| &block.parts)
    }

    /// True when there is neither a header nor metadata.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes as they stand in a frame.
    pub(crate) fn encoded(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |block| &block.encoded)
    }

    fn encoded_len(&self) -> usize {
        self.encoded().len()
    }

    /// The same headers and system metadata with this user metadata: what a result of user code carries.
    pub fn with_user(&self, user: Groups) -> Self {
        if self.parts().user == user {
            return self.clone();
        }
        Self::new(Parts { user, ..self.parts().clone() })
    }

    /// The same attributes with one value of system metadata set.
    pub fn with_system(&self, group: &str, key: &str, value: Bytes) -> Self {
        let mut parts = self.parts().clone();
        parts.system.entry(group.to_owned()).or_default().insert(key.to_owned(), value);
        Self::new(parts)
    }
}
