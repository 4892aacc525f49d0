//! The master of a group of Redis servers, found by the word of its sentinels.
//!
//! Every sentinel is asked at once, so those that are silent hold nobody up. The client library has a way of its own to
//! ask, but it shows no certificate to a server whose certificate it does not check. Invariant: the connection given is
//! one on which the server has said of itself that it is the master.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisError, Role, TlsCertificates,
};

use super::{Access, Error as Unusable, Sentinel, Tls};

/// The port of a sentinel that names none.
const SENTINEL_PORT: u16 = 26_379;

/// Why no master was found.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("ask the sentinel {endpoint}")]
    Silent {
        endpoint: String,
        #[source]
        cause: RedisError,
    },
    #[error("find the master {master}: the sentinel {endpoint} does not know it")]
    Unknown { endpoint: String, master: String },
    #[error("reach {address}, which is the master by the word of a sentinel")]
    Unreachable {
        address: String,
        #[source]
        cause: RedisError,
    },
    #[error("use {address}: a sentinel says that it is the master, but it is not")]
    NotMaster { address: String },
}

/// See the head of this file.
pub(super) struct Group {
    master: String,
    /// Never empty.
    sentinels: Vec<(String, Client)>,
    /// How servers are talked to. The address stands for whatever the sentinels say.
    server: ConnectionInfo,
}

impl Group {
    /// Nothing is connected here.
    pub(super) fn new(settings: &Sentinel) -> Result<Self, Unusable> {
        let Sentinel { master, endpoints, sentinels, servers, database } = settings;
        if endpoints.is_empty() {
            return Err(Unusable::NoSentinel { master: master.clone() });
        }
        let sentinels = endpoints.iter().map(|endpoint| {
            let client = client(address(endpoint)?, sentinels, None).map_err(Unusable::Sentinel)?;
            Ok((endpoint.clone(), client))
        });
        let server = client((String::new(), 0), servers, *database).map_err(Unusable::Sentinel)?;
        Ok(Self {
            master: master.clone(),
            sentinels: sentinels.collect::<Result<_, _>>()?,
            server: server.get_connection_info().clone(),
        })
    }

    /// A connection to the server that a sentinel names and that agrees. If there is none, the error is that of a server
    /// if one was named, and of a sentinel otherwise.
    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Error> {
        let asked = self.sentinels.iter().map(|(endpoint, client)| self.ask(endpoint, client, config));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut tried = Vec::new();
        let mut failed = None;
        while let Some(named) = asked.next().await {
            let result = match named {
                Ok(server) if tried.contains(&server) => continue,
                Ok(server) => {
                    let result = self.master_at(&server, config).await;
                    tried.push(server);
                    result
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(connection) => return Ok(connection),
                Err(error) if failed.is_none() || !matches!(error, Error::Silent { .. }) => {
                    failed = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failed.expect("whoever was asked gave an error, and at least one was asked"))
    }

    /// Who is the master by the word of a sentinel.
    async fn ask(
        &self,
        endpoint: &str,
        client: &Client,
        config: &AsyncConnectionConfig,
    ) -> Result<(String, u16), Error> {
        let silent = |cause| Error::Silent { endpoint: endpoint.to_owned(), cause };
        let mut sentinel =
            client.get_multiplexed_async_connection_with_config(config).await.map_err(silent)?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let named: Option<(String, u16)> = question.query_async(&mut sentinel).await.map_err(silent)?;
        named.ok_or_else(|| Error::Unknown { endpoint: endpoint.to_owned(), master: self.master.clone() })
    }

    async fn master_at(
        &self,
        (host, port): &(String, u16),
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Error> {
        let address = || format!("{host}:{port}");
        let unreachable = |cause| Error::Unreachable { address: address(), cause };
        let (host, port) = (host.clone(), *port);
        let moved = match self.server.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let client = Client::open(self.server.clone().set_addr(moved)).map_err(unreachable)?;
        let mut server =
            client.get_multiplexed_async_connection_with_config(config).await.map_err(unreachable)?;
        let role: Role = redis::cmd("ROLE").query_async(&mut server).await.map_err(unreachable)?;
        match role {
            Role::Primary { .. } => Ok(server),
            _ => Err(Error::NotMaster { address: address() }),
        }
    }
}

fn client((host, port): (String, u16), access: &Access, database: Option<i64>) -> Result<Client, RedisError> {
    let Access { username, password, tls } = access;
    let mut settings = RedisConnectionInfo::default().set_db(database.unwrap_or(0));
    if let Some(username) = username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    let Some(tls) = tls else {
        let info = ConnectionAddr::Tcp(host, port).into_connection_info()?;
        return Client::open(info.set_redis_settings(settings));
    };
    let address = ConnectionAddr::TcpTls { host, port, insecure: tls.any_certificate, tls_params: None };
    let info = address.into_connection_info()?.set_redis_settings(settings);
    Client::build_with_tls(info, certificates(tls))
}

/// The host and the port of a sentinel, which may be written with a scheme.
fn address(endpoint: &str) -> Result<(String, u16), Unusable> {
    let wrong = || Unusable::Endpoint { endpoint: endpoint.to_owned() };
    let bare = endpoint.strip_prefix("redis://").or_else(|| endpoint.strip_prefix("rediss://"));
    let bare = bare.unwrap_or(endpoint).trim_end_matches('/');
    // The last colon is one of the address itself when that is in brackets.
    let (host, port) = match bare.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        Some(_) | None => (bare, SENTINEL_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() || host.contains('/') || host.contains('@') {
        return Err(wrong());
    }
    Ok((host, port))
}

fn certificates(tls: &Tls) -> TlsCertificates {
    let Tls { any_certificate: _, authority, identity } = tls;
    let identity = identity.as_ref().map(|(certificate, key)| ClientTlsConfig {
        client_cert: certificate.clone().into_bytes(),
        client_key: key.clone().into_bytes(),
    });
    let root_cert = authority.as_ref().map(|authority| authority.clone().into_bytes());
    TlsCertificates { client_tls: identity, root_cert }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_named_with_and_without_port_and_scheme() {
        for (endpoint, expected) in [
            ("sentinel-0:5000", ("sentinel-0", 5000)),
            ("sentinel-0", ("sentinel-0", 26_379)),
            ("redis://sentinel-0:5000/", ("sentinel-0", 5000)),
            ("[::1]:5000", ("::1", 5000)),
            ("[::1]", ("::1", 26_379)),
        ] {
            let (host, port) = address(endpoint).unwrap();
            assert_eq!((host.as_str(), port), expected);
        }
        for endpoint in ["", ":5000", "host:port", "redis://user@host:1", "a/b:1"] {
            assert!(address(endpoint).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn tls_is_spoken_where_it_is_set_and_any_certificate_is_taken_only_where_that_is_set() {
        let spoken = |tls: Option<Tls>| {
            let access = Access { tls, ..Access::default() };
            let client = client(("redis-0".to_owned(), 5000), &access, None).unwrap();
            match client.get_connection_info().addr() {
                ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                    Some((*insecure, tls_params.is_some()))
                }
                _ => None,
            }
        };
        assert_eq!(spoken(None), None);
        assert_eq!(spoken(Some(Tls::default())), Some((false, true)));
        assert_eq!(spoken(Some(Tls { any_certificate: true, ..Tls::default() })), Some((true, true)));
    }
}
