//! The ports of a pod that processes data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hyper::StatusCode;
use serde_json::json;
use tidegate_server::processor::{NoWatermarks, Pod, serve_errors, serve_metrics};
use tidegate_server::runtime_errors::{Entry, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cluster;

#[derive(Default)]
struct Fake {
    failing: Option<&'static str>,
    is_mono_vertex: bool,
}

impl Fake {
    fn probe(&self) -> Result<(), String> {
        self.failing.map_or(Ok(()), |reason| Err(reason.to_owned()))
    }
}

#[async_trait]
impl Pod for Fake {
    fn metrics(&self) -> String {
        "forwarder_data_read_total{pipeline=\"p\"} 1\n# EOF\n".to_owned()
    }

    async fn ready(&self) -> Result<(), String> {
        self.probe()
    }

    async fn sidecars_live(&self) -> Result<(), String> {
        self.probe()
    }

    fn watermarks(&self, from: Option<&str>) -> Result<BTreeMap<u32, Option<i64>>, NoWatermarks> {
        match from {
            _ if self.is_mono_vertex => Err(NoWatermarks::MonoVertex),
            None => Ok([(0, Some(5)), (1, None), (10, Some(7))].into()),
            Some("in") => Ok([(0, Some(6))].into()),
            Some(other) => Err(NoWatermarks::NoEdge { from: other.to_owned(), known: vec!["in".to_owned()] }),
        }
    }
}

struct Served {
    address: SocketAddr,
    /// Dropped with this, which ends it.
    _serving: JoinSet<()>,
}

async fn metrics(pod: Fake) -> Served {
    let port = cluster::port().await;
    let address = port.address();
    let mut serving = JoinSet::new();
    serving.spawn(serve_metrics(Arc::new(pod), port, CancellationToken::new()));
    Served { address, _serving: serving }
}

async fn errors(store: Store) -> Served {
    let port = cluster::port().await;
    let address = port.address();
    let mut serving = JoinSet::new();
    serving.spawn(serve_errors(Arc::new(store), port, CancellationToken::new()));
    Served { address, _serving: serving }
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let served = metrics(Fake::default()).await;
    let (status, kind, text) = cluster::get(served.address, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(text, "forwarder_data_read_total{pipeline=\"p\"} 1\n# EOF\n");
    let head = cluster::open(served.address, "HEAD", "/metrics").await;
    assert_eq!(head.status(), StatusCode::OK);
}

#[tokio::test]
async fn probes_are_204_or_500_with_the_reason() {
    let served = metrics(Fake::default()).await;
    for path in ["/livez", "/readyz", "/sidecar-livez"] {
        let (status, _, text) = cluster::get(served.address, path).await;
        assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""), "{path}");
    }
    let served = metrics(Fake { failing: Some("udf is not ready"), ..Fake::default() }).await;
    assert_eq!(cluster::get(served.address, "/livez").await.0, StatusCode::NO_CONTENT);
    for path in ["/readyz", "/sidecar-livez"] {
        let (status, _, text) = cluster::get(served.address, path).await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::INTERNAL_SERVER_ERROR, "udf is not ready"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn watermarks_are_by_partition() {
    let served = metrics(Fake::default()).await;
    assert_eq!(
        cluster::json(served.address, "/runtime/watermark").await,
        (StatusCode::OK, json!({"partitions": {"0": 5, "1": -1, "10": 7}}))
    );
    assert_eq!(
        cluster::json(served.address, "/runtime/watermark?from=in").await,
        (StatusCode::OK, json!({"partitions": {"0": 6}}))
    );
    let (status, body) = cluster::json(served.address, "/runtime/watermark?from=x").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body, json!({"error": "no edge comes from vertex \"x\"; edges come from in"}));
    let served = metrics(Fake { is_mono_vertex: true, ..Fake::default() }).await;
    let (status, body) = cluster::json(served.address, "/runtime/watermark").await;
    assert_eq!((status, body), (StatusCode::NOT_FOUND, json!({"error": "a mono vertex has no watermarks"})));
}

#[tokio::test]
async fn runtime_errors_are_read_from_the_files_of_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let served = errors(Store::new(dir.path())).await;
    let head = cluster::open(served.address, "HEAD", "/runtime/errors").await;
    assert_eq!(head.status(), StatusCode::OK);
    let (status, _, text) = cluster::get(served.address, "/runtime/errors").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, r#"{"errorMessage":null,"data":[]}"#));
    let entry = Entry {
        container: "udf".to_owned(),
        timestamp: 7,
        code: "Internal error".to_owned(),
        message: "UDF_EXECUTION_ERROR(udf): x".to_owned(),
        details: "stack".to_owned(),
    };
    Store::new(dir.path()).write(&entry).unwrap();
    let (_, kind, text) = cluster::get(served.address, "/runtime/errors").await;
    assert_eq!(kind, "application/json");
    assert_eq!(
        text,
        r#"{"errorMessage":null,"data":[{"container":"udf","timestamp":7,"code":"Internal error","message":"UDF_EXECUTION_ERROR(udf): x","details":"stack"}]}"#
    );
}

#[tokio::test]
async fn errors_that_cannot_be_read_are_an_error_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let served = errors(Store::new(&file)).await;
    let (status, body) = cluster::json(served.address, "/runtime/errors").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let message = body["errorMessage"].as_str().unwrap();
    assert!(message.starts_with(&format!("list {}: ", file.display())), "{message}");
    assert_eq!(body["data"], json!([]));
}
