//! From what a user wrote about a rate limit to a seat in a store. Invariant: nothing is connected here, so a store that
//! cannot be reached holds up no start.

use std::sync::Arc;

use api::resolve::RateLimit;
use api::spec::auth::{RedisAuth, Tls};
use api::spec::stock::SecretKeySelector;
use api::spec::{RedisSentinel, RedisStore as RedisSpec, RedisStoreMode};
use model::door::store::Store;

use super::{Context, Error};
use crate::secret::Missing;
use crate::store::memory::MemoryStore;
use crate::store::redis::{self, Access, RedisStore, Sentinel, Server};

/// Opens a seat for the replica in the pool of this name: in Redis if the limit says so, and in the memory of this process
/// otherwise.
pub fn open_store(limit: &RateLimit, pool: &str, context: &Context) -> Result<Arc<dyn Store>, Error> {
    let pools = &context.inputs.pools;
    let seat = pools.seat(pool, &context.vertex, context.replica);
    let Some(spec) = limit.store.as_ref().and_then(|store| store.redis_store.as_ref()) else {
        return Ok(Arc::new(MemoryStore::open(pools.memory(pool), seat)));
    };
    let server = server(spec, context).map_err(context.refused("rate limit store"))?;
    let store = RedisStore::open(&server, seat).map_err(context.refused("rate limit store"))?;
    Ok(Arc::new(store))
}

/// What is missing in the settings of a store.
#[derive(Debug, thiserror::Error)]
enum Incomplete {
    #[error("use Redis in the mode `{mode}` without `{field}`")]
    Field { mode: &'static str, field: &'static str },
    #[error(transparent)]
    Secret(#[from] Missing),
    #[error("use a client certificate for Redis without its key: set both `certSecret` and `keySecret`")]
    Identity,
}

fn server(spec: &RedisSpec, context: &Context) -> Result<Server, Incomplete> {
    let RedisSpec { mode, url, db, sentinel } = spec;
    let database = db.map(i64::from);
    match mode {
        RedisStoreMode::Single => {
            let url = url.clone().ok_or(Incomplete::Field { mode: "single", field: "url" })?;
            Ok(Server::Single { url, database })
        }
        RedisStoreMode::Sentinel => {
            let missing = Incomplete::Field { mode: "sentinel", field: "sentinel" };
            let RedisSentinel { master_name, endpoints, sentinel_auth, redis_auth, sentinel_tls, redis_tls } =
                sentinel.as_ref().ok_or(missing)?;
            Ok(Server::Sentinel(Box::new(Sentinel {
                master: master_name.clone(),
                endpoints: endpoints.clone(),
                sentinels: access(sentinel_auth.as_ref(), sentinel_tls.as_ref(), context)?,
                servers: access(redis_auth.as_ref(), redis_tls.as_ref(), context)?,
                database,
            })))
        }
    }
}

fn access(auth: Option<&RedisAuth>, tls: Option<&Tls>, context: &Context) -> Result<Access, Incomplete> {
    let secret = |selector: &Option<SecretKeySelector>| -> Result<Option<String>, Missing> {
        let Some(selector) = selector else { return Ok(None) };
        context.secrets.get(&selector.name, &selector.key).map(|value| Some(value.to_owned()))
    };
    let (username, password) = match auth {
        Some(RedisAuth { username, password }) => (secret(username)?, secret(password)?),
        None => (None, None),
    };
    let tls = match tls {
        Some(Tls { insecure_skip_verify, ca_cert_secret, cert_secret, key_secret }) => {
            let identity = match (secret(cert_secret)?, secret(key_secret)?) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => return Err(Incomplete::Identity),
            };
            Some(redis::Tls {
                any_certificate: insecure_skip_verify.unwrap_or(false),
                authority: secret(ca_cert_secret)?,
                identity,
            })
        }
        None => None,
    };
    Ok(Access { username, password, tls })
}
