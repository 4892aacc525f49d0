//! The JSON form of protobuf messages: 64-bit integers are strings, numbers that are not finite are words, fields with
//! the value that they have when nobody sets them are left out, wrapped values are left out only when they are not set.
//! Invariant: field names are those of the `.proto` files.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use proto::{daemon as wire, mono_vertex_daemon as mono_wire};
use serde_json::{Map, Value};

/// A message that has a JSON form.
pub(super) trait ToJson {
    fn to_json(&self) -> Value;
}

/// A JSON object that leaves out what is not set.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(mut self, name: &str, value: Option<Value>) -> Self {
        self.0.extend(value.map(|value| (name.to_owned(), value)));
        self
    }

    fn text(self, name: &str, text: &str) -> Self {
        self.put(name, (!text.is_empty()).then(|| text.into()))
    }

    fn list(self, name: &str, values: Vec<Value>) -> Self {
        self.put(name, (!values.is_empty()).then_some(Value::Array(values)))
    }

    fn message(self, name: &str, message: Option<&impl ToJson>) -> Self {
        self.put(name, message.map(ToJson::to_json))
    }

    fn messages<M: ToJson>(self, name: &str, messages: &[M]) -> Self {
        self.list(name, messages.iter().map(ToJson::to_json).collect())
    }

    fn map<V: Copy>(self, name: &str, map: &BTreeMap<String, V>, value: impl Fn(V) -> Value) -> Self {
        let entries: Map<_, _> = map.iter().map(|(key, of)| (key.clone(), value(*of))).collect();
        self.put(name, (!entries.is_empty()).then_some(Value::Object(entries)))
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn integer(value: i64) -> Value {
    value.to_string().into()
}

fn number(value: f64) -> Value {
    let word = match value {
        _ if value.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        // A whole number is written without a fraction where that is exact.
        _ if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 => return (value as i64).into(),
        _ => return value.into(),
    };
    word.into()
}

impl ToJson for Timestamp {
    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

impl ToJson for wire::BufferInfo {
    fn to_json(&self) -> Value {
        Object::default()
            .text("pipeline", &self.pipeline)
            .text("bufferName", &self.buffer_name)
            .put("pendingCount", self.pending_count.map(integer))
            .put("ackPendingCount", self.ack_pending_count.map(integer))
            .put("totalMessages", self.total_messages.map(integer))
            .put("bufferLength", self.buffer_length.map(integer))
            .put("bufferUsageLimit", self.buffer_usage_limit.map(number))
            .put("bufferUsage", self.buffer_usage.map(number))
            .put("isFull", self.is_full.map(Value::Bool))
            .done()
    }
}

impl ToJson for wire::ListBuffersResponse {
    fn to_json(&self) -> Value {
        Object::default().messages("buffers", &self.buffers).done()
    }
}

impl ToJson for wire::GetBufferResponse {
    fn to_json(&self) -> Value {
        Object::default().message("buffer", self.buffer.as_ref()).done()
    }
}

impl ToJson for wire::VertexMetrics {
    fn to_json(&self) -> Value {
        Object::default()
            .text("pipeline", &self.pipeline)
            .text("vertex", &self.vertex)
            .map("processingRates", &self.processing_rates, number)
            .map("pendings", &self.pendings, integer)
            .done()
    }
}

impl ToJson for wire::GetVertexMetricsResponse {
    fn to_json(&self) -> Value {
        Object::default().messages("vertexMetrics", &self.vertex_metrics).done()
    }
}

impl ToJson for wire::EdgeWatermark {
    fn to_json(&self) -> Value {
        Object::default()
            .text("pipeline", &self.pipeline)
            .text("edge", &self.edge)
            .list("watermarks", self.watermarks.iter().copied().map(integer).collect())
            .put("isWatermarkEnabled", self.is_watermark_enabled.map(Value::Bool))
            .text("from", &self.from)
            .text("to", &self.to)
            .done()
    }
}

impl ToJson for wire::GetPipelineWatermarksResponse {
    fn to_json(&self) -> Value {
        Object::default().messages("pipelineWatermarks", &self.pipeline_watermarks).done()
    }
}

impl ToJson for wire::PipelineStatus {
    fn to_json(&self) -> Value {
        status(&self.status, &self.message, &self.code)
    }
}

impl ToJson for wire::GetPipelineStatusResponse {
    fn to_json(&self) -> Value {
        Object::default().message("status", self.status.as_ref()).done()
    }
}

impl ToJson for wire::ContainerError {
    fn to_json(&self) -> Value {
        let when = self.timestamp.as_ref();
        container_error(&self.container, when, [&self.code, &self.message, &self.details])
    }
}

impl ToJson for wire::ReplicaErrors {
    fn to_json(&self) -> Value {
        let named = Object::default().text("replica", &self.replica);
        named.messages("containerErrors", &self.container_errors).done()
    }
}

impl ToJson for wire::GetVertexErrorsResponse {
    fn to_json(&self) -> Value {
        Object::default().messages("errors", &self.errors).done()
    }
}

impl ToJson for mono_wire::MonoVertexMetrics {
    fn to_json(&self) -> Value {
        Object::default()
            .text("monoVertex", &self.mono_vertex)
            .map("processingRates", &self.processing_rates, number)
            .map("pendings", &self.pendings, integer)
            .done()
    }
}

impl ToJson for mono_wire::GetMonoVertexMetricsResponse {
    fn to_json(&self) -> Value {
        Object::default().message("metrics", self.metrics.as_ref()).done()
    }
}

impl ToJson for mono_wire::MonoVertexStatus {
    fn to_json(&self) -> Value {
        status(&self.status, &self.message, &self.code)
    }
}

impl ToJson for mono_wire::GetMonoVertexStatusResponse {
    fn to_json(&self) -> Value {
        Object::default().message("status", self.status.as_ref()).done()
    }
}

impl ToJson for mono_wire::ContainerError {
    fn to_json(&self) -> Value {
        let when = self.timestamp.as_ref();
        container_error(&self.container, when, [&self.code, &self.message, &self.details])
    }
}

impl ToJson for mono_wire::ReplicaErrors {
    fn to_json(&self) -> Value {
        let named = Object::default().text("replica", &self.replica);
        named.messages("containerErrors", &self.container_errors).done()
    }
}

impl ToJson for mono_wire::GetMonoVertexErrorsResponse {
    fn to_json(&self) -> Value {
        Object::default().messages("errors", &self.errors).done()
    }
}

fn status(status: &str, message: &str, code: &str) -> Value {
    Object::default().text("status", status).text("message", message).text("code", code).done()
}

fn container_error(container: &str, when: Option<&Timestamp>, texts: [&str; 3]) -> Value {
    let [code, message, details] = texts;
    Object::default()
        .text("container", container)
        .message("timestamp", when)
        .text("code", code)
        .text("message", message)
        .text("details", details)
        .done()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_words() {
        let table = [
            (0.0, json!(0)),
            (-9_223_372_036_854_775_808.0, json!(-9_223_372_036_854_775_808.0)),
            (12.5, json!(12.5)),
            (100.0, json!(100)),
            (f64::NAN, json!("NaN")),
            (f64::INFINITY, json!("Infinity")),
            (f64::NEG_INFINITY, json!("-Infinity")),
        ];
        for (value, expected) in table {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn integers_are_strings_and_times_are_in_utc() {
        assert_eq!(integer(i64::MIN), json!("-9223372036854775808"));
        assert_eq!(Timestamp { seconds: 1_767_225_661, nanos: 0 }.to_json(), json!("2026-01-01T00:01:01Z"));
    }

    #[test]
    fn what_is_not_set_is_left_out_and_a_wrapped_zero_is_set() {
        assert_eq!(wire::BufferInfo::default().to_json(), json!({}));
        assert_eq!(wire::ListBuffersResponse::default().to_json(), json!({}));
        let empty = wire::BufferInfo { pending_count: Some(0), is_full: Some(false), ..Default::default() };
        assert_eq!(empty.to_json(), json!({"pendingCount": "0", "isFull": false}));
    }
}
