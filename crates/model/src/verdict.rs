//! What becomes of a message after user code has spoken. Pure: results in, verdict out.

use std::time::Duration;

use smol_str::SmolStr;

use crate::Message;

/// A result with this tag is dropped and counts as done.
pub const DROP: &str = "U+005C__DROP__";
/// A result with this tag sends the message it was made from back.
pub const NACK: &str = "U+005C__NACK__";
/// A result with this tag asks for the call to be made again, as the retry strategy says.
pub const FAIL: &str = "U+005C__FAIL__";

/// What user code asks for when it sends a message back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nack {
    /// Why, for people.
    pub reason: String,
    /// Give up after so many deliveries; none leaves it to the vertex.
    pub deliveries_max: Option<u32>,
    /// Wait at least so long.
    pub delay: Duration,
}

/// All that user code answered for one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The results in the order given, with the tags user code put on them.
    pub outputs: Vec<Message>,
    /// The options that came with a result tagged [`NACK`], if any.
    pub nack: Option<Box<Nack>>,
}

/// What a [`Reply`] means.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// These results go on; none means that the message is done with. `dropped` were tagged [`DROP`].
    Forward {
        /// What goes on.
        outputs: Vec<Message>,
        /// How many results user code dropped.
        dropped: u32,
    },
    /// The message goes back to be tried again; none of its results count.
    SendBack(Nack),
    /// The call is made again, as the retry strategy says; none of its results count.
    CallAgain,
}

/// Judges a reply: a nack wins over a failed call, and both over everything that goes on, since results of a message
/// that is tried again would be there twice.
pub fn judge(reply: Reply) -> Verdict {
    let has = |message: &Message, tag: &str| message.tags.iter().any(|own| own == tag);
    let Reply { mut outputs, nack } = reply;
    if outputs.iter().all(|output| output.tags.is_empty()) {
        return Verdict::Forward { outputs, dropped: 0 };
    }
    if outputs.iter().any(|output| has(output, NACK)) {
        return Verdict::SendBack(nack.map(|boxed| *boxed).unwrap_or_default());
    }
    if outputs.iter().any(|output| has(output, FAIL)) {
        return Verdict::CallAgain;
    }
    let before = outputs.len();
    outputs.retain(|output| !has(output, DROP));
    Verdict::Forward { dropped: (before - outputs.len()) as u32, outputs }
}

/// How an edge or a bypass looks at tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Every message passes.
    Always,
    /// All of these tags are on the message.
    All(Vec<SmolStr>),
    /// At least one of these tags is on the message.
    Any(Vec<SmolStr>),
    /// None of these tags is on the message.
    None(Vec<SmolStr>),
}

impl Condition {
    /// Whether a message with these tags passes.
    pub fn passes(&self, tags: &[SmolStr]) -> bool {
        match self {
            Self::Always => true,
            Self::All(wanted) => wanted.iter().all(|tag| tags.contains(tag)),
            Self::Any(wanted) => wanted.iter().any(|tag| tags.contains(tag)),
            Self::None(banned) => !banned.iter().any(|tag| tags.contains(tag)),
        }
    }
}
