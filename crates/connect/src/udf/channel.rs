//! Connections to user code over its unix socket.
//!
//! No HTTP/2 keep-alive pings are sent: gRPC servers of other languages allow one every five minutes and close the
//! connection of a client that sends more. A process that hangs is noticed by its missing answers instead, and asked
//! by a readiness call with a limit.

use std::path::Path;
use std::time::Duration;

use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

/// The largest gRPC message in either direction, as SDKs have it.
pub(crate) const MESSAGE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Stack traces of user code travel in trailers; the usual 16 KiB cut them off.
const HEADER_LIST_MAX_BYTES: u32 = 1024 * 1024;
/// So much may be under way to us before we have read it.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// A listening process accepts at once, even when it is busy.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The path is not one that a connection can be made to.
    #[error("use {0} as the path of a socket")]
    Path(String),
    /// Nobody listens.
    #[error("connect to {path}")]
    Refused {
        /// The socket.
        path: String,
        /// What the connection said.
        #[source]
        cause: tonic::transport::Error,
    },
    /// Somebody listens and does not answer.
    #[error("connect to {0} in time")]
    Slow(String),
}

/// Connects to the socket at `path`.
pub(crate) async fn connect(path: &Path) -> Result<Channel, Error> {
    let shown = path.display().to_string();
    let text = path.to_str().ok_or_else(|| Error::Path(shown.clone()))?;
    let endpoint = Endpoint::from_shared(format!("unix://{text}"))
        .map_err(|_| Error::Path(shown.clone()))?
        .origin(Uri::from_static("http://localhost"))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_LIST_MAX_BYTES);
    match tokio::time::timeout(CONNECT_WAIT, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(cause)) => Err(Error::Refused { path: shown, cause }),
        Err(_) => Err(Error::Slow(shown)),
    }
}
