//! Messages as lines: the payload and a line feed. A payload that has line feeds in it takes several lines.

use model::Message;

pub(super) fn lines(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::with_capacity(messages.iter().map(|message| message.value.len() + 1).sum());
    for message in messages {
        out.extend_from_slice(&message.value);
        out.push(b'\n');
    }
    out
}
