//! Why a broker cannot be used, in sentences that say what to do. Failures of single requests are
//! [`lane::broker::Failure`].

use std::path::PathBuf;

use tokio_rustls::rustls;

use super::version::Version;

/// Why there is no connection that a buffer can be built on.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers.
    #[error("reach a NATS server at {urls}: look whether it runs and whether the address is right")]
    Unreachable {
        /// The addresses, without logins.
        urls: String,
        /// What happened.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server does not let us in.
    #[error(
        "log in at the NATS server at {urls} as {login}: it refuses the user, password, token or credentials"
    )]
    Login {
        /// The addresses, without logins.
        urls: String,
        /// Who asked.
        login: String,
        /// What happened.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The handshake failed.
    #[error("talk TLS with the NATS server at {urls}: give the authority that signed its certificate")]
    Handshake {
        /// The addresses, without logins.
        urls: String,
        /// What happened.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The address cannot be read.
    #[error("read the address {urls}: write it like nats://host:4222")]
    Address {
        /// The addresses, without logins.
        urls: String,
        /// What happened.
        #[source]
        source: async_nats::ConnectError,
    },
    /// There is no address.
    #[error("find the NATS server: no address is given; write one like nats://host:4222")]
    NoAddress,
    /// The file of credentials cannot be read.
    #[error("read the credentials in {}", file.display())]
    Credentials {
        /// The file.
        file: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// A certificate of the client makes sense only towards a server that is known.
    #[error(
        "set up TLS: a client's certificate needs the authority of the server's certificate; give both or none"
    )]
    CertificateForAnyone,
    /// The server is too old.
    #[error(
        "use the NATS server at {urls}: it is version {found}, and {needed} or later is needed, which can compare \
         the last sequence over several subjects before it stores a message"
    )]
    TooOld {
        /// The addresses, without logins.
        urls: String,
        /// What the server says it is.
        found: String,
        /// The oldest that will do.
        needed: Version,
    },
    /// The server does not store anything.
    #[error(
        "use JetStream of the NATS server at {urls}: {reason}; start the server with `-js` or a `jetstream` block in \
         its configuration, and enable it for the account"
    )]
    NoJetStream {
        /// The addresses, without logins.
        urls: String,
        /// What the server says.
        reason: String,
    },
    /// The user may not do what a buffer needs.
    #[error(
        "use JetStream of the NATS server at {urls}: {reason}; allow the user to publish to `$JS.API.>` and to the \
         subjects of the streams, and to subscribe to `_INBOX.>`"
    )]
    NotAllowed {
        /// The addresses, without logins.
        urls: String,
        /// What the server says.
        reason: String,
    },
    /// The server answered the first question not at all or not in a way that can be understood.
    #[error("use the NATS server at {urls}: {reason}")]
    NoAnswer {
        /// The addresses, without logins.
        urls: String,
        /// What happened.
        reason: String,
    },
}

impl ConnectError {
    /// Whether the same attempt may succeed later without anybody changing a setting.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::NoJetStream { .. } => true,
            Self::Login { .. }
            | Self::Handshake { .. }
            | Self::Address { .. }
            | Self::NoAddress
            | Self::Credentials { .. }
            | Self::Tls(_)
            | Self::CertificateForAnyone
            | Self::TooOld { .. }
            | Self::NotAllowed { .. } => false,
        }
    }
}
