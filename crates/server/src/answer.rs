//! How an answer looks when it is none: a status code that says whose fault it is, and a body with the reason. Invariant:
//! every failure of every route has this one form, those of the router included.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use platform::place::{Refusal, RefusalKind};
use serde::{Deserialize, Serialize};

/// The body of every failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Why it failed.
    pub error: Refusal,
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    refusal: Refusal,
}

impl Failure {
    /// A failure of the protocol, not of the place.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::NOT_FOUND => RefusalKind::NotFound,
            _ if status.is_server_error() => RefusalKind::Failed,
            _ => RefusalKind::Invalid,
        };
        Self { status, refusal: Refusal::new(kind, message) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Invalid => StatusCode::BAD_REQUEST,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, refusal }
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            // A body of the wrong shape is the same mistake as one that is no JSON.
            JsonRejection::JsonDataError(error) => Self::new(StatusCode::BAD_REQUEST, error.body_text()),
            other => Self::new(other.status(), other.body_text()),
        }
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.refusal })).into_response()
    }
}
