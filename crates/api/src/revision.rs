//! The revision of a vertex: a short text that changes when, and only when, its workers have to be replaced. What a
//! worker reads when it starts is in `normal`. The invariant: two manifests that mean the same to a worker have the
//! same revision, so a default that is written out, scaling, labels and comments replace nobody.

mod normal;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use siphasher::sip::SipHasher24;

use crate::check::Checked;
use crate::fingerprint::canonical_text;
use crate::{MonoVertex, Pipeline};

/// Bits of the hash that its text leaves out: ten hexadecimal digits stay.
const BITS_LEFT_OUT: u32 = 24;

/// A version of what the workers of a vertex run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// Takes a text that was a revision before.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The revision of a vertex of a pipeline. A `restart` word that is not empty is part of it, so that another word
/// replaces the workers of an unchanged manifest.
///
/// # Panics
///
/// When the pipeline has no vertex of that name.
pub fn of_vertex(pipeline: &Checked<Pipeline>, vertex: &str, restart: Option<&str>) -> Revision {
    let worker =
        vertex_worker(pipeline, vertex).expect("the pipeline has the vertex whose revision is asked for");
    revision(&worker, restart)
}

/// The revision of a mono vertex; `restart` as for [`of_vertex`].
pub fn of_mono_vertex(mono_vertex: &Checked<MonoVertex>, restart: Option<&str>) -> Revision {
    revision(&mono_vertex_worker(mono_vertex), restart)
}

/// All that a worker of the vertex has from the manifest: `vertex` as it would be written with every default, the
/// writing vertices in `from`, the edges in `to`, and how frames are packed. Nothing when there is no such vertex.
pub(crate) fn vertex_worker(pipeline: &Checked<Pipeline>, vertex: &str) -> Option<Value> {
    let spec = &pipeline.spec;
    let written = spec.vertices.iter().find(|written| written.name == vertex)?;
    let (from, to) = normal::edges(spec, vertex);
    let compression = normal::compression(spec).filter(|_| !to.is_empty());
    Some(json!({
        "vertex": normal::vertex(spec, written), "from": from, "to": to, "compression": compression,
    }))
}

/// The same for a mono vertex, which has neither edges nor frames.
pub(crate) fn mono_vertex_worker(mono_vertex: &Checked<MonoVertex>) -> Value {
    json!({"vertex": normal::mono_vertex(mono_vertex)})
}

fn revision(worker: &Value, restart: Option<&str>) -> Revision {
    let restart = restart.filter(|word| !word.is_empty());
    let text = canonical_text(&json!({"worker": worker, "restart": restart}));
    Revision(format!("{:010x}", SipHasher24::new().hash(text.as_bytes()) >> BITS_LEFT_OUT))
}
