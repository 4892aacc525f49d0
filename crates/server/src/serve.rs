//! Takes callers and ends in order. Invariant: at most [`CALLERS_MAX`] callers are served at once, and none of them keeps
//! the end from coming for longer than [`GRACE`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use platform::place::Place;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::guard;
use crate::listener::{Caller, Listener};
use crate::routes::{self, Shared};

/// Callers that are served at once; others wait to be taken.
const CALLERS_MAX: usize = 256;
/// The largest body of a request.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a caller may take to say what it wants.
const HEAD: Duration = Duration::from_secs(10);
/// How long callers may take to finish at the end.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait when no caller can be taken, such as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A caller asked for the end of the place.
    Asked,
    /// `shutdown` was cancelled.
    Told,
}

/// Answers callers until one asks for the end or `shutdown` is cancelled. The place is left as it is; ending it is for
/// whoever started it.
pub async fn serve(place: Arc<dyn Place>, listener: Listener, shutdown: CancellationToken) -> End {
    let ended = shutdown.child_token();
    let asked = CancellationToken::new();
    let shared = Shared { place, asked: asked.clone(), ended: ended.clone() };
    let local = routes::router(shared)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(guard::in_time));
    let remote = local.clone().layer(middleware::from_fn(guard::from_this_machine));
    let mut calls = JoinSet::new();
    let end = loop {
        let is_full = calls.len() >= CALLERS_MAX;
        tokio::select! {
            biased;
            () = asked.cancelled() => break End::Asked,
            () = ended.cancelled() => break End::Told,
            Some(call) = calls.join_next() => note(call),
            caller = listener.accept(), if !is_full => match caller {
                Ok(Caller::Unix(stream)) => drop(calls.spawn(call(stream, local.clone(), ended.clone()))),
                Ok(Caller::Tcp(stream)) => drop(calls.spawn(call(stream, remote.clone(), ended.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "a caller could not be taken");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    };
    drop(listener);
    ended.cancel();
    let finished = tokio::time::timeout(GRACE, async {
        while let Some(call) = calls.join_next().await {
            note(call);
        }
    });
    if finished.await.is_err() {
        tracing::warn!(callers = calls.len(), "callers that did not finish were cut off");
    }
    end
}

/// One connection, from the first request to the last.
async fn call(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    ended: CancellationToken,
) -> Result<(), hyper::Error> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = ended.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

fn note(call: Result<Result<(), hyper::Error>, tokio::task::JoinError>) {
    match call {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error: &(dyn std::error::Error + Send + Sync) = &error;
            tracing::debug!(error, "a caller left");
        }
        Err(error) => tracing::error!(error = %io::Error::other(error), "a call failed"),
    }
}
