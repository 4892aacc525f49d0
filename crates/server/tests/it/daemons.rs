//! Daemons over gRPC and over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use keeper::health::{Health, Level};
use keeper::load::{Figures, Load, Pending};
use platform::place::{Refusal, RefusalKind};
use proto::daemon as wire;
use proto::daemon::daemon_service_client::DaemonServiceClient;
use proto::mono_vertex_daemon as mono_wire;
use proto::mono_vertex_daemon::mono_vertex_daemon_service_client::MonoVertexDaemonServiceClient;
use serde_json::{Value, json};
use tidegate_server::daemon::{self, Buffer, Daemon, EdgeWatermarks, ReplicaErrors, Subject, Vertex, serve};
use tidegate_server::runtime_errors::Entry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

use super::cluster;

struct Fake {
    subject: Subject,
    is_ready: bool,
}

fn pipeline() -> Fake {
    let vertex = |name: &str, partitions: &[&str]| Vertex {
        name: name.to_owned(),
        is_source: name == "in",
        is_sink: name == "out",
        partitions: partitions.iter().map(|name| (*name).to_owned()).collect(),
    };
    let vertices = vec![
        vertex("in", &["in"]),
        vertex("cat", &["ns-p-cat-0", "ns-p-cat-1"]),
        vertex("out", &["ns-p-out-0"]),
    ];
    Fake { subject: Subject::Pipeline { name: "p".to_owned(), vertices }, is_ready: true }
}

fn mono_vertex() -> Fake {
    Fake { subject: Subject::MonoVertex { name: "mv".to_owned() }, is_ready: true }
}

fn load(rate: Option<f64>, pending: Pending) -> Load {
    let figures = |rate, pending| Figures { rate, pending };
    let windows = [
        ("default", figures(rate, pending)),
        ("1m", figures(rate, pending)),
        ("5m", figures(rate, pending)),
        ("15m", figures(None, Pending::Unseen)),
    ];
    Load { windows: BTreeMap::from(windows) }
}

fn not_found(vertex: &str) -> Refusal {
    Refusal::new(RefusalKind::NotFound, format!("there is no vertex {vertex:?}; there are in, cat, out"))
}

#[async_trait]
impl Daemon for Fake {
    fn subject(&self) -> Subject {
        self.subject.clone()
    }

    async fn buffers(&self) -> Result<Vec<Buffer>, Refusal> {
        let known = Buffer {
            name: "ns-p-cat-0".to_owned(),
            pending: Some(20_000),
            in_hand: Some(4_000),
            stored: Some(30_000),
            length: Some(30_000),
            usage_limit: Some(0.8),
        };
        Ok(vec![known, Buffer { name: "ns-p-cat-1".to_owned(), ..Buffer::default() }])
    }

    async fn loads(&self, vertex: &str) -> Result<Vec<Load>, Refusal> {
        match vertex {
            "in" => Ok(vec![load(Some(12.5), Pending::Untold)]),
            "mv" | "out" => Ok(vec![load(Some(100.0), Pending::Known(42))]),
            "cat" => Ok(vec![load(Some(0.25), Pending::Known(7)), load(None, Pending::Unseen)]),
            other => Err(not_found(other)),
        }
    }

    async fn watermarks(&self) -> Result<Vec<EdgeWatermarks>, Refusal> {
        let edge = |from: &str, to: &str, watermarks: &[Option<i64>], is_enabled| {
            let (from, to) = (from.to_owned(), to.to_owned());
            EdgeWatermarks { from, to, watermarks: watermarks.to_vec(), is_enabled }
        };
        Ok(vec![
            edge("in", "cat", &[Some(1_767_225_661_000), None], true),
            edge("cat", "out", &[Some(1_767_225_660_000)], true),
            edge("cat", "side", &[None], false),
        ])
    }

    async fn health(&self) -> Result<Health, Refusal> {
        Ok(Health { level: Level::Warning, message: "buffer ns-p-cat-0 is nearly full".to_owned() })
    }

