//! How a broker is reached: addresses, login, TLS; and what streams are to be like there. Where the values come from is
//! decided elsewhere. The one invariant: nothing here prints a password, a token or a key.

use std::fmt;
use std::path::PathBuf;

use async_nats::ConnectOptions;
use tokio_rustls::rustls::ClientConfig;

use super::config::BufferConfig;
use super::error::ConnectError;
use crate::tls;

/// How a NATS server is reached.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses such as `nats://host:4222`; any of them will do, and the servers tell of others of their cluster.
    pub urls: Vec<String>,
    /// Who asks.
    pub login: Login,
    /// Whether and how the connection is encrypted.
    pub tls: Tls,
    /// What the server shows as the name of the connection.
    pub name: String,
    /// What the user says of the streams that pipelines have there.
    pub streams: BufferConfig,
}

/// Who asks.
#[derive(Clone, Default)]
pub enum Login {
    /// Nobody in particular, or whoever the address names (`nats://user:password@host`).
    #[default]
    Anybody,
    /// A user.
    User {
        /// Its name.
        name: String,
        /// Its password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A file of credentials: a JWT and the seed of its key.
    Credentials(PathBuf),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("anybody"),
            Self::User { name, password: _ } => write!(f, "user {name}"),
            Self::Token(_) => f.write_str("a token"),
            Self::Credentials(file) => write!(f, "credentials in {}", file.display()),
        }
    }
}

/// Whether and how the connection is encrypted. An address that begins with `tls://` asks for encryption by itself.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Whether a server without TLS is refused.
    pub required: bool,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The certificate that the client shows, and its key (PEM).
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that the system believes.
    #[default]
    System,
    /// Those signed by an authority in this file (PEM).
    Authority(PathBuf),
    /// All: the connection is encrypted, but to whom is not known. A buffer service of the cluster makes a certificate
    /// that nobody else has signed.
    Anyone,
}

impl Settings {
    /// A connection to one address, or several with commas between them, without login or TLS.
    pub fn to(urls: &str) -> Self {
        let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect();
        Self { urls, name: "tidegate".to_owned(), ..Self::default() }
    }

    /// The addresses as they may be shown: without user and password.
    pub fn shown(&self) -> String {
        let shown: Vec<String> = self.urls.iter().map(|url| without_login(url)).collect();
        shown.join(", ")
    }

    /// The options of the client library that these settings stand for.
    pub(super) async fn options(&self) -> Result<ConnectOptions, ConnectError> {
        let mut options = ConnectOptions::new().name(&self.name);
        options = match &self.login {
            Login::Anybody => options,
            Login::User { name, password } => options.user_and_password(name.clone(), password.clone()),
            Login::Token(token) => options.token(token.clone()),
            Login::Credentials(file) => options
                .credentials_file(file)
                .await
                .map_err(|source| ConnectError::Credentials { file: file.clone(), source })?,
        };
        let encrypted = self.urls.iter().any(|url| url.starts_with("tls://"));
        options = options.require_tls(self.tls.required || encrypted);
        options = match &self.tls.trust {
            Trust::System => options,
            Trust::Authority(file) => options.add_root_certificates(file.clone()),
            Trust::Anyone => options.tls_client_config(believes_anyone(self.tls.client.is_some())?),
        };
        if let Some((certificate, key)) = &self.tls.client {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

/// An address without the part before `@`.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

/// A client that encrypts to whoever answers. The library takes either a certificate of the client or a whole
/// configuration, so the two cannot be had together.
fn believes_anyone(shows_certificate: bool) -> Result<ClientConfig, ConnectError> {
    if shows_certificate {
        return Err(ConnectError::CertificateForAnyone);
    }
    tls::to_anyone().map_err(ConnectError::Tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_shown() {
        let mut settings = Settings::to("nats://me:secret@one:4222, tls://two:4222 ,three");
        settings.login = Login::User { name: "me".to_owned(), password: "secret".to_owned() };
        assert_eq!(settings.shown(), "nats://one:4222, tls://two:4222, three");
        assert_eq!(format!("{:?}", settings.login), "user me");
        assert_eq!(format!("{:?}", Login::Token("secret".to_owned())), "a token");
    }
}
