//! What a plan says to people beside what it does: what is waited for, and what happened. Invariant: reasons are single
//! words that programs may match on; messages are sentences for people, with the numbers in them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that should exist or be over and is not yet, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// What waits, such as `vertex cat`.
    pub about: String,
    /// A word in camel case, such as `WorkersNotReady`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Something that happened in this turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Ordinary, or something to look at.
    pub severity: Severity,
    /// What it is about, such as `vertex cat`; empty for the object itself.
    pub about: String,
    /// A word in camel case, such as `RolledBack`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Things go as they should.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Waiting {
    /// Says what waits and why.
    pub fn new(about: impl Into<String>, reason: &str, message: impl Into<String>) -> Self {
        Self { about: about.into(), reason: reason.to_owned(), message: message.into() }
    }
}

impl Event {
    /// An ordinary event.
    pub fn normal(about: impl Into<String>, reason: &str, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.to_owned(), message.into());
        Self { severity: Severity::Normal, about: about.into(), reason, message }
    }

    /// An event that somebody should look at.
    pub fn warning(about: impl Into<String>, reason: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::normal(about, reason, message) }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// A count as people read it: `1 234`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
