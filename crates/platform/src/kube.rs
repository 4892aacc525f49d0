//! A Kubernetes cluster as a place: what is watched there, what is made there, and who does it. What should be so is
//! decided by `plan`; this module looks, asks and acts, as `local` does for one machine. Invariant: every write is
//! idempotent and carries one field manager, so that doing it twice, or by two controllers after another, is doing it
//! once.

pub mod act;
pub mod certificate;
pub mod client;
pub mod config;
pub mod controller;
pub mod daemon;
pub mod events;
mod http;
pub mod isb;
pub mod lease;
pub mod names;
pub mod object;
pub mod place;
pub mod render;
#[cfg(test)]
mod scripted;
pub mod store;
pub mod webhook;

/// Who we are in the `managedFields` of objects.
pub const FIELD_MANAGER: &str = "tidegate";

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        // Some errors print their causes as well.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}