    async fn errors(&self, vertex: &str) -> Result<Vec<ReplicaErrors>, Refusal> {
        match vertex {
            "cat" | "mv" => {
                let entry = Entry {
                    container: "udf".to_owned(),
                    timestamp: 1_767_225_661,
                    code: "Internal error".to_owned(),
                    message: "UDF_EXECUTION_ERROR(udf): division by zero".to_owned(),
                    details: String::new(),
                };
                Ok(vec![ReplicaErrors { replica: "p-cat-0".to_owned(), errors: vec![entry] }])
            }
            "in" => Ok(Vec::new()),
            other => Err(not_found(other)),
        }
    }

    async fn ready(&self) -> Result<(), String> {
        if self.is_ready { Ok(()) } else { Err("nothing was heard of the broker yet".to_owned()) }
    }
}

/// A daemon that is served until it is dropped.
struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinSet<()>,
}

impl Served {
    async fn start(daemon: Fake) -> Self {
        let port = cluster::port().await;
        let (address, shutdown) = (port.address(), CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(serve(Arc::new(daemon), port, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        cluster::json(self.address, path).await
    }

    /// A channel of tonic's own client.
    async fn channel(&self) -> Channel {
        let address = self.address;
        let connect = move |_: Uri| async move {
            Ok::<_, std::io::Error>(TokioIo::new(cluster::connect(address, &["h2"]).await))
        };
        Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(connect))
            .await
            .unwrap()
    }
}

const UNSEEN: i64 = i64::MIN;

#[tokio::test]
async fn buffers_are_told_with_what_is_known_of_them() {
    let served = Served::start(pipeline()).await;
    let known = json!({
        "pipeline": "p", "bufferName": "ns-p-cat-0", "pendingCount": "20000", "ackPendingCount": "4000",
        "totalMessages": "30000", "bufferLength": "30000", "bufferUsageLimit": 0.8, "bufferUsage": 0.8,
        "isFull": true,
    });
    let unknown = json!({"pipeline": "p", "bufferName": "ns-p-cat-1"});
    assert_eq!(
        served.get("/api/v1/pipelines/p/buffers").await,
        (StatusCode::OK, json!({"buffers": [known.clone(), unknown]}))
    );
    assert_eq!(
        served.get("/api/v1/pipelines/p/buffers/ns-p-cat-0").await,
        (StatusCode::OK, json!({"buffer": known}))
    );
    let (status, body) = served.get("/api/v1/pipelines/p/buffers/nope").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let message = "pipeline p has no buffer \"nope\"; there are ns-p-cat-0, ns-p-cat-1";
    assert_eq!(body, json!({"code": 5, "message": message}));
}

#[tokio::test]
async fn the_metrics_of_a_vertex_are_by_partition_and_window() {
    let served = Served::start(pipeline()).await;
    let (status, body) = served.get("/api/v1/pipelines/p/vertices/cat/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let unseen = UNSEEN.to_string();
    assert_eq!(
        body,
        json!({"vertexMetrics": [
            {
                "pipeline": "p", "vertex": "cat",
                "processingRates": {"default": 0.25, "1m": 0.25, "5m": 0.25, "15m": UNSEEN as f64},
                "pendings": {"default": "7", "1m": "7", "5m": "7", "15m": unseen},
            },
            {
                "pipeline": "p", "vertex": "cat",
                "processingRates": {
                    "default": UNSEEN as f64, "1m": UNSEEN as f64, "5m": UNSEEN as f64, "15m": UNSEEN as f64,
                },
                "pendings": {"default": unseen, "1m": unseen, "5m": unseen, "15m": unseen},
            },
        ]})
    );
    let (_, body) = served.get("/api/v1/pipelines/p/vertices/in/metrics").await;
    assert_eq!(body["vertexMetrics"][0]["pendings"]["1m"], "-1");
    let (status, body) = served.get("/api/v1/pipelines/p/vertices/nope/metrics").await;
    let message = "there is no vertex \"nope\"; there are in, cat, out";
    assert_eq!((status, body), (StatusCode::NOT_FOUND, json!({"code": 5, "message": message})));
}

#[tokio::test]
async fn watermarks_are_by_edge_and_partition() {
    let served = Served::start(pipeline()).await;
    assert_eq!(
        served.get("/api/v1/pipelines/p/watermarks").await,
        (
            StatusCode::OK,
            json!({"pipelineWatermarks": [
                {
                    "pipeline": "p", "edge": "in-cat", "watermarks": ["1767225661000", "-1"],
                    "isWatermarkEnabled": true, "from": "in", "to": "cat",
                },
                {
                    "pipeline": "p", "edge": "cat-out", "watermarks": ["1767225660000"],
                    "isWatermarkEnabled": true, "from": "cat", "to": "out",
                },
                {
                    "pipeline": "p", "edge": "cat-side", "watermarks": ["0"],
                    "isWatermarkEnabled": false, "from": "cat", "to": "side",
                },
            ]})
        )
    );
}

#[tokio::test]
async fn status_and_errors_have_their_reasons() {
    let served = Served::start(pipeline()).await;
    let status = json!({"status": "warning", "message": "buffer ns-p-cat-0 is nearly full", "code": "D2"});
    assert_eq!(served.get("/api/v1/pipelines/p/status").await, (StatusCode::OK, json!({"status": status})));
    let error = json!({
        "container": "udf", "timestamp": "2026-01-01T00:01:01Z", "code": "Internal error",
        "message": "UDF_EXECUTION_ERROR(udf): division by zero",
    });
    assert_eq!(
        served.get("/api/v1/pipelines/p/vertices/cat/errors").await,
        (StatusCode::OK, json!({"errors": [{"replica": "p-cat-0", "containerErrors": [error]}]}))
    );
    assert_eq!(served.get("/api/v1/pipelines/p/vertices/in/errors").await, (StatusCode::OK, json!({})));
}

#[tokio::test]
async fn a_mono_vertex_has_paths_of_its_own() {
    let served = Served::start(mono_vertex()).await;
    assert_eq!(
        served.get("/api/v1/metrics").await,
        (
            StatusCode::OK,
            json!({"metrics": {
                "monoVertex": "mv",
                "processingRates": {"default": 100, "1m": 100, "5m": 100, "15m": UNSEEN as f64},
                "pendings": {"default": "42", "1m": "42", "5m": "42", "15m": UNSEEN.to_string()},
            }})
        )
    );
    let (_, body) = served.get("/api/v1/status").await;
    assert_eq!(body["status"]["code"], "D2");
    let (_, body) = served.get("/api/v1/mono-vertices/mv/errors").await;
    assert_eq!(body["errors"][0]["containerErrors"][0]["container"], "udf");
    let (status, body) = served.get("/api/v1/pipelines/mv/buffers").await;
    assert_eq!((status, body), (StatusCode::NOT_FOUND, json!({"code": 5, "message": "Not Found"})));
}

#[tokio::test]
async fn grpc_tells_the_same_on_the_same_port() {
    let served = Served::start(pipeline()).await;
    let mut client = DaemonServiceClient::new(served.channel().await);
    let pipeline = || "p".to_owned();
    let buffers = client.list_buffers(wire::ListBuffersRequest { pipeline: pipeline() }).await.unwrap();
    let buffers = buffers.into_inner().buffers;
    assert_eq!((buffers[0].pending_count, buffers[0].is_full), (Some(20_000), Some(true)));
    assert_eq!((buffers[1].pending_count, buffers[1].is_full), (None, None));
    let request = wire::GetBufferRequest { pipeline: pipeline(), buffer: "ns-p-cat-1".to_owned() };
    assert_eq!(client.get_buffer(request).await.unwrap().into_inner().buffer.as_ref(), Some(&buffers[1]));
    let request = wire::GetVertexMetricsRequest { pipeline: pipeline(), vertex: "cat".to_owned() };
    let metrics = client.get_vertex_metrics(request).await.unwrap().into_inner().vertex_metrics;
    assert_eq!(metrics.len(), 2);
    assert_eq!(metrics[0].pendings["default"], 7);
    assert_eq!(metrics[1].pendings["default"], UNSEEN);
    let request = wire::GetPipelineWatermarksRequest { pipeline: pipeline() };
    let edges = client.get_pipeline_watermarks(request).await.unwrap().into_inner().pipeline_watermarks;
    assert_eq!(edges[0].watermarks, [1_767_225_661_000, -1]);
    let request = wire::GetPipelineStatusRequest { pipeline: pipeline() };
    let status = client.get_pipeline_status(request).await.unwrap().into_inner().status.unwrap();
    assert_eq!((status.status.as_str(), status.code.as_str()), ("warning", "D2"));
    let request = wire::GetVertexErrorsRequest { pipeline: pipeline(), vertex: "cat".to_owned() };
    let errors = client.get_vertex_errors(request).await.unwrap().into_inner().errors;
    assert_eq!(errors[0].container_errors[0].timestamp.unwrap().seconds, 1_767_225_661);
    let request = wire::GetVertexMetricsRequest { pipeline: pipeline(), vertex: "nope".to_owned() };
    assert_eq!(client.get_vertex_metrics(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn grpc_of_a_mono_vertex_is_a_service_of_its_own() {
    let served = Served::start(mono_vertex()).await;
    let channel = served.channel().await;
    let mut client = MonoVertexDaemonServiceClient::new(channel.clone());
    let metrics = client.get_mono_vertex_metrics(()).await.unwrap().into_inner().metrics.unwrap();
    assert_eq!((metrics.mono_vertex.as_str(), metrics.pendings["default"]), ("mv", 42));
    let status = client.get_mono_vertex_status(()).await.unwrap().into_inner().status.unwrap();
    assert_eq!(status.code, "D2");
    let request = mono_wire::GetMonoVertexErrorsRequest { mono_vertex: "mv".to_owned() };
    let errors = client.get_mono_vertex_errors(request).await.unwrap().into_inner().errors;
    assert_eq!(errors[0].replica, "p-cat-0");
    let mut other = DaemonServiceClient::new(channel);
    let refused = other.list_buffers(wire::ListBuffersRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn http2_is_for_paths_too_and_other_methods_are_refused() {
    let served = Served::start(pipeline()).await;
    let (status, _, text) =
        cluster::whole(cluster::open_http2(served.address, "GET", "/api/v1/pipelines/p/status").await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("\"D2\""), "{text}");
    let path = "/api/v1/pipelines/p/status";
    let (status, _, text) = cluster::whole(cluster::open(served.address, "POST", path).await).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    assert!(text.contains("\"code\":12"), "{text}");
}

#[tokio::test]
async fn probes_say_whether_it_knows_enough() {
    let served = Served::start(pipeline()).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(cluster::get(served.address, path).await.0, StatusCode::NO_CONTENT, "{path}");
    }
    let served = Served::start(Fake { is_ready: false, ..pipeline() }).await;
    assert_eq!(cluster::get(served.address, "/livez").await.0, StatusCode::NO_CONTENT);
    let (status, _, text) = cluster::get(served.address, "/readyz").await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "nothing was heard of the broker yet")
    );
}

#[tokio::test]
async fn metrics_show_what_is_known() {
    let served = Served::start(pipeline()).await;
    let (status, kind, text) = cluster::get(served.address, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for line in [
        "vertex_pending_messages{pipeline=\"p\",vertex=\"cat\",partition_name=\"ns-p-cat-0\",period=\"1m\"} 7",
        "tidegate_vertex_processing_rate{pipeline=\"p\",vertex=\"in\",partition_name=\"in\",period=\"5m\"} 12.5",
        "pipeline_processing_lag{pipeline=\"p\"} 1000",
        "pipeline_data_processing_health{pipeline=\"p\"} -1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("ns-p-cat-1"), "{text}");
    assert!(text.ends_with("# EOF\n"));
    let served = Served::start(mono_vertex()).await;
    let (_, _, text) = cluster::get(served.address, "/metrics").await;
    assert!(text.contains("monovtx_pending{mvtx_name=\"mv\",period=\"default\"} 42\n"), "{text}");
    assert!(text.contains("monovtx_data_processing_health{mvtx_name=\"mv\"} -1\n"), "{text}");
}

#[tokio::test]
async fn the_end_comes_although_callers_stay_connected() {
    let mut served = Served::start(pipeline()).await;
    let mut client = DaemonServiceClient::new(served.channel().await);
    client.get_pipeline_status(wire::GetPipelineStatusRequest::default()).await.unwrap();
    let idle = cluster::connect(served.address, &[]).await;
    served.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(30), served.serving.join_next()).await;
    assert!(ended.unwrap().unwrap().is_ok());
    drop(idle);
    assert!(client.get_pipeline_status(wire::GetPipelineStatusRequest::default()).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = cluster::port().await;
    let error = tidegate_server::secure::Port::bind(taken.address()).await.err().unwrap();
    assert_eq!(error.to_string(), format!("listen on {}", taken.address()));
    assert_eq!(daemon::PORT, 4327);
}
