//! The admission webhook: manifests are refused before they are stored, in the words of `tidegate lint`. What is said is
//! decided in `review`, the certificate is kept by `registrar`. Invariant: nobody depends on it; what it would refuse, a
//! controller refuses too, later and in the status.

mod registrar;
mod review;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::client::Client;
use super::http::{self, Answer};

/// Where the webhook is, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The namespace of the controller.
    pub namespace: String,
    /// The registration.
    pub registration: String,
    /// The port.
    pub port: u16,
}

/// Why the webhook cannot be.
#[derive(Debug, thiserror::Error)]
#[error("listen on port {port} for the API server")]
pub struct Error {
    port: u16,
    #[source]
    source: std::io::Error,
}

/// Answers the API server, and keeps the certificate, until nobody polls it any more.
pub async fn run(client: Client, place: Place) -> Result<(), Error> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, place.port));
    let listener = TcpListener::bind(address).await.map_err(|source| Error { port: place.port, source })?;
    let (sender, certificate) = watch::channel(None);
    let answers: http::Answers = Arc::new(|request, body| {
        if request.uri().path() != deploy::names::WEBHOOK_PATH {
            return Answer::text(StatusCode::NOT_FOUND, "there is nothing here\n");
        }
        match review::answer(body) {
            Ok(body) => Answer { status: StatusCode::OK, content_type: "application/json", body },
            Err(error) => Answer::text(StatusCode::BAD_REQUEST, &format!("{}\n", super::chain(&error))),
        }
    });
    tokio::join!(registrar::keep(client, place, sender), http::serve(listener, Some(certificate), answers));
    Ok(())
}
