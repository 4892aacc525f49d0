//! Places for notes where there is no broker: one in the memory of a process, and the way to that place from others.
//! Nothing that has to be true depends on a note. Invariant: a place that begins again is empty, and whoever watched the
//! former one watches it without having to do anything.

pub mod hosted;
pub mod remote;

pub use hosted::HostedMail;
pub use remote::RemoteMail;

use model::door::mail::KEY_TOKENS;
use model::door::{Class, Error};

/// The longest key.
const KEY_BYTES_MAX: usize = 512;
/// The largest note.
pub const NOTE_BYTES_MAX: usize = 1024 * 1024;

/// Refuses what cannot be the beginning of a key; a whole key has [`KEY_TOKENS`] tokens.
fn check(key: &str, tokens: std::ops::RangeInclusive<usize>) -> Result<(), Error> {
    let is_plain = |token: &str| {
        !token.is_empty()
            && token.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    let count = key.split('.').count();
    if key.len() <= KEY_BYTES_MAX && tokens.contains(&count) && key.split('.').all(is_plain) {
        return Ok(());
    }
    let shown: String = key.chars().take(80).collect();
    Err(Error::new(
        Class::Reject,
        format!("use {shown:?} as the key of a note: {KEY_TOKENS} plain tokens are one"),
    ))
}

/// Whether a key lies below the first tokens of one.
fn is_below(key: &str, under: &str) -> bool {
    key.strip_prefix(under).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
