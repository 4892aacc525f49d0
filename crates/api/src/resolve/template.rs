//! What a vertex inherits from the pipeline's vertex template. The invariant: what a vertex says itself is
//! never changed; maps are joined, and a list counts as said when it has anything in it.

use serde_json::Value;

use crate::spec::{PipelineVertex, VertexTemplate};

/// The vertex with what it leaves open taken from the template.
pub fn merge_vertex_template(vertex: &PipelineVertex, template: &VertexTemplate) -> PipelineVertex {
    let mut own = serde_json::to_value(vertex).expect("a vertex is plain data");
    let base = serde_json::to_value(template).expect("a template is plain data");
    merge(&mut own, base);
    serde_json::from_value(own).expect("a template has only fields that a vertex has")
}

fn merge(own: &mut Value, base: Value) {
    match (own, base) {
        (Value::Object(own), Value::Object(base)) => {
            for (key, value) in base {
                match own.get_mut(&key) {
                    Some(present) => merge(present, value),
                    None => {
                        own.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(own), Value::Array(base)) if own.is_empty() => *own = base,
        _ => {}
    }
}
