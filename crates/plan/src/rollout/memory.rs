//! What a rollout remembers between two turns, in a form that can be stored. Deciding is elsewhere. Invariant: everything
//! that a turn needs beside its input is in here, so that another process can go on from it.

use std::collections::BTreeSet;

use api::revision::Revision;
use serde::{Deserialize, Serialize};

use super::history::Past;
use super::judge::{Judge, Verdict};
use crate::Time;
use crate::seen::WorkerName;

/// What is remembered of one vertex.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Memory {
    /// The last good version; none before the first one has proved itself.
    pub stable: Option<Revision>,
    /// The version that the manifest asked for at the last turn.
    pub wanted: Option<Revision>,
    /// Another version is served although the manifest asks for `wanted`.
    pub held: Option<Held>,
    /// What is under way.
    pub rollout: Option<Rollout>,
    /// The last time that a version was given up; forgotten with the next edit.
    pub rolled_back: Option<RolledBack>,
    /// The last verdict about a version, with what it was made from.
    pub verdict: Option<Verdict>,
    /// The versions so far, the oldest first.
    pub history: Vec<Past>,
    /// The number of the last word that was obeyed.
    pub obeyed: u64,
    /// The workers that were asked for and those that were told to go and have not gone.
    pub workers: Vec<Known>,
}

/// A version that is not served although it is wanted. It is over as soon as the manifest asks for another one: going
/// back to the same version by two edits is a fresh wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// What the manifest asks for.
    pub wanted: Revision,
    /// What is served instead.
    pub serve: Revision,
}

/// A version was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// What was given up.
    pub from: Revision,
    /// What is served instead.
    pub to: Revision,
    /// Why.
    pub failure: Failure,
    /// The verdict at that time, with its inputs.
    pub verdict: Option<Verdict>,
}

/// Why a rollout failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// A word in camel case, such as `ProgressDeadlineExceeded`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: Time,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The version that is to serve.
    pub to: Revision,
    /// The version to go back to; none at the first start.
    pub from: Option<Revision>,
    /// Why.
    pub why: Why,
    /// Since when.
    pub started: Time,
    /// How far it came.
    pub marks: Marks,
    /// Where it is.
    pub stage: Stage,
    /// What is known about how good the version is.
    pub judge: Judge,
    /// Somebody said to go on, which has had no effect yet.
    pub go_on: bool,
    /// Somebody said to go through with it without judging.
    pub forced: bool,
    /// It has failed and stays where it is.
    pub failed: Option<Failure>,
}

/// Why another version is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// There was none before.
    FirstStart,
    /// The manifest asks for it.
    Edit,
    /// Somebody asked for an earlier version.
    Undo,
    /// It goes back to the last good version. That is neither judged nor given up.
    Return,
}

/// How far a rollout came; the deadline counts from the last time that it came further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marks {
    /// When it came further last.
    pub at: Time,
    /// The most workers of the version that were ready at a time.
    pub ready: u32,
    /// The most that were available at a time.
    pub available: u32,
    /// The fewest workers of other versions.
    pub others: u32,
}

/// Where a rollout is, by the way of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Stage {
    /// Some workers at a time.
    Rolling,
    /// All old ones go, then all others come.
    Recreate,
    /// By steps.
    Canary {
        /// The index of the present step; as many as there are steps when they are over.
        step: usize,
        /// Since when the step is the present one.
        since: Time,
        /// The percentage that is in effect.
        weight: u32,
    },
    /// A second set and a switch.
    BlueGreen {
        /// Since when the second set is complete.
        complete: Option<Time>,
        /// When it was given everything.
        switched: Option<Time>,
    },
}

/// A worker that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Its name.
    pub name: WorkerName,
    /// When it was asked for.
    pub asked: Time,
    /// It was seen since.
    pub seen: bool,
    /// It was available at some time.
    pub proven: bool,
    /// When it was told to go.
    pub going: Option<Time>,
    /// It was told to go because everything stood still. Until it has gone it takes nobody's place.
    #[serde(default)]
    pub dismissed: bool,
}

impl Memory {
    /// Versions that must stay runnable, because workers run them or may have to in the next turn.
    pub fn revisions_in_use(&self) -> BTreeSet<Revision> {
        let mut used: BTreeSet<Revision> =
            self.workers.iter().map(|known| known.name.revision.clone()).collect();
        used.extend(self.stable.clone());
        used.extend(self.wanted.clone());
        used.extend(self.held.iter().map(|held| held.serve.clone()));
        if let Some(rollout) = &self.rollout {
            used.insert(rollout.to.clone());
            used.extend(rollout.from.clone());
        }
        used
    }

    /// Versions that must be kept, because they are in use or somebody may ask for them by their number.
    pub fn revisions_to_keep(&self) -> BTreeSet<Revision> {
        let mut kept = self.revisions_in_use();
        kept.extend(self.history.iter().map(|past| past.revision.clone()));
        kept
    }

    /// The version that is to serve in the end, as far as is known; none before the first turn.
    pub fn serving_target(&self) -> Option<&Revision> {
        match &self.held {
            Some(held) => Some(&held.serve),
            None => self.wanted.as_ref().or(self.stable.as_ref()),
        }
    }

    /// The version that serves: the last good one, or the first one on its way.
    pub fn serving(&self) -> Option<&Revision> {
        self.stable.as_ref().or_else(|| self.rollout.as_ref().map(|rollout| &rollout.to))
    }

    /// Why a version was given up, if it was and nothing has changed since.
    pub fn given_up(&self, wanted: &Revision) -> Option<&RolledBack> {
        let back = self.rolled_back.as_ref().filter(|back| back.from == *wanted);
        back.filter(|_| self.held.as_ref().is_some_and(|held| held.serve != *wanted))
    }
}
