//! Takes callers and ends in order. How many are served at once, and how long they may take to finish, is in `callers`.
//! Invariant: when [`serve`] returns nobody is served any more.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use platform::place::Place;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::callers::{self, Callers};
use crate::guard;
use crate::listener::{Caller, Listener};
use crate::routes::{self, Shared};

/// The largest body of a request.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

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
    let mut callers = Callers::new(ended.clone());
    let end = loop {
        let has_room = callers.has_room();
        tokio::select! {
            biased;
            () = asked.cancelled() => break End::Asked,
            () = ended.cancelled() => break End::Told,
            () = callers.leave() => {}
            caller = listener.accept(), if has_room => match caller {
                Ok(Caller::Unix(stream)) => callers.serve(call(stream, local.clone(), ended.clone())),
                Ok(Caller::Tcp(stream)) => callers.serve(call(stream, remote.clone(), ended.clone())),
                Err(error) => callers::refused(&error).await,
            },
        }
    };
    drop(listener);
    callers.end().await;
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
        .header_read_timeout(callers::HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = ended.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
