//! What a `Vertex` object tells of the pipeline around it.

use api::Object;
use api::resolve::{self, Compression, PipelineSettings, UnknownType, VertexKind};
use tidegate_api as api;

const VERTEX: &str = r#"{
  "apiVersion": "numaflow.numaproj.io/v1alpha1", "kind": "Vertex",
  "metadata": {"name": "p-cat", "namespace": "ns", "creationTimestamp": null},
  "spec": {
    "name": "cat", "pipelineName": "p", "interStepBufferServiceName": "", "replicas": 0,
    "udf": {"container": {"image": "x"}, "groupBy": null},
    "partitions": 2, "ordered": {"enabled": false},
    "limits": {"readBatchSize": 100, "bufferMaxLength": 1000, "bufferUsageLimit": 50},
    "watermark": {"disabled": false, "maxDelay": "3s"},
    "interStepBuffer": {"compression": {"type": "zstd"}},
    "fromEdges": [{
      "from": "in", "to": "cat", "conditions": null, "fromVertexType": "Source", "fromVertexPartitionCount": 1,
      "fromVertexLimits": {"readBatchSize": 7}, "toVertexType": "MapUDF", "toVertexPartitionCount": 2
    }],
    "toEdges": [
      {"from": "cat", "to": "out", "conditions": {"tags": {"values": ["a"]}}, "onFull": "discardLatest",
       "fromVertexType": "MapUDF", "toVertexType": "Sink", "toVertexPartitionCount": 3,
       "toVertexLimits": {"bufferMaxLength": 500, "bufferUsageLimit": 80}, "toVertexOrdered": {"enabled": true}},
      {"from": "cat", "to": "sum", "conditions": null, "fromVertexType": "MapUDF", "toVertexType": "ReduceUDF",
       "toVertexPartitionCount": 4},
      {"from": "cat", "to": "cat", "conditions": null, "fromVertexType": "MapUDF", "toVertexType": "MapUDF"}
    ]
  }
}"#;

fn neighbours(text: &str) -> Result<PipelineSettings, UnknownType> {
    let objects = api::load([("f", text.as_bytes())]).accept().expect("a good object").0;
    let Object::Vertex(vertex) = &objects[0] else { panic!("a vertex") };
    resolve::neighbours(vertex)
}

#[test]
fn a_vertex_object_tells_of_the_vertex_and_its_neighbours() {
    let settings = neighbours(VERTEX).expect("types that are known");
    assert_eq!((settings.name.as_str(), settings.namespace.as_str()), ("p", "ns"));
    assert_eq!(settings.inter_step_buffer_service, "default");
    assert_eq!(settings.compression, Compression::Zstd);
    assert_eq!(settings.watermark.max_delay.as_secs(), 3);
    let shown: Vec<_> = settings
        .vertices
        .iter()
        .map(|vertex| (vertex.name.as_str(), vertex.kind, vertex.partitions, vertex.ordered))
        .collect();
    let expected = [
        ("cat", VertexKind::Map, 2, false),
        ("in", VertexKind::Source, 1, false),
        ("out", VertexKind::Sink, 3, true),
        ("sum", VertexKind::Reduce, 4, false),
    ];
    assert_eq!(shown, expected);
    let limits: Vec<_> =
        settings.vertices.iter().map(|vertex| vertex.limits.buffer_usable_length()).collect();
    assert_eq!(limits, [500, 24_000, 400, 24_000]);
    assert_eq!(settings.vertices[0].limits.read_batch_size, 100);
    let edges: Vec<_> = settings.edges.iter().map(|edge| (edge.from.as_str(), edge.to.as_str())).collect();
    assert_eq!(edges, [("in", "cat"), ("cat", "out"), ("cat", "sum"), ("cat", "cat")]);
    assert_eq!(settings.edges[1].tags.as_ref().map(|tags| tags.values.clone()), Some(vec!["a".to_owned()]));
}

#[test]
fn a_neighbour_of_an_unknown_type_is_named() {
    let text = VERTEX.replace(r#""toVertexType": "Sink""#, r#""toVertexType": "Drain""#);
    let unknown = UnknownType { vertex: "out".to_owned(), kind: "Drain".to_owned() };
    assert_eq!(neighbours(&text), Err(unknown));
}
