//! What a rate limit opens, and what is said of one that opens nothing.

use std::error::Error as _;

use api::resolve::{RateLimit, RateLimitMode};
use serde_json::{Value, json};
use tidegate_connect::open::{Context, Error, open_store};

use super::*;

/// A rate limit with a store as the manifest says it.
pub(super) fn limit(store: Value) -> RateLimit {
    RateLimit {
        max: Some(1),
        min: 1,
        ramp_up: Duration::from_secs(1),
        store: serde_json::from_value(store).unwrap(),
        mode: RateLimitMode::Relaxed,
        resumed_ramp_up: false,
        ttl: Duration::from_mins(3),
    }
}

/// A seat of the member with a store as the manifest says it and secrets under the name `redis`.
pub(super) fn open(member: &str, store: Value, secrets: &[(&str, String)]) -> Result<Arc<dyn Store>, Error> {
    let (vertex, replica) = member.split_once('-').unwrap();
    let mut context =
        Context { vertex: vertex.into(), replica: replica.parse().unwrap(), ..crate::open::context() };
    for (key, value) in secrets {
        context.secrets.insert("redis", key, value.clone());
    }
    open_store(&limit(store), "pool", &context)
}

/// The same without secrets.
pub(super) fn seat(member: &str, store: Value) -> Arc<dyn Store> {
    open(member, store, &[]).unwrap()
}

#[tokio::test]
async fn workers_of_one_process_meet_in_its_memory_whatever_store_is_not_named() {
    let context = crate::open::context();
    let ttl = Duration::from_mins(3);
    let one = open_store(&limit(Value::Null), "pool", &context).unwrap();
    let two = open_store(&limit(json!({"inMemoryStore": {}})), "pool", &context).unwrap();
    let other = open_store(&limit(Value::Null), "pool-2", &context).unwrap();
    assert_eq!(one.register(ttl).await.unwrap().members, 1);
    assert_eq!(two.register(ttl).await.unwrap().members, 2);
    assert_eq!(other.register(ttl).await.unwrap().members, 1);
}

#[test]
fn settings_that_make_no_sense_are_named_with_their_vertex() {
    let said = |store: Value| {
        let error = open("cat-0", store, &[("a", "b".to_owned())]).err().unwrap();
        assert_eq!(error.to_string(), "open the rate limit store of vertex cat");
        error.source().unwrap().to_string()
    };
    let address = said(json!({"redisStore": {"url": "http://nowhere"}}));
    assert!(
        address.starts_with("use the address of the Redis server: it must look like redis://"),
        "{address}"
    );
    assert_eq!(said(json!({"redisStore": {}})), "use Redis in the mode `single` without `url`");
    let sentinel = |settings: Value| said(json!({"redisStore": {"mode": "sentinel", "sentinel": settings}}));
    assert_eq!(
        sentinel(json!({"masterName": "m", "endpoints": ["a:b"]})),
        "use a:b as a sentinel: it must look like HOST:PORT"
    );
    assert_eq!(
        sentinel(json!({"masterName": "m", "endpoints": []})),
        "use the master m under Sentinel: name at least one sentinel in `endpoints`"
    );
    let auth = json!({"password": {"name": "redis", "key": "missing"}});
    assert_eq!(
        sentinel(json!({"masterName": "m", "endpoints": ["a"], "redisAuth": auth})),
        "find key missing of secret redis"
    );
    let half = json!({"certSecret": {"name": "redis", "key": "a"}});
    assert_eq!(
        sentinel(json!({"masterName": "m", "endpoints": ["a"], "redisTLS": half})),
        "use a client certificate for Redis without its key: set both `certSecret` and `keySecret`"
    );
}
