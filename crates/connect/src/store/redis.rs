//! A pool in Redis, which workers of several processes share: one server, or the master of a group under Sentinel.
//!
//! Keys and what they hold are those of the reference, so that its workers and ours can be members of one pool: a sorted
//! set of heartbeats, one of beliefs, and a hash with a sorted set of times for what members had reached when they left.
//! What has to happen in one step is a script. Invariant: a connection on which anything went wrong is never used again;
//! the next call opens one, and asks Sentinel again where the master is.

use std::error::Error as StdError;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use model::door::store::{Agreement, Registered, Store};
use model::door::{Class, Error as DoorError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisError, Script};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

use self::group::Group;
use super::Seat;

mod group;

/// How long opening a connection may take, and how long an answer.
const CONNECT_MAX: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Where Redis is.
#[derive(Clone)]
pub enum Server {
    /// One server.
    Single {
        /// `redis://`, `rediss://` or `unix://`, with user and password if need be.
        url: String,
        /// The database, instead of the one in the address.
        database: Option<i64>,
    },
    /// The master of a group.
    Sentinel(Box<Sentinel>),
}

/// A group of servers under Sentinel.
#[derive(Clone)]
pub struct Sentinel {
    /// The name of the master.
    pub master: String,
    /// `HOST:PORT` of each sentinel; the port may be left out.
    pub endpoints: Vec<String>,
    /// How the sentinels are talked to.
    pub sentinels: Access,
    /// How the servers are talked to.
    pub servers: Access,
    /// The database.
    pub database: Option<i64>,
}

/// How a server is talked to.
#[derive(Clone, Default)]
pub struct Access {
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// TLS, if it is spoken.
    pub tls: Option<Tls>,
}

/// Settings of TLS. Certificates and keys are PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// Any certificate is taken.
    pub any_certificate: bool,
    /// The authority to trust instead of those the world trusts.
    pub authority: Option<String>,
    /// The certificate and the key to show.
    pub identity: Option<(String, String)>,
}

/// Why a store cannot be opened: its settings make no sense. Whether it can be reached only shows later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the server is none.
    #[error(
        "use the address of the Redis server: it must look like redis://HOST:PORT, rediss:// or unix://PATH"
    )]
    Address(#[source] RedisError),
    /// The address of a sentinel is none.
    #[error("use {endpoint} as a sentinel: it must look like HOST:PORT")]
    Endpoint {
        /// What was written.
        endpoint: String,
    },
    /// Nobody can be asked for the master.
    #[error("use the master {master} under Sentinel: name at least one sentinel in `endpoints`")]
    NoSentinel {
        /// The name of the master.
        master: String,
    },
    /// The group cannot be asked for with these settings.
    #[error("use the settings of the group under Sentinel")]
    Sentinel(#[source] RedisError),
}

/// A member of a pool.
pub struct RedisStore {
    seat: Seat,
    way: Way,
    at: String,
    connection: Mutex<Option<MultiplexedConnection>>,
    register: Script,
    sync: Script,
    deregister: Script,
}

enum Way {
    Single(Box<Client>),
    Sentinel(Box<Group>),
}

impl RedisStore {
    /// Takes a seat in a pool. Nothing is connected before the first call.
    pub fn open(server: &Server, seat: Seat) -> Result<Self, Error> {
        // The client takes whatever the process has as its provider; without one it would not know which to take.
        if CryptoProvider::get_default().is_none() {
            // Somebody else may have been faster, and theirs does as well.
            drop(ring::default_provider().install_default());
        }
        let (way, at) = match server {
            Server::Single { url, database } => single(url, *database)?,
            Server::Sentinel(settings) => {
                let at = format!("{} under {}", settings.master, settings.endpoints.join(", "));
                (Way::Sentinel(Box::new(Group::new(settings)?)), at)
            }
        };
        Ok(Self {
            seat,
            way,
            at,
            connection: Mutex::new(None),
            register: Script::new(include_str!("register.lua")),
            sync: Script::new(include_str!("sync.lua")),
            deregister: Script::new(include_str!("deregister.lua")),
        })
    }

    fn held(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().expect("nothing panics while a connection is handed out")
    }

    /// A key of the pool.
    fn key(&self, what: &str) -> String {
        format!("{}:{what}", self.seat.pool())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Box<dyn StdError + Send + Sync>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX));
        match &self.way {
            Way::Single(client) => Ok(client.get_multiplexed_async_connection_with_config(&config).await?),
            Way::Sentinel(group) => Ok(group.connect(&config).await?),
        }
    }

    async fn call<T: FromRedisValue>(&self, script: &Script, call: Call<'_>) -> Result<T, DoorError> {
        let Call { what, keys, arguments } = call;
        let failed = |error: Box<dyn StdError + Send + Sync>| {
            let attempted = format!("{what} in the pool {} of Redis at {}", self.seat.pool(), self.at);
            DoorError::caused(Class::Retry, attempted, error)
        };
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(self.key(key));
        }
        invocation.arg(self.seat.member());
        for argument in arguments {
            invocation.arg(*argument);
        }
        // Whoever drops this future midway leaves no connection behind that might give the answer to the next call.
        let held = self.held().take();
        let mut connection = match held {
            Some(connection) => connection,
            None => self.connect().await.map_err(failed)?,
        };
        let answer = invocation.invoke_async(&mut connection).await.map_err(|error| failed(error.into()))?;
        *self.held() = Some(connection);
        Ok(answer)
    }
}

