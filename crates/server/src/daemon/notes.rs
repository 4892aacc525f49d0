//! Notes that a daemon hosts for its workers, where they have no broker to leave them on: put, taken away, asked for, and
//! watched as a stream. What is in a note is nobody's business here. Invariant: a watch that has nothing to say says so
//! every [`ALIVE_EVERY`], so that whoever watches knows that it is there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::stream;
use platform::place::Refusal;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::answer::Failure;

/// Where notes are.
pub const NOTES: &str = "/tidegate/v1/notes";
/// How often a watch says that it lives.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// The largest note.
const NOTE_BYTES_MAX: usize = 1024 * 1024;

/// A place for notes.
#[async_trait]
pub trait Notes: Send + Sync {
    /// Leaves a note.
    async fn put(&self, key: &str, note: Bytes) -> Result<(), Refusal>;
    /// Takes a note away.
    async fn remove(&self, key: &str) -> Result<(), Refusal>;
    /// The note under a key.
    fn get(&self, key: &str) -> Option<Bytes>;
    /// The keys below the first tokens of one.
    fn list(&self, under: &str) -> Vec<String>;
    /// Changes of all keys below the first tokens of one.
    async fn watch(&self, under: &str) -> Result<Box<dyn Changes>, Refusal>;
    /// What a watch sends when there is nothing to say.
    fn alive(&self) -> Bytes;
}

/// Changes as they are sent.
#[async_trait]
pub trait Changes: Send {
    /// The next; none when there will be no more.
    async fn next(&mut self) -> Option<Bytes>;
}

#[derive(Clone)]
struct Shared {
    notes: Arc<dyn Notes>,
    ended: CancellationToken,
}

#[derive(Debug, Deserialize)]
struct Under {
    under: Option<String>,
    /// Only the keys there are, and no stream.
    #[serde(default)]
    list: bool,
}

/// Streams end when `ended` is cancelled.
pub(super) fn router(notes: Arc<dyn Notes>, ended: CancellationToken) -> Router {
    Router::new()
        .route(NOTES, get(below))
        .route(&format!("{NOTES}/{{key}}"), get(note).put(put).delete(remove))
        .layer(DefaultBodyLimit::max(NOTE_BYTES_MAX))
        .with_state(Shared { notes, ended })
}

async fn put(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Failure> {
    shared.notes.put(&key, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(shared): State<Shared>, Path(key): Path<String>) -> Result<StatusCode, Failure> {
    shared.notes.remove(&key).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn note(State(shared): State<Shared>, Path(key): Path<String>) -> Result<Bytes, Failure> {
    let found = shared.notes.get(&key);
    found.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, format!("find note {key:?}: there is none")))
}

async fn below(
    State(shared): State<Shared>,
    query: Result<Query<Under>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(Under { under, list }) = query?;
    let under =
        under.ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST, "watch notes: ?under= is missing"))?;
    if list {
        return Ok(Json(shared.notes.list(&under)).into_response());
    }
    let changes = shared.notes.watch(&under).await?;
    let Shared { notes, ended } = shared;
    let alive = notes.alive();
    // The first word tells whoever watches that it has begun.
    let begin = Some(alive.clone());
    let stream = stream::unfold((changes, begin), move |(mut changes, begin)| {
        let (ended, alive) = (ended.clone(), alive.clone());
        async move {
            if let Some(begin) = begin {
                return Some((Ok::<Bytes, std::convert::Infallible>(begin), (changes, None)));
            }
            tokio::select! {
                change = changes.next() => Some((Ok(change?), (changes, None))),
                () = tokio::time::sleep(ALIVE_EVERY) => Some((Ok(alive), (changes, None))),
                () = ended.cancelled() => None,
            }
        }
    });
    Ok(Body::from_stream(stream).into_response())
}
