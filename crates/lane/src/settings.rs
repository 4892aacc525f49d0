//! What the protocol is told of a pipeline, and the streams that the pipeline needs.

use model::Name;
use model::door::buffer::VertexSettings;
use smol_str::SmolStr;

use crate::broker::StreamName;
use crate::names;

/// Units that may write to one partition at most, over all vertices that do.
const LANES_MAX: u64 = 4096;
/// Frames that are settled and not removed yet.
const UNTRIMMED_MAX: u64 = 65_536;

/// One pipeline, as one process sees it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the names of all its streams begin with: letters, digits, `-` and `_`.
    pub prefix: SmolStr,
    /// What this process is called among all of the pipeline, the same over its lives: letters, digits, `-` and `_`.
    pub process: SmolStr,
    /// All vertices of the pipeline.
    pub vertices: Vec<VertexSettings>,
}

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The frames of one partition.
    Partition {
        /// The vertex that reads it.
        vertex: Name,
        /// Its number.
        partition: u16,
    },
    /// Records of units, or notes and what processes say, under keys.
    State,
    /// Ids that sources have committed.
    Ids,
}

/// A stream that has to be there. It keeps everything until it is removed by name, and refuses what it has no room
/// for; nothing in it ever gets too old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: StreamName,
    /// The subjects that it takes.
    pub subjects: Vec<String>,
    /// How many messages it takes at most.
    pub messages_max: Option<u64>,
    /// How many bytes it takes at most.
    pub bytes_max: Option<u64>,
    /// How many messages of one subject it keeps, dropping older ones.
    pub messages_per_subject_max: Option<u64>,
    /// What it is for.
    pub holds: Holds,
}

/// All streams that a pipeline needs.
pub fn layout(settings: &Settings) -> Vec<StreamSpec> {
    let Settings { prefix, process: _, vertices } = settings;
    let mut specs = Vec::new();
    for vertex in vertices {
        for partition in 0..vertex.topology.partitions {
            let name = names::partition(prefix, &vertex.name, partition);
            // A frame holds a message at least, so the frames of what goes round in a circle fit too. Whoever may ever
            // write has room for a claim and a tail beyond that.
            let frames_max =
                vertex.messages_max.saturating_mul(2).saturating_add(5 * LANES_MAX + UNTRIMMED_MAX);
            specs.push(StreamSpec {
                subjects: vec![format!("{name}.>")],
                name,
                messages_max: i64::try_from(frames_max).ok().map(|_| frames_max),
                bytes_max: None,
                messages_per_subject_max: None,
                holds: Holds::Partition { vertex: vertex.name.clone(), partition },
            });
        }
    }
    for (name, holds, messages_per_subject_max) in [
        (names::units(prefix), Holds::State, Some(1)),
        (names::notes(prefix), Holds::State, Some(1)),
        (names::ids(prefix), Holds::Ids, None),
    ] {
        let subjects = vec![format!("{name}.>")];
        specs.push(StreamSpec {
            name,
            subjects,
            messages_max: None,
            bytes_max: None,
            messages_per_subject_max,
            holds,
        });
    }
    specs
}
