//! The buffer under test, opened over a simulated broker: what vertices there are, which streams they need.

use std::sync::Arc;

use lane::{Driver, Holds, Lanes, Settings, StreamSpec};
use model::Name;
use model::door::Error;
use model::door::buffer::VertexSettings;
use smol_str::{SmolStr, format_smolstr};
use tidegate_lane as lane;

use crate::sim::client::SimBroker;
use crate::sim::cluster::Cluster;
use crate::sim::stream::Shape;

const PREFIX: &str = "sim";

pub(crate) fn settings(process: &str, vertices: &[VertexSettings]) -> Settings {
    let vertices = vertices.to_vec();
    Settings { prefix: SmolStr::new(PREFIX), process: format_smolstr!("{process}"), vertices }
}

/// Makes the streams that the vertices need.
pub(crate) fn create_streams(cluster: &Cluster, vertices: &[VertexSettings]) {
    for spec in lane::layout(&settings("none", vertices)) {
        assert_eq!(
            spec.subjects,
            [format!("{}.>", spec.name)],
            "the simulated broker knows no other subjects"
        );
        let last_per_subject = match spec.messages_per_subject_max {
            None => false,
            Some(1) => true,
            Some(other) => panic!("the simulated broker does not keep {other} messages of a subject"),
        };
        let shape = Shape { messages_max: spec.messages_max, bytes_max: spec.bytes_max, last_per_subject };
        cluster.create(&spec.name, shape);
    }
}

/// The streams that frames lie in, with their vertices and partitions.
pub(crate) fn partitions(vertices: &[VertexSettings]) -> Vec<(SmolStr, Name, u16)> {
    let one = |spec: StreamSpec| match spec.holds {
        Holds::Partition { vertex, partition } => Some((spec.name, vertex, partition)),
        Holds::State | Holds::Ids => None,
    };
    lane::layout(&settings("none", vertices)).into_iter().filter_map(one).collect()
}

pub(crate) async fn open(
    broker: SimBroker,
    process: &str,
    vertices: &[VertexSettings],
) -> Result<(Arc<Lanes<SimBroker>>, Driver), Error> {
    Lanes::open(Arc::new(broker), settings(process, vertices)).await
}