/// What a script is called with, after the name of the member.
struct Call<'a> {
    what: &'static str,
    keys: &'a [&'static str],
    arguments: &'a [u64],
}

const HEARTBEATS: &str = "heartbeats";
const BELIEFS: &str = "poolsize";
const REACHED: &str = "prev_max_filled";
const REACHED_AT: &str = "prev_max_filled_ttl";

#[async_trait]
impl Store for RedisStore {
    async fn register(&self, ttl: Duration) -> Result<Registered, DoorError> {
        let (members, reached): (u64, Option<f64>) = self
            .call(
                &self.register,
                Call {
                    what: "register",
                    keys: &[HEARTBEATS, BELIEFS, REACHED, REACHED_AT],
                    arguments: &[seconds(ttl)],
                },
            )
            .await?;
        Ok(Registered { members, reached: reached.map(|reached| reached as u64) })
    }

    async fn sync(&self, believed: u64, ttl: Duration) -> Result<Agreement, DoorError> {
        let (members, largest, unanimous, place) = self
            .call(
                &self.sync,
                Call {
                    what: "agree with the others",
                    keys: &[HEARTBEATS, BELIEFS],
                    arguments: &[believed, seconds(ttl)],
                },
            )
            .await?;
        Ok(Agreement { members, largest, unanimous, place })
    }

    async fn deregister(&self, reached: u64, ttl: Duration) -> Result<(), DoorError> {
        let left: u64 = self
            .call(
                &self.deregister,
                Call {
                    what: "deregister",
                    keys: &[HEARTBEATS, BELIEFS, REACHED, REACHED_AT],
                    arguments: &[reached, seconds(ttl)],
                },
            )
            .await?;
        assert_eq!(left, 1, "the script ends with it");
        Ok(())
    }
}

/// Redis counts in whole seconds; none is no time to live.
fn seconds(ttl: Duration) -> u64 {
    (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1)
}

fn single(url: &str, database: Option<i64>) -> Result<(Way, String), Error> {
    let mut info = url.into_connection_info().map_err(Error::Address)?;
    if let Some(database) = database {
        let settings = info.redis_settings().clone().set_db(database);
        info = info.set_redis_settings(settings);
    }
    let at = info.addr().to_string();
    Ok((Way::Single(Box::new(Client::open(info).map_err(Error::Address)?)), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_never_none_and_never_too_short() {
        for (millis, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (180_000, 180)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }
}
