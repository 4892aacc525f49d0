//! Who a message is. Ids are structural: they follow from where a message came from, never from a clock or a
//! random number, so that reprocessing gives the same ids and a receiver can recognise a repetition.

use std::fmt;

use smol_str::SmolStr;

/// A vertex name or another short immutable text.
pub type Name = SmolStr;

/// Where a message was read: the acknowledgement identity at its vertex.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An offset given by the outside as text, printed as it is.
    Text(SmolStr),
    /// A number within a source partition, printed `<number>-<partition>`.
    Numbered {
        /// The offset.
        number: u64,
        /// The source partition.
        partition: u16,
    },
    /// A place in a buffer, printed `<sequence>.<position>-<partition>`.
    Buffered {
        /// The frame's sequence number, unique within the partition.
        sequence: u64,
        /// The message's place within its frame, from 0.
        position: u32,
        /// The partition the frame was read from.
        partition: u16,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Numbered { number, partition } => write!(f, "{number}-{partition}"),
            Self::Buffered { sequence, position, partition } => {
                write!(f, "{sequence}.{position}-{partition}")
            }
        }
    }
}

/// The identity of a message, printed `<vertex>-<offset>-<index>`, where the offset of a result of user code is
/// `<offset of its parent>-<index of its parent>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// The vertex that made the message.
    pub vertex: Name,
    /// Where that vertex read what it made the message from.
    pub origin: Origin,
    /// The index of the message it was made from, when it was made by user code.
    pub parent_index: Option<u32>,
    /// Its place among the results of one call, from 0.
    pub index: u32,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent_index {
            Some(parent) => write!(f, "{}-{}-{parent}-{}", self.vertex, self.origin, self.index),
            None => write!(f, "{}-{}-{}", self.vertex, self.origin, self.index),
        }
    }
}

impl Id {
    /// The id of a message as a source hands it over.
    pub fn source(vertex: Name, origin: Origin) -> Self {
        Self { vertex, origin, parent_index: None, index: 0 }
    }
}
