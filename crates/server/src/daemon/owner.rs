//! What only the owner of a daemon may ask: whoever decides about its object tells it what is wished and hears what is seen.
//! Invariant: nothing is answered without the token that the daemon was started with, and nothing at all where it was
//! started without one.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use platform::exchange::{Look, Wishes};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::notes::{self, Notes};
use crate::answer::Failure;

/// Where wishes are posted.
pub const WISHES: &str = "/tidegate/v1/wishes";
/// Where looks are asked for.
pub const LOOK: &str = "/tidegate/v1/look";
/// The largest wishes: a manifest and some thousand workers.
const WISHES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Who takes wishes.
#[async_trait]
pub trait Wishing: Send + Sync {
    /// Takes wishes in, and gives what is seen with them as soon as there is something; what was seen before them when that
    /// takes long.
    async fn wish(&self, wishes: Wishes) -> Look;
    /// What is seen later than this, in milliseconds since the Unix epoch; the latest when nothing comes soon.
    async fn look(&self, after: Option<i64>) -> Look;
}

/// The owner of a daemon.
#[derive(Clone)]
pub struct Owner {
    /// What it shows to be known by; none takes no wishes from anybody.
    pub token: Option<String>,
    /// Who takes what it wishes.
    pub wishing: Arc<dyn Wishing>,
    /// Notes that workers with the same token may leave and read, where the daemon hosts them.
    pub notes: Option<Arc<dyn Notes>>,
}

#[derive(Debug, Deserialize)]
struct LookQuery {
    after: Option<i64>,
}

/// Everything that is asked with the token. What lasts ends when `ended` is cancelled.
pub(super) fn router(owner: Owner, ended: CancellationToken) -> Router {
    let Owner { token, wishing, notes } = owner;
    let hosted = notes.map_or_else(Router::new, |notes| notes::router(notes, ended));
    Router::new()
        .route(WISHES, post(wish).layer(DefaultBodyLimit::max(WISHES_BYTES_MAX)))
        .route(LOOK, get(look))
        .with_state(wishing)
        .merge(hosted)
        .layer(middleware::from_fn_with_state(Token::new(token), only_with))
}

/// The token of a daemon.
#[derive(Clone)]
struct Token(Option<Arc<str>>);

impl Token {
    fn new(token: Option<String>) -> Self {
        Self(token.filter(|token| !token.is_empty()).map(Arc::from))
    }
}

/// Refuses whoever does not show the token.
async fn only_with(State(token): State<Token>, request: Request, next: Next) -> Response {
    let Some(expected) = &token.0 else {
        let message =
            "obey: the daemon was started without TIDEGATE_DAEMON_TOKEN, so nobody can be known by it";
        return Failure::new(StatusCode::FORBIDDEN, message).into_response();
    };
    let shown = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let shown = shown.strip_prefix(b"Bearer ").unwrap_or_default();
    if is_same(shown, expected.as_bytes()) {
        return next.run(request).await;
    }
    let message = "obey: the request does not show the token of this daemon (Authorization: Bearer …)";
    Failure::new(StatusCode::UNAUTHORIZED, message).into_response()
}

/// Compares in a time that does not depend on where the two differ.
fn is_same(shown: &[u8], expected: &[u8]) -> bool {
    let of = |at: usize| shown.get(at).copied().unwrap_or_default();
    let differences = expected.iter().enumerate().fold(0, |found, (at, byte)| found | (byte ^ of(at)));
    std::hint::black_box(differences) == 0 && shown.len() == expected.len()
}

async fn wish(
    State(wishing): State<Arc<dyn Wishing>>,
    wishes: Result<Json<Wishes>, JsonRejection>,
) -> Result<Json<Look>, Failure> {
    let Json(wishes) = wishes?;
    Ok(Json(wishing.wish(wishes).await))
}

async fn look(
    State(wishing): State<Arc<dyn Wishing>>,
    query: Result<Query<LookQuery>, QueryRejection>,
) -> Result<Json<Look>, Failure> {
    let Query(LookQuery { after }) = query?;
    Ok(Json(wishing.look(after).await))
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn only_the_whole_token_is_the_same() {
        assert!(is_same(b"abc", b"abc"));
        for shown in [&b""[..], b"a", b"ab", b"abd", b"abcd", b"xbc"] {
            assert!(!is_same(shown, b"abc"), "{shown:?}");
        }
    }
}
