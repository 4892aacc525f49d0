//! The daemon over HTTP: the paths of the reference, its errors, and probes and metrics beside them. Nothing is here but
//! which path is which answer.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use proto::daemon as wire;
use serde_json::json;
use tonic::{Code, Status};

use super::json::ToJson;
use super::{Daemon, Subject, answers, metrics};
use crate::routes::METRICS_TYPE;

type Shared = Arc<dyn Daemon>;

/// Everything that can be asked of this kind of daemon.
pub(super) fn router(daemon: Shared) -> Router {
    let router = match daemon.subject() {
        Subject::Pipeline { .. } => pipeline(),
        Subject::MonoVertex { .. } => mono_vertex(),
    };
    router
        .route("/metrics", get(metrics_page))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(daemon)
}

fn pipeline() -> Router<Shared> {
    const BASE: &str = "/api/v1/pipelines/{pipeline}";
    let route = |router: Router<Shared>, path: &str, handler: MethodRouter<Shared>| {
        router.route(&format!("{BASE}{path}"), handler)
    };
    let router = Router::new();
    let router = route(router, "/buffers", get(list_buffers));
    let router = route(router, "/buffers/{buffer}", get(get_buffer));
    let router = route(router, "/vertices/{vertex}/metrics", get(get_vertex_metrics));
    let router = route(router, "/vertices/{vertex}/errors", get(get_vertex_errors));
    let router = route(router, "/watermarks", get(get_pipeline_watermarks));
    route(router, "/status", get(get_pipeline_status))
}

fn mono_vertex() -> Router<Shared> {
    Router::new()
        .route("/api/v1/metrics", get(get_mono_vertex_metrics))
        .route("/api/v1/status", get(get_mono_vertex_status))
        .route("/api/v1/mono-vertices/{mono_vertex}/errors", get(get_mono_vertex_errors))
}

async fn list_buffers(State(daemon): State<Shared>) -> Response {
    told(answers::list_buffers(&*daemon)).await
}

async fn get_buffer(
    State(daemon): State<Shared>,
    Path((pipeline, buffer)): Path<(String, String)>,
) -> Response {
    told(answers::get_buffer(&*daemon, &wire::GetBufferRequest { pipeline, buffer })).await
}

async fn get_vertex_metrics(
    State(daemon): State<Shared>,
    Path((pipeline, vertex)): Path<(String, String)>,
) -> Response {
    told(answers::get_vertex_metrics(&*daemon, &wire::GetVertexMetricsRequest { pipeline, vertex })).await
}

async fn get_vertex_errors(
    State(daemon): State<Shared>,
    Path((pipeline, vertex)): Path<(String, String)>,
) -> Response {
    told(answers::get_vertex_errors(&*daemon, &wire::GetVertexErrorsRequest { pipeline, vertex })).await
}

async fn get_pipeline_watermarks(State(daemon): State<Shared>) -> Response {
    told(answers::get_pipeline_watermarks(&*daemon)).await
}

async fn get_pipeline_status(State(daemon): State<Shared>) -> Response {
    told(answers::get_pipeline_status(&*daemon)).await
}

async fn get_mono_vertex_metrics(State(daemon): State<Shared>) -> Response {
    told(answers::get_mono_vertex_metrics(&*daemon)).await
}

async fn get_mono_vertex_status(State(daemon): State<Shared>) -> Response {
    told(answers::get_mono_vertex_status(&*daemon)).await
}

async fn get_mono_vertex_errors(State(daemon): State<Shared>) -> Response {
    told(answers::get_mono_vertex_errors(&*daemon)).await
}

async fn metrics_page(State(daemon): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], metrics::page(&*daemon).await).into_response()
}

async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn ready(State(daemon): State<Shared>) -> Response {
    match daemon.ready().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

async fn no_route(headers: HeaderMap, uri: Uri) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Status::unimplemented(format!("there is no method {}", uri.path())).into_http();
    }
    failure(&Status::not_found("Not Found"))
}

async fn no_method(method: Method) -> Response {
    failure(&Status::unimplemented(format!("Method Not Allowed: {method}, only GET is")))
}

async fn told<M: ToJson>(answer: impl Future<Output = Result<M, Status>>) -> Response {
    match answer.await {
        Ok(message) => Json(message.to_json()).into_response(),
        Err(status) => failure(&status),
    }
}

/// The body of a failed request is the status of the failed call.
fn failure(status: &Status) -> Response {
    let body = json!({"code": status.code() as i32, "message": status.message()});
    (http_status(status.code()), Json(body)).into_response()
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
