//! The versions that a vertex has had, with their numbers. Invariant: one version has one number for ever, and versions
//! in use are never forgotten.

use std::collections::BTreeSet;

use api::revision::Revision;
use serde::{Deserialize, Serialize};

use super::memory::Memory;
use crate::Time;

/// How many versions are remembered beside those in use.
pub const HISTORY_LIMIT: usize = 10;

/// A version that a vertex has had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// Its number, from 1 up.
    pub number: u64,
    /// The version.
    pub revision: Revision,
    /// When it was first asked for.
    pub created_at: Time,
    /// When it was last the good one: it became it, or ceased to be it; none when it never was.
    pub good_at: Option<Time>,
    /// What became of it.
    pub state: State,
}

/// What became of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum State {
    /// It is on its way.
    RollingOut,
    /// It serves and is good.
    Active,
    /// Another one took its place.
    Superseded,
    /// It was given up.
    RolledBack {
        /// Why, in a word.
        reason: String,
        /// Why, in a sentence.
        #[serde(default)]
        message: String,
    },
    /// It failed, and there was nothing to go back to or nobody wished to.
    Failed {
        /// Why, in a word.
        reason: String,
        /// Why, in a sentence.
        #[serde(default)]
        message: String,
    },
}

impl State {
    /// Why the version failed, a sentence; none when it did not.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::RolledBack { message, .. } | Self::Failed { message, .. } => Some(message),
            Self::RollingOut | Self::Active | Self::Superseded => None,
        }
    }
}

impl Memory {
    /// Says what became of a version, and remembers it if it was not known.
    pub(super) fn record(&mut self, revision: &Revision, state: State, now: Time) {
        let is_good = state == State::Active;
        if is_good {
            let others = self.history.iter_mut().filter(|past| past.revision != *revision);
            for past in others.filter(|past| past.state == State::Active) {
                past.state = State::Superseded;
                past.good_at = Some(now);
            }
        }
        let next = self.history.iter().map(|past| past.number).max().unwrap_or(0) + 1;
        let known = self.history.iter().position(|past| past.revision == *revision);
        let index = known.unwrap_or_else(|| {
            let revision = revision.clone();
            let past = Past { number: next, revision, created_at: now, good_at: None, state: state.clone() };
            self.history.push(past);
            self.history.len() - 1
        });
        let past = &mut self.history[index];
        past.state = state;
        if is_good {
            past.good_at = Some(now);
        }
    }

    /// A version that was on its way is not wanted any more.
    pub(super) fn supersede(&mut self, revision: &Revision) {
        let on_its_way = |past: &&mut Past| past.revision == *revision && past.state == State::RollingOut;
        if let Some(past) = self.history.iter_mut().find(on_its_way) {
            past.state = State::Superseded;
        }
    }

    /// Forgets the oldest versions above the limit that nothing uses.
    pub(super) fn forget(&mut self) {
        let used: BTreeSet<Revision> = self.revisions_in_use();
        let unused = self.history.iter().filter(|past| !used.contains(&past.revision)).count();
        let mut over = unused.saturating_sub(HISTORY_LIMIT);
        self.history.retain(|past| {
            let goes = over > 0 && !used.contains(&past.revision);
            over -= usize::from(goes);
            !goes
        });
    }

    /// The version with that number.
    pub(super) fn numbered(&self, number: u64) -> Option<&Revision> {
        self.history.iter().find(|past| past.number == number).map(|past| &past.revision)
    }

    /// The number of a version.
    pub fn number_of(&self, revision: &Revision) -> Option<u64> {
        self.history.iter().find(|past| past.revision == *revision).map(|past| past.number)
    }

    /// The good version before the one that serves.
    pub(super) fn version_before(&self) -> Option<&Revision> {
        let serving = self.serving_target();
        let earlier = self.history.iter().filter(|past| Some(&past.revision) != serving);
        let latest =
            earlier.filter(|past| past.good_at.is_some()).max_by_key(|past| (past.good_at, past.number));
        latest.map(|past| &past.revision)
    }
}
