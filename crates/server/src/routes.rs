//! What can be asked over HTTP: one list from which both the router and its description are made. Invariant: a route that
//! is served is described, and the other way round, because there is only the one list.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use platform::place::{Apply, Place, Wish};
use platform::view::{Applied, Event, Finding, History, Incident, Object};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::answer::Failure;
use crate::logs;
use crate::openapi::{self, Operation, Query as Parameter};

/// What all paths of this version of the API begin with.
pub const PREFIX: &str = "/api/v2";
/// How many events are given when nobody says.
const EVENTS: usize = 1_000;
/// The most events that are given at once.
const EVENTS_MAX: usize = 10_000;
/// How long a caller waits for a change.
const WATCH: Duration = Duration::from_secs(25);
/// The type of the metrics page.
pub(crate) const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) place: Arc<dyn Place>,
    /// Cancelled by a caller who asks for the end.
    pub(crate) asked: CancellationToken,
    /// Cancelled when serving ends.
    pub(crate) ended: CancellationToken,
}

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Version {
    /// The version of Tidegate.
    pub version: String,
    /// The API version of the manifests it takes.
    pub api_version: String,
    /// Its process id.
    pub process: u32,
}

/// The version of a place, which grows with every change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Watch {
    /// What to give as `after` next time.
    pub version: u64,
}

