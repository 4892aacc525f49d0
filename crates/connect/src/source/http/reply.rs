//! What callers are told: every status and body there is.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

pub(super) type Reply = Response<Full<Bytes>>;

fn reply(status: StatusCode, content_type: Option<&'static str>, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    if let Some(content_type) = content_type {
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    reply
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, Some("application/json"), body)
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    reply(status, Some("text/plain; charset=utf-8"), body)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn error_with_id(status: StatusCode, error: &str, id: &str) -> Reply {
    json(status, format!(r#"{{"error":"{error}","id":{}}}"#, quoted(id)))
}

/// 200: everything the message became is durable.
pub(super) fn received(id: &str) -> Reply {
    json(StatusCode::OK, format!(r#"{{"message":"Data received successfully","id":{}}}"#, quoted(id)))
}

/// 200 and nothing more: somebody is here.
pub(super) fn healthy() -> Reply {
    reply(StatusCode::OK, None, Bytes::new())
}

/// 400: a header says what it cannot say.
pub(super) fn bad_header(header: &str, details: &str) -> Reply {
    let body = format!(r#"{{"error":"Invalid {header} header","details":{}}}"#, quoted(details));
    json(StatusCode::BAD_REQUEST, body)
}

/// 400: the body broke off.
pub(super) fn broken_body(details: &str) -> Reply {
    let body = format!(r#"{{"error":"Failed to read the request body","details":{}}}"#, quoted(details));
    json(StatusCode::BAD_REQUEST, body)
}

/// 401: the token is missing or another one.
pub(super) fn unauthorized() -> Reply {
    text(StatusCode::UNAUTHORIZED, "Unauthorized")
}

/// 404: there is no such path.
pub(super) fn not_found() -> Reply {
    reply(StatusCode::NOT_FOUND, None, Bytes::new())
}

/// 405: the path takes other methods.
pub(super) fn method_not_allowed(allowed: &'static str) -> Reply {
    let mut reply = reply(StatusCode::METHOD_NOT_ALLOWED, None, Bytes::new());
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

/// 408: the body did not come in time.
pub(super) fn too_slow() -> Reply {
    json(StatusCode::REQUEST_TIMEOUT, r#"{"error":"The request body did not arrive in time"}"#)
}

/// 409: a message with this id is being worked on.
pub(super) fn duplicate(id: &str) -> Reply {
    error_with_id(StatusCode::CONFLICT, "Duplicate request ID", id)
}

/// 413: the body is larger than a message may be.
pub(super) fn too_large() -> Reply {
    text(StatusCode::PAYLOAD_TOO_LARGE, "Failed to buffer the request body: length limit exceeded")
}

/// 429: there is no room for another message; later there may be.
pub(super) fn full() -> Reply {
    json(
        StatusCode::TOO_MANY_REQUESTS,
        r#"{"error":"Pipeline has stalled, buffer is full","details":"Channel Full: 429"}"#,
    )
}

/// 500: the message was refused downstream.
pub(super) fn refused(id: &str) -> Reply {
    error_with_id(StatusCode::INTERNAL_SERVER_ERROR, "Request processing failed", id)
}

/// 500: the source closed before the message was done.
pub(super) fn interrupted(id: &str) -> Reply {
    error_with_id(StatusCode::INTERNAL_SERVER_ERROR, "Request processing was interrupted", id)
}
