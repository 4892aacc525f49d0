//! What every request goes through first. Invariant: a page of some web site that a browser shows on this machine cannot
//! make requests here: neither by a name that it lets point to this machine, nor from its own origin.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Failure;

/// How long a request may take until its answer begins.
const REQUEST: Duration = Duration::from_mins(1);

/// Ends a request that takes too long.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    if let Ok(response) = tokio::time::timeout(REQUEST, next.run(request)).await {
        return response;
    }
    let message = format!("answer within {} s: the place does not", REQUEST.as_secs());
    Failure::new(StatusCode::GATEWAY_TIMEOUT, message).into_response()
}

/// Refuses requests that a browser makes for somebody else.
pub(crate) async fn from_this_machine(request: Request, next: Next) -> Response {
    match refused(request.headers()) {
        Some(message) => Failure::new(StatusCode::FORBIDDEN, message).into_response(),
        None => next.run(request).await,
    }
}

fn refused(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let host = text(header::HOST).unwrap_or_default();
    if !is_this_machine(&host) {
        return Some(format!("answer for the host {host:?}: only names of this machine are served"));
    }
    let origin = text(header::ORIGIN)?;
    let is_same = origin.split_once("://").is_some_and(|(_, of)| of == host);
    (!is_same).then(|| format!("answer a page of {origin}: only pages of {host} may ask"))
}

/// Whether `HOST:PORT` is a name of this machine.
fn is_this_machine(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    };
    let bare = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
    bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{is_this_machine, refused};

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in ["localhost", "localhost:80", "127.0.0.1:8443", "127.1.2.3", "[::1]:80", "[::1]"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:80", "10.0.0.1:80", "localhost.evil.example", "[::2]:80"]
        {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let with = |origin: Option<&'static str>| {
            let mut headers =
                HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:80"))]);
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            refused(&headers)
        };
        assert_eq!(with(None), None);
        assert_eq!(with(Some("http://localhost:80")), None);
        for origin in ["http://localhost:81", "https://evil.example", "null"] {
            assert!(with(Some(origin)).unwrap().contains(origin));
        }
    }
}