/// Which logs to give, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LogsQuery {
    /// Of which object.
    pub object: String,
    /// Of one vertex only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vertex: Option<String>,
    /// Of workers with this number only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<u32>,
    /// Of containers with this name only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How many of the latest lines come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
    /// Whether lines follow as they are written.
    pub follow: bool,
    /// Whether lines begin with the name of their container.
    pub prefix: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EventsQuery {
    object: Option<String>,
    after: u64,
    limit: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeleteQuery {
    force: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WatchQuery {
    after: u64,
}

/// The router of everything.
pub(crate) fn router(shared: Shared) -> Router {
    let mut router = Router::new();
    for (operation, handler) in operations() {
        router = router.route(operation.path, handler);
    }
    router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(shared)
}

/// Everything that can be asked, with what answers it.
#[expect(clippy::too_many_lines, reason = "one flat table")]
pub(crate) fn operations() -> Vec<(Operation, MethodRouter<Shared>)> {
    let of = |method, path, summary, answer| Operation::new(method, path, summary, answer);
    vec![
        (of("get", "/api/v2/objects", "Every object, by name.", "ObjectList"), get(objects)),
        (of("get", "/api/v2/objects/{name}", "One object.", "Object"), get(object)),
        (
            of("post", "/api/v2/apply", "Makes the objects of manifests what they say.", "AppliedList")
                .taking("Apply"),
            post(apply),
        ),
        (
            of("post", "/api/v2/objects/{name}/wishes", "Asks something of an object.", "Object")
                .taking("Wish"),
            post(ask),
        ),
        (
            of("delete", "/api/v2/objects/{name}", "Deletes an object, drained first.", "Object")
                .with(&[Parameter("force", "boolean", "Delete at once, without a drain.")]),
            delete(remove),
        ),
        (
            of("get", "/api/v2/events", "What happened, the oldest first.", "EventList").with(&[
                Parameter("object", "string", "Of one object only."),
                Parameter("after", "integer", "After the event with this number."),
                Parameter("limit", "integer", "At most so many: 1000 unless told, at most 10000."),
            ]),
            get(events),
        ),
        (
            of("get", "/api/v2/objects/{name}/incidents", "The latest errors by name.", "IncidentList"),
            get(incidents),
        ),
        (
            of(
                "get",
                "/api/v2/objects/{name}/why",
                "What may be wrong, the most likely first.",
                "FindingList",
            ),
            get(why),
        ),
        (
            of("get", "/api/v2/objects/{name}/history", "The versions of each vertex.", "History"),
            get(history),
        ),
        (
            of("get", "/api/v2/watch", "Waits for a change, at most 25 s.", "Watch").with(&[Parameter(
                "after",
                "integer",
                "The version that is known already.",
            )]),
            get(watch),
        ),
        (
            of("get", "/api/v2/logs", "What user containers print, as plain text.", openapi::TEXT).with(&[
                Parameter("object", "string", "Of which object; needed."),
                Parameter("vertex", "string", "Of one vertex only."),
                Parameter("replica", "integer", "Of workers with this number only."),
                Parameter("container", "string", "Of containers with this name only."),
                Parameter(
                    "tail",
                    "integer",
                    "So many of the latest lines first: 100 unless told, at most 10000.",
                ),
                Parameter("follow", "boolean", "Go on with lines as they are written."),
                Parameter("prefix", "boolean", "Begin each line with the name of its container."),
            ]),
            get(logs),
        ),
        (
            of("post", "/api/v2/shutdown", "Ends the place; objects keep their state.", "Watch"),
            post(shutdown),
        ),
        (of("get", "/api/v2/version", "Who answers.", "Version"), get(version)),
        (of("get", "/api/v2/openapi.json", "This description.", openapi::ANY), get(description)),
        (of("get", "/metrics", "Metrics of everything, as OpenMetrics text.", openapi::TEXT), get(metrics)),
        (of("get", "/livez", "Says `ok` while it answers.", openapi::TEXT), get(live)),
    ]
}

type Answer<T> = Result<Json<T>, Failure>;
type Asked<T> = Result<Query<T>, QueryRejection>;

async fn objects(State(shared): State<Shared>) -> Answer<Vec<Object>> {
    Ok(Json(shared.place.objects().await?))
}

async fn object(State(shared): State<Shared>, Path(name): Path<String>) -> Answer<Object> {
    Ok(Json(shared.place.object(&name).await?))
}

async fn apply(
    State(shared): State<Shared>,
    body: Result<Json<Apply>, JsonRejection>,
) -> Answer<Vec<Applied>> {
    let Json(apply) = body?;
    Ok(Json(shared.place.apply(apply).await?))
}

async fn ask(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Result<Json<Wish>, JsonRejection>,
) -> Answer<Object> {
    let Json(wish) = body?;
    Ok(Json(shared.place.ask(&name, wish).await?))
}

async fn remove(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    query: Asked<DeleteQuery>,
) -> Answer<Object> {
    let Query(DeleteQuery { force }) = query?;
    Ok(Json(shared.place.ask(&name, Wish::Delete { force }).await?))
}

async fn events(State(shared): State<Shared>, query: Asked<EventsQuery>) -> Answer<Vec<Event>> {
    let Query(EventsQuery { object, after, limit }) = query?;
    let limit = limit.unwrap_or(EVENTS);
    if !(1..=EVENTS_MAX).contains(&limit) {
        let message = format!("give {limit} events: the limit is a number from 1 to {EVENTS_MAX}");
        return Err(Failure::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(Json(shared.place.events(object.as_deref(), after, limit).await?))
}

async fn incidents(State(shared): State<Shared>, Path(name): Path<String>) -> Answer<Vec<Incident>> {
    Ok(Json(shared.place.incidents(&name).await?))
}

async fn why(State(shared): State<Shared>, Path(name): Path<String>) -> Answer<Vec<Finding>> {
    Ok(Json(shared.place.why(&name).await?))
}

async fn history(State(shared): State<Shared>, Path(name): Path<String>) -> Answer<History> {
    Ok(Json(shared.place.history(&name).await?))
}

async fn watch(State(shared): State<Shared>, query: Asked<WatchQuery>) -> Answer<Watch> {
    let Query(WatchQuery { after }) = query?;
    let version = tokio::select! {
        version = shared.place.changed(after) => version,
        () = tokio::time::sleep(WATCH) => after,
        () = shared.ended.cancelled() => after,
    };
    Ok(Json(Watch { version }))
}

async fn logs(State(shared): State<Shared>, query: Asked<LogsQuery>) -> Result<Response, Failure> {
    let Query(query) = query?;
    let body = logs::body(shared.place, query, shared.ended).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

async fn shutdown(State(shared): State<Shared>) -> (StatusCode, Json<Watch>) {
    shared.asked.cancel();
    (StatusCode::ACCEPTED, Json(Watch::default()))
}

async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api_version: api::API_VERSION.to_owned(),
        process: std::process::id(),
    })
}

async fn description() -> Json<serde_json::Value> {
    Json(openapi::document())
}

async fn metrics(State(shared): State<Shared>) -> Result<Response, Failure> {
    let page = shared.place.metrics().await?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], page).into_response())
}

async fn live() -> &'static str {
    "ok\n"
}

async fn no_route() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        format!("find this path; those that exist are in {PREFIX}/openapi.json"),
    )
}

async fn no_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("use this method here; {PREFIX}/openapi.json says which exist"),
    )
}
