//! All streams of one pipeline at a time: made, checked, looked at and removed. The one invariant: what is unread is
//! counted before anything is removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use lane::broker::{StreamName, StreamState};
use lane::{Holds, Lanes, Settings, layout};
use model::door::buffer::Buffer as _;
use model::door::buffer::VertexSettings;
use model::{Name, Topology, door};
use smol_str::SmolStr;

use super::Nats;
use super::config::BufferConfig;
use super::streams::{Error, Made, StreamPlan};

/// What a partition takes when nobody says.
const MESSAGES_MAX: u64 = 24_000;
/// What a partition takes in bytes when nobody says.
const BYTES_MAX: u64 = 1 << 30;
/// Slots of a partition when nobody says.
const SLOTS: u16 = 64;

/// The streams of one pipeline on a server.
pub struct Service {
    nats: Arc<Nats>,
    settings: Settings,
    config: BufferConfig,
}

/// One stream as it is found.
#[derive(Debug)]
pub struct Found {
    /// Its name.
    pub name: StreamName,
    /// What it is for.
    pub holds: Holds,
    /// How it is.
    pub state: Result<StreamState, Error>,
}

/// Why it is not known what is unread.
#[derive(Debug, thiserror::Error)]
#[error("count what is unread")]
pub struct Uncounted(#[source] door::Error);

impl Service {
    /// The streams of a pipeline: what their names begin with, its vertices, and what the user says of all of them.
    pub fn new(nats: Arc<Nats>, prefix: &str, vertices: Vec<VertexSettings>, config: BufferConfig) -> Self {
        let vertices = vertices.into_iter().map(|vertex| config.limit(vertex)).collect();
        let settings =
            Settings { prefix: SmolStr::new(prefix), process: SmolStr::new_static("isbsvc"), vertices };
        Self { nats, settings, config }
    }

    /// Makes what is missing and changes what is different. Stops at the first stream that cannot be as it shall be.
    pub async fn create(&self) -> Result<Vec<(StreamName, Made)>, Error> {
        let replicas = self.nats.replicas(&self.config);
        let mut done = Vec::new();
        for spec in layout(&self.settings) {
            let plan = StreamPlan::of(&spec, &self.config, replicas);
            let made = self.nats.create_stream(&plan).await?;
            done.push((plan.name, made));
        }
        Ok(done)
    }

    /// Every stream that there has to be, as it is found.
    pub async fn inspect(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for spec in layout(&self.settings) {
            let state = self.nats.validate_stream(&spec.name).await;
            found.push(Found { name: spec.name, holds: spec.holds, state });
        }
        found
    }

    /// How many messages lie unread before each vertex, of one instant. All streams have to be there.
    pub async fn unread(&self) -> Result<BTreeMap<Name, u64>, Uncounted> {
        let opened = Lanes::open(Arc::clone(&self.nats), self.settings.clone()).await;
        let (lanes, driver) = opened.map_err(Uncounted)?;
        let survey = tokio::select! {
            survey = lanes.survey() => survey.map_err(Uncounted)?,
            () = driver => unreachable!("the driver goes on until it is dropped"),
        };
        let mut unread = BTreeMap::new();
        for slot in survey.slots {
            *unread.entry(slot.level.place.vertex).or_default() += slot.level.messages;
        }
        Ok(unread)
    }

    /// Removes every stream with all that lies in it. Gives those that were there.
    pub async fn delete(&self) -> Result<Vec<StreamName>, Error> {
        let mut removed = Vec::new();
        for spec in layout(&self.settings) {
            if self.nats.delete_stream(&spec.name).await? {
                removed.push(spec.name);
            }
        }
        Ok(removed)
    }
}

impl BufferConfig {
    /// A vertex whose partitions take no more than the user says of all streams.
    pub fn limit(&self, mut vertex: VertexSettings) -> VertexSettings {
        vertex.messages_max = vertex.messages_max.min(self.messages_max.unwrap_or(u64::MAX));
        vertex.bytes_max = vertex.bytes_max.min(self.bytes_max.unwrap_or(u64::MAX));
        vertex
    }
}

/// The vertices that names of buffers and buckets speak of, as the reference's controller gives them: of each partition
/// `<prefix>-<vertex>-<partition>`, of each source `<prefix>-<vertex>_SOURCE`. None for a name that is neither.
pub fn vertices_of(prefix: &str, buffers: &[String], buckets: &[String]) -> Option<Vec<VertexSettings>> {
    let mut partitions: BTreeMap<&str, u16> = BTreeMap::new();
    for buffer in buffers {
        let (vertex, partition) = buffer.strip_prefix(prefix)?.strip_prefix('-')?.rsplit_once('-')?;
        let count = partition.parse::<u16>().ok()?.checked_add(1)?;
        let known = partitions.entry(vertex).or_default();
        *known = count.max(*known);
    }
    for bucket in buckets {
        let rest = bucket.strip_prefix(prefix)?.strip_prefix('-')?;
        if let Some(vertex) = rest.strip_suffix("_SOURCE") {
            partitions.entry(vertex).or_insert(1);
        }
    }
    let vertex = |(name, partitions): (&str, u16)| VertexSettings {
        name: Name::new(name),
        topology: Topology { partitions, slots_per_partition: SLOTS },
        writers: 1,
        messages_max: MESSAGES_MAX,
        bytes_max: BYTES_MAX,
    };
    Some(partitions.into_iter().map(vertex).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_reference_say_which_vertices_there_are() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let buffers = names(&["ns-pl-cat-0", "ns-pl-cat-1", "ns-pl-my-out-0"]);
        let buckets = names(&["ns-pl-in-cat", "ns-pl-in_SOURCE", "ns-pl-my-out_SINK"]);
        let vertices = vertices_of("ns-pl", &buffers, &buckets).unwrap();
        let found: Vec<_> =
            vertices.iter().map(|vertex| (&vertex.name[..], vertex.topology.partitions)).collect();
        assert_eq!(found, [("cat", 2), ("in", 1), ("my-out", 1)]);
        for wrong in ["other-pl-cat-0", "ns-pl-cat", "ns-pl-cat-x", "ns-plcat-0"] {
            assert!(vertices_of("ns-pl", &names(&[wrong]), &[]).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_users_limits_are_kept_by_writers() {
        let (config, _) = BufferConfig::read("stream: {maxMsgs: 100, maxBytes: 5000}").unwrap();
        let vertices = vertices_of("p", &["p-a-0".to_owned()], &[]).unwrap();
        let limited = config.limit(vertices[0].clone());
        assert_eq!((limited.messages_max, limited.bytes_max), (100, 5000));
        let free = BufferConfig::default().limit(vertices[0].clone());
        assert_eq!((free.messages_max, free.bytes_max), (MESSAGES_MAX, BYTES_MAX));
    }
}
