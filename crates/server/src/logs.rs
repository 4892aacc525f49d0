//! What user containers print, merged into one stream of text. Reading files is in [`crate::files`]. Invariant: a reader
//! costs one bounded buffer for each log, and nothing is read for a reader that does not take what it got.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use futures::stream;
use platform::place::{Place, Refusal, RefusalKind};
use platform::view::Object;
use tokio_util::sync::CancellationToken;

use crate::answer::Failure;
use crate::files::{self, Follower};
use crate::routes::LogsQuery;

/// How many lines come first when nobody says.
const TAIL: usize = 100;
/// The most lines that come first.
const TAIL_MAX: usize = 10_000;
/// The most logs in one stream.
const LOGS_MAX: usize = 256;
/// How often logs are looked at for further lines.
const LOOK: Duration = Duration::from_millis(200);
/// How often the object is looked at for further containers.
const LOOK_AT_OBJECT: Duration = Duration::from_secs(1);

/// A log, by the name of its container.
type Logs = BTreeMap<String, PathBuf>;

/// The stream for a query.
pub(crate) async fn body(
    place: Arc<dyn Place>,
    query: LogsQuery,
    ended: CancellationToken,
) -> Result<Body, Failure> {
    let tail = query.tail.unwrap_or(TAIL);
    if tail > TAIL_MAX {
        let message = format!("give {tail} lines: at most {TAIL_MAX} come at once");
        return Err(Failure::new(StatusCode::BAD_REQUEST, message));
    }
    let object = place.object(&query.object).await?;
    let logs = select(&object, &query)?;
    let reading = Reading {
        place,
        query,
        ended,
        followers: logs.into_iter().map(|(name, path)| (name, Follower::new(path))).collect(),
        looked: Instant::now(),
        is_last: false,
    };
    let (first, reading) = blocking(reading, move |reading| reading.first(tail)).await?;
    let first = (!first.is_empty()).then_some(first);
    let chunks = stream::unfold((first, reading), |(first, reading)| async move {
        match first {
            Some(first) => Some((Ok::<_, std::io::Error>(first), (None, reading))),
            None => reading.next().await.map(|(chunk, reading)| (Ok(chunk), (None, reading))),
        }
    });
    Ok(Body::from_stream(chunks))
}

/// The logs that a query names.
fn select(object: &Object, query: &LogsQuery) -> Result<Logs, Refusal> {
    let mut logs = Logs::new();
    let mut all = Vec::new();
    for vertex in &object.vertices {
        let is_mixed = vertex.revisions.iter().filter(|revision| !revision.workers.is_empty()).count() > 1;
        for revision in &vertex.revisions {
            for worker in &revision.workers {
                for container in &worker.containers {
                    let Some(log) = &container.log else { continue };
                    let version = if is_mixed { format!("-{}", revision.revision) } else { String::new() };
                    let name = format!("{}{version}-{}/{}", vertex.name, worker.replica, container.name);
                    all.push(name.clone());
                    let is_meant = query.vertex.as_ref().is_none_or(|wanted| *wanted == vertex.name)
                        && query.replica.is_none_or(|wanted| wanted == worker.replica)
                        && query.container.as_ref().is_none_or(|wanted| *wanted == container.name);
                    if is_meant && logs.len() < LOGS_MAX {
                        logs.insert(name, PathBuf::from(log));
                    }
                }
            }
        }
    }
    if logs.is_empty() {
        let exist = if all.is_empty() {
            "no user container has printed anything".to_owned()
        } else {
            format!("there are {}", all.join(", "))
        };
        let message = format!("find such a log of {}: {exist}", object.name);
        return Err(Refusal::new(RefusalKind::NotFound, message));
    }
    Ok(logs)
}

/// A stream under way.
struct Reading {
    place: Arc<dyn Place>,
    query: LogsQuery,
    ended: CancellationToken,
    followers: BTreeMap<String, Follower>,
    looked: Instant,
    /// The object is gone: what is there is all there will be.
    is_last: bool,
}

impl Reading {
    /// The latest lines of all logs, in the order of their times.
    fn first(&mut self, tail: usize) -> String {
        let mut lines: Vec<(String, String)> = Vec::new();
        for (name, follower) in &mut self.followers {
            lines.extend(follower.tail(tail).into_iter().map(|line| (line, name.clone())));
        }
        // Each line begins with its time, in a form that sorts as text.
        lines.sort_by(|(left, _), (right, _)| files::time_of(left).cmp(files::time_of(right)));
        let skipped = lines.len().saturating_sub(tail);
        let is_named = self.query.prefix;
        lines.drain(..skipped);
        lines.into_iter().map(|(line, name)| format_line(&line, &name, is_named)).collect()
    }

    /// The lines that were written since.
    fn more(&mut self) -> String {
        let is_named = self.query.prefix;
        let mut text = String::new();
        for (name, follower) in &mut self.followers {
            for line in follower.more() {
                text.push_str(&format_line(&line, name, is_named));
            }
        }
        text
    }

    /// Waits for the next lines; none when there will be no more.
    async fn next(mut self) -> Option<(String, Self)> {
        while self.query.follow {
            let (text, reading) = blocking(self, Self::more).await.ok()?;
            self = reading;
            if !text.is_empty() {
                return Some((text, self));
            }
            if self.is_last {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.ended.cancelled() => return None,
            }
            if self.looked.elapsed() >= LOOK_AT_OBJECT {
                self.look().await;
            }
        }
        None
    }

    /// Finds containers that were started since.
    async fn look(&mut self) {
        self.looked = Instant::now();
        match self.place.object(&self.query.object).await {
            Ok(object) => {
                for (name, path) in select(&object, &self.query).unwrap_or_default() {
                    if self.followers.len() < LOGS_MAX {
                        self.followers.entry(name).or_insert_with(|| Follower::new(path));
                    }
                }
            }
            Err(refusal) => self.is_last = refusal.kind == RefusalKind::NotFound,
        }
    }
}

fn format_line(line: &str, name: &str, is_named: bool) -> String {
    if is_named { format!("{name} | {line}\n") } else { format!("{line}\n") }
}

/// Reads files where that holds nobody up.
async fn blocking(
    mut reading: Reading,
    read: impl FnOnce(&mut Reading) -> String + Send + 'static,
) -> Result<(String, Reading), Failure> {
    let task = tokio::task::spawn_blocking(move || {
        let text = read(&mut reading);
        (text, reading)
    });
    task.await.map_err(|error| {
        tracing::error!(%error, "reading logs failed");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "read logs: the reader failed")
    })
}
