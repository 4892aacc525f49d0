//! What a pod that processes data answers: metrics, probes and watermarks on one TLS port, its runtime errors on another.
//! Nothing is computed here. Invariant: a probe is answered within [`PROBE`], whatever user code does.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::routes::METRICS_TYPE;
use crate::runtime_errors::{self, Entry, Store};
use crate::secure::Port;

/// The port of metrics, probes and watermarks.
pub const METRICS_PORT: u16 = 2469;
/// The port of runtime errors.
pub const ERRORS_PORT: u16 = 2470;
/// How long the user containers may take to say whether they are ready.
const PROBE: Duration = Duration::from_secs(10);

/// What can be asked of a pod.
#[async_trait]
pub trait Pod: Send + Sync {
    /// All metrics, as OpenMetrics text that ends with `# EOF`.
    fn metrics(&self) -> String;
    /// Whether it can process data: started, and every user container says that it is ready. A sentence why not.
    async fn ready(&self) -> Result<(), String>;
    /// Whether every user container answers; a pod whose containers do not is started again. A sentence why not.
    async fn sidecars_live(&self) -> Result<(), String>;
    /// The watermark of each partition that it reads, in milliseconds since the Unix epoch, none while it is not known:
    /// of all that writes there, or of one vertex.
    fn watermarks(&self, from: Option<&str>) -> Result<BTreeMap<u32, Option<i64>>, NoWatermarks>;
}

/// Why there are no watermarks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWatermarks {
    /// A mono vertex has none.
    #[error("a mono vertex has no watermarks")]
    MonoVertex,
    /// They are switched off.
    #[error("watermarks are disabled for this pipeline")]
    Disabled,
    /// No edge comes from there.
    #[error("no edge comes from vertex {from:?}; edges come from {}", known.join(", "))]
    NoEdge {
        /// The vertex asked for.
        from: String,
        /// Those that there are.
        known: Vec<String>,
    },
}

/// A watermark that is not known.
const WATERMARK_UNKNOWN: i64 = -1;

/// The answer about runtime errors.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Errors {
    error_message: Option<String>,
    data: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct WatermarkQuery {
    from: Option<String>,
}

type Shared = Arc<dyn Pod>;

/// Answers on the port of metrics until `shutdown` is cancelled; then lets callers finish.
pub async fn serve_metrics(pod: Arc<dyn Pod>, port: Port, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/sidecar-livez", get(sidecars_live))
        .route("/runtime/watermark", get(watermarks))
        .with_state(pod);
    port.serve(router, shutdown).await;
}

/// Answers on the port of runtime errors until `shutdown` is cancelled; then lets callers finish.
pub async fn serve_errors(store: Arc<Store>, port: Port, shutdown: CancellationToken) {
    let router = Router::new().route("/runtime/errors", get(errors).head(live_errors)).with_state(store);
    port.serve(router, shutdown).await;
}

async fn metrics(State(pod): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], pod.metrics()).into_response()
}

async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn ready(State(pod): State<Shared>) -> Response {
    probed(PROBE, pod.ready()).await
}

async fn sidecars_live(State(pod): State<Shared>) -> Response {
    probed(PROBE, pod.sidecars_live()).await
}

async fn probed(limit: Duration, outcome: impl Future<Output = Result<(), String>>) -> Response {
    let reason = match tokio::time::timeout(limit, outcome).await {
        Ok(Ok(())) => return StatusCode::NO_CONTENT.into_response(),
        Ok(Err(reason)) => reason,
        Err(_) => format!("the user containers did not answer within {limit:?}"),
    };
    (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response()
}

async fn watermarks(
    State(pod): State<Shared>,
    query: Result<Query<WatermarkQuery>, QueryRejection>,
) -> Response {
    let from = match query {
        Ok(Query(WatermarkQuery { from })) => from,
        Err(error) => return (error.status(), Json(json!({"error": error.body_text()}))).into_response(),
    };
    match pod.watermarks(from.as_deref()) {
        Ok(known) => {
            let shown = known.into_iter().map(|(partition, millis)| {
                (partition.to_string(), millis.unwrap_or(WATERMARK_UNKNOWN).into())
            });
            let partitions: serde_json::Map<_, _> = shown.collect();
            Json(json!({"partitions": partitions})).into_response()
        }
        Err(error) => (StatusCode::NOT_FOUND, Json(json!({"error": error.to_string()}))).into_response(),
    }
}

async fn errors(State(store): State<Arc<Store>>) -> Response {
    let read = tokio::task::spawn_blocking(move || store.read()).await;
    let outcome = read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| told(&error)));
    match outcome {
        Ok(data) => Json(Errors { error_message: None, data }).into_response(),
        Err(message) => {
            tracing::warn!(error = message, "runtime errors could not be read");
            let body = Errors { error_message: Some(message), data: Vec::new() };
            (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
        }
    }
}

/// Callers look whether the pod is there; nothing is read for that.
async fn live_errors() -> StatusCode {
    StatusCode::OK
}

fn told(error: &runtime_errors::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn user_code_that_hangs_fails_the_probe() {
        let response = probed(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
