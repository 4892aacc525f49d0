//! The certificate that a source makes for itself at each start, for `localhost`. Callers cannot verify it, only
//! encrypt to it.

use std::sync::Arc;

use rcgen::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::Error;

/// The names the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Accepts TLS 1.2 and 1.3, and prefers HTTP/2.
pub(super) fn acceptor() -> Result<TlsAcceptor, Error> {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))
        .map_err(|error| Error::Certificate(Box::new(error)))?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|versions| {
            versions.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key.into())
        });
    let mut config = config.map_err(|error| Error::Certificate(Box::new(error)))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
