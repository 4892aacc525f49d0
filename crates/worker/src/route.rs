//! Where messages go: which edges, which slots, and how they are cut into frames. Pure.

use std::collections::BTreeMap;
use std::hash::Hasher;

use model::door::buffer::{Bounds, Output, Passage};
use model::frame::Body;
use model::verdict::Condition;
use model::{Message, Place, Slot};
use siphasher::sip::SipHasher13;

use crate::setup::Edge;

/// The most messages in one frame.
pub(crate) const FRAME_MESSAGES_MAX: usize = 4096;

/// How a unit chooses a slot where keys do not.
#[derive(Clone, Debug)]
pub(crate) enum Spread {
    /// Each frame to the next slot: what a source does. A number for each edge, which grows with every frame.
    Rotate(Vec<u64>),
    /// Always the slot of the unit's own number: order is kept from end to end and lanes stay few.
    Own(u64),
}

/// What messages became.
#[derive(Debug, Default)]
pub(crate) struct Routed {
    pub(crate) outputs: Vec<Output>,
    /// Messages that no edge took.
    pub(crate) unmatched: u64,
    /// Messages too large for any frame, with their size.
    pub(crate) oversized: Vec<(Message, usize)>,
}

/// Distributes messages over edges and slots and encodes them.
pub(crate) fn route(messages: &[Message], edges: &[Edge], spread: &mut Spread, bounds: Bounds) -> Routed {
    let mut routed = Routed::default();
    let sized: Vec<Measured<'_>> =
        messages.iter().map(|message| (message, Body::size_max(message))).collect();
    let fits = |(_, size): &Measured<'_>| *size <= bounds.frame_bytes_max;
    let oversized = sized.iter().filter(|sized| !fits(sized));
    routed.oversized = oversized.map(|(message, size)| ((*message).clone(), *size)).collect();
    let open = edges.iter().any(|edge| edge.condition == Condition::Always);
    if !open {
        let takes = |message: &Message| edges.iter().any(|edge| edge.condition.passes(&message.tags));
        routed.unmatched = messages.iter().filter(|message| !takes(message)).count() as u64;
    }
    for (number, edge) in edges.iter().enumerate() {
        let passes = |(message, _): &Measured<'_>| edge.condition.passes(&message.tags);
        let taken = sized.iter().filter(|sized| fits(sized) && passes(sized)).copied();
        if edge.keyed {
            let mut slots: BTreeMap<Slot, Vec<Measured<'_>>> = BTreeMap::new();
            for (message, size) in taken {
                slots.entry(edge.topology.slot(key_hash(message))).or_default().push((message, size));
            }
            for (slot, messages) in slots {
                cut(&messages, bounds, |body| routed.outputs.push(output(edge, slot, body)));
            }
        } else if edge.condition == Condition::Always && routed.oversized.is_empty() {
            cut(&sized, bounds, |body| {
                routed.outputs.push(output(edge, edge.topology.slot(spread.next(number)), body));
            });
        } else {
            let messages: Vec<_> = taken.collect();
            cut(&messages, bounds, |body| {
                routed.outputs.push(output(edge, edge.topology.slot(spread.next(number)), body));
            });
        }
    }
    routed
}

/// A message and the most it takes in a frame.
type Measured<'a> = (&'a Message, usize);

impl Spread {
    /// Rotation over so many edges, beginning after `first`.
    pub(crate) fn rotate(edges: usize, first: u64) -> Self {
        Self::Rotate(vec![first; edges])
    }

    fn next(&mut self, edge: usize) -> u64 {
        match self {
            Self::Rotate(numbers) => {
                numbers[edge] = numbers[edge].wrapping_add(1);
                numbers[edge]
            }
            Self::Own(number) => *number,
        }
    }
}

fn output(edge: &Edge, slot: Slot, body: Body) -> Output {
    Output {
        to: Place { vertex: edge.to.clone(), slot },
        body: body.packed(edge.codec),
        when_full: edge.when_full,
        passage: if edge.back { Passage::Around } else { Passage::Onward },
    }
}

/// Cuts messages into frames that keep both bounds.
fn cut(messages: &[Measured<'_>], bounds: Bounds, mut frame: impl FnMut(Body)) {
    let mut encode =
        |messages: &[Measured<'_>]| frame(Body::encode(messages.iter().map(|(message, _)| *message)));
    let mut start = 0;
    let mut bytes = 0;
    for (at, (_, size)) in messages.iter().enumerate() {
        if at > start && (bytes + size > bounds.frame_bytes_max || at - start == FRAME_MESSAGES_MAX) {
            encode(&messages[start..at]);
            start = at;
            bytes = 0;
        }
        bytes += size;
    }
    if start < messages.len() {
        encode(&messages[start..]);
    }
}

/// SipHash-1-3 with zero keys over the message's keys joined with `:`; the same for every writer, everywhere.
fn key_hash(message: &Message) -> u64 {
    let mut hasher = SipHasher13::new();
    for (number, key) in message.keys.iter().enumerate() {
        if number > 0 {
            hasher.write(b":");
        }
        hasher.write(key.as_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
