//! What is wanted of an object: its settings, and what people have asked of it since. Invariant: everything here is a wish
//! that stands, not a message: asking twice is asking once, and the last word counts.

use std::collections::BTreeMap;

use api::resolve::PipelineSettings;
use api::revision::Revision;
use serde::{Deserialize, Serialize};

use crate::Time;

/// What is wanted of an object.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its settings; a mono vertex is a pipeline of one vertex.
    pub settings: &'a PipelineSettings,
    /// Grows with every edit of the object.
    pub generation: u64,
    /// The version that the settings ask for, by vertex.
    pub revisions: &'a BTreeMap<String, Revision>,
    /// What people have asked of single vertices.
    pub asked: &'a BTreeMap<String, Asked>,
    /// The object shall go.
    pub deletion: Option<Deletion>,
    /// Another shape of the object waits (vertices, edges or partitions differ), which can only take over when
    /// everything is drained.
    pub reshape: bool,
}

/// What people have asked of one vertex, beside the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Asked {
    /// A replica count set by hand.
    pub replicas: Option<u32>,
    /// Grows with every time that a count is set, so that setting the same one again counts.
    pub replicas_number: u64,
    /// The last word about its rollout.
    pub word: Option<Word>,
}

/// A word about a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Word {
    /// Grows with every word; one that was obeyed is not obeyed again.
    pub number: u64,
    /// What is asked.
    pub kind: WordKind,
}

/// What can be asked of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WordKind {
    /// Go on: end the present wait; with nothing to wait for, give the wanted version everything.
    Promote,
    /// Go to the wanted version at once, past all steps that are left.
    PromoteFully,
    /// Give up the wanted version and go back to the one before.
    Abort,
    /// Serve an earlier version, by its number in the history; without one, the version before.
    Undo {
        /// The number in the history.
        to: Option<u64>,
    },
    /// Serve this version in place of the one that serves, which is not the wanted one.
    Serve {
        /// The version.
        to: Revision,
    },
    /// Try the wanted version again although it was given up.
    Retry,
}

/// The wish that an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Since when.
    pub since: Time,
    /// Do not drain first.
    pub force: bool,
}
