//! The store in Redis: the suite of the door, what lies in its keys, and servers that go away.

use model::door::Class;
use model::door::store::{Agreement, Registered};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde_json::json;

use super::opening::{open, seat};
use super::server::{Server, port, program};
use super::wait::until;
use super::*;

/// A server in which time passes by turning back what it has noted.
struct Served {
    server: Server,
    url: String,
}

#[async_trait]
impl Bench for Served {
    async fn seat(&mut self, member: &str) -> Arc<dyn Store> {
        seat(member, json!({"redisStore": {"url": self.url}}))
    }

    async fn pass(&mut self, time: Duration) {
        let mut connection = self.server.connect(self.url.as_str()).await;
        let seconds = time.as_secs() as i64 + 1;
        for key in ["pool:heartbeats", "pool:prev_max_filled_ttl"] {
            let members: Vec<String> = connection.zrange(key, 0, -1).await.unwrap();
            for member in members {
                let _: f64 = connection.zincr(key, member, -seconds).await.unwrap();
            }
        }
    }
}

fn block_on(future: impl Future<Output = ()>) {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future);
}

#[expect(clippy::needless_pass_by_value, reason = "the suite hands its cases over by value")]
fn run(case: impl AsyncFn(&mut dyn Bench), name: &str) {
    let Some(program) = program(name) else { return };
    let server = Server::on_socket(&program);
    let url = server.url();
    block_on(async {
        server.connect(url.as_str()).await;
        case(&mut Served { server, url }).await;
    });
}

model::store_conformance! { run }

const TTL: Duration = Duration::from_mins(3);

async fn scores(connection: &mut MultiplexedConnection, key: &str) -> Vec<(String, f64)> {
    connection.zrange_withscores(key, 0, -1).await.unwrap()
}

#[test]
fn keys_are_those_of_the_reference() {
    let Some(program) = program("keys_are_those_of_the_reference") else { return };
    let server = Server::on_socket(&program);
    block_on(async {
        let mut connection = server.connect(server.url().as_str()).await;
        let (seconds, _): (String, String) = redis::cmd("TIME").query_async(&mut connection).await.unwrap();
        let now: f64 = seconds.parse().unwrap();
        let near = |time: f64| (now..now + 60.0).contains(&time);
        let store = seat("cat-0", json!({"redisStore": {"url": server.url()}}));
        store.register(TTL).await.unwrap();
        let heartbeats = scores(&mut connection, "pool:heartbeats").await;
        assert!(matches!(&heartbeats[..], [(name, at)] if name == "cat-0" && near(*at)), "{heartbeats:?}");
        assert_eq!(scores(&mut connection, "pool:poolsize").await, [("cat-0".to_owned(), 1.0)]);

        // A member that is not one of ours.
        let _: () = connection.zadd("pool:heartbeats", "cat-1", now).await.unwrap();
        let _: () = connection.zadd("pool:poolsize", "cat-1", 2).await.unwrap();
        assert!(!store.sync(1, TTL).await.unwrap().unanimous);
        let agreed = store.sync(2, TTL).await.unwrap();
        assert_eq!(agreed, Agreement { members: 2, largest: 2, unanimous: true, place: 0 });
        // A belief alone is a member that is half gone.
        let _: () = connection.zrem("pool:heartbeats", "cat-1").await.unwrap();
        assert!(!store.sync(2, TTL).await.unwrap().unanimous);
        let _: () = connection.zrem("pool:poolsize", "cat-1").await.unwrap();

        store.deregister(17, TTL).await.unwrap();
        for key in ["pool:heartbeats", "pool:poolsize"] {
            assert_eq!(scores(&mut connection, key).await, []);
        }
        let reached: String = connection.hget("pool:prev_max_filled", "cat-0").await.unwrap();
        assert_eq!(reached, "17");
        let left = scores(&mut connection, "pool:prev_max_filled_ttl").await;
        assert!(matches!(&left[..], [(name, at)] if name == "cat-0" && near(*at)), "{left:?}");
        let expires: i64 = connection.ttl("pool:prev_max_filled").await.unwrap();
        assert!((1..=181).contains(&expires), "{expires}");
        // A number as others may have written it.
        let _: () = connection.hset("pool:prev_max_filled", "cat-0", "17.5").await.unwrap();
        assert_eq!(store.register(TTL).await.unwrap(), Registered { members: 1, reached: Some(17) });
        let all: Vec<String> = connection.keys("*").await.unwrap();
        assert!(all.iter().all(|key| key.starts_with("pool:")), "{all:?}");
    });
}

#[test]
fn a_server_that_was_away_is_reached_again() {
    let Some(program) = program("a_server_that_was_away_is_reached_again") else { return };
    let mut server = Server::on_socket(&program);
    block_on(async {
        let url = server.url();
        server.connect(url.as_str()).await;
        let store = seat("cat-0", json!({"redisStore": {"url": url}}));
        store.register(TTL).await.unwrap();
        server.kill();
        let error = store.sync(1, TTL).await.unwrap_err();
        assert_eq!(error.class(), Class::Retry);
        let said = error.chain();
        assert!(said.starts_with("agree with the others in the pool pool of Redis at /"), "{said}");
        server.revive();
        server.connect(url.as_str()).await;
        // It has forgotten everything, scripts included.
        let alone = Agreement { members: 1, largest: 1, unanimous: true, place: 0 };
        assert_eq!(store.sync(1, TTL).await.unwrap(), alone);
    });
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    block_on(async {
        let store = seat("cat-0", json!({"redisStore": {"url": url}}));
        let patience = Duration::from_mins(1);
        let asked = tokio::time::timeout(patience, store.register(TTL)).await.expect("it is given up");
        assert_eq!(asked.unwrap_err().class(), Class::Retry);
    });
}

#[test]
fn a_user_a_password_and_a_database_are_used() {
    let Some(program) = program("a_user_a_password_and_a_database_are_used") else { return };
    let socket = |directory: &std::path::Path| directory.join("redis.sock").display().to_string();
    let server = Server::start(&program, |directory| {
        let text = ["--port", "0", "--user", "me", "on", ">secret", "~*", "+@all", "--requirepass", "other"];
        let mut arguments: Vec<_> = text.map(str::to_owned).to_vec();
        arguments.extend(["--unixsocket".to_owned(), socket(directory)]);
        arguments
    });
    block_on(async {
        let at = server.path("redis.sock").display().to_string();
        let mut connection = server.connect(format!("unix://{at}?pass=other&db=3")).await;
        let url = format!("unix://{at}?user=me&pass=secret&db=1");
        let store = seat("cat-0", json!({"redisStore": {"url": url, "db": 3}}));
        store.register(TTL).await.unwrap();
        assert_eq!(scores(&mut connection, "pool:poolsize").await.len(), 1);

        let store = seat("cat-0", json!({"redisStore": {"url": format!("unix://{at}?user=me&pass=wrong")}}));
        let said = store.register(TTL).await.unwrap_err().chain();
        assert!(!said.contains("wrong") && !said.contains("secret"), "{said}");
        assert!(said.contains("WRONGPASS") || said.contains("AuthenticationFailed"), "{said}");
    });
}

/// A certificate for the loopback address with its key, both PEM.
fn certificate() -> (String, String) {
    use base64::Engine as _;
    let pem = |label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &made.signing_key.serialize_der()))
}

/// A group of two servers and one sentinel, with passwords, and with TLS where a certificate is given.
struct Group {
    servers: [(Server, u16); 2],
    sentinel: (Server, u16),
    /// Takes connections and never answers.
    silent: std::net::TcpListener,
}

impl Group {
    fn start(program: &std::path::Path, tls: Option<&(String, String)>) -> Self {
        let listen = |port: u16, directory: &std::path::Path| {
            let Some((certificate, key)) = tls else { return vec!["--port".to_owned(), port.to_string()] };
            let (cert_path, key_path) = (directory.join("cert.pem"), directory.join("key.pem"));
            std::fs::write(&cert_path, certificate).unwrap();
            std::fs::write(&key_path, key).unwrap();
            let (cert_path, key_path) = (cert_path.display().to_string(), key_path.display().to_string());
            let port = port.to_string();
            ["--port", "0", "--tls-port", &port, "--tls-cert-file", &cert_path, "--tls-key-file", &key_path]
                .into_iter()
                .chain(["--tls-ca-cert-file", &cert_path, "--tls-replication", "yes"])
                .map(str::to_owned)
                .collect()
        };
        // A replica would be kept waiting for others to come.
        let both = ["--requirepass", "secret", "--masterauth", "secret", "--repl-diskless-sync-delay", "0"];
        let both = both.map(str::to_owned);
        let (first, second, watcher) = (port(), port(), port());
        let master = Server::start(program, |directory| [listen(first, directory), both.to_vec()].concat());
        let replica = Server::start(program, |directory| {
            let follow = vec!["--replicaof".to_owned(), "127.0.0.1".to_owned(), first.to_string()];
            [listen(second, directory), both.to_vec(), follow].concat()
        });
        let sentinel = Server::start(program, |directory| {
            let file = directory.join("sentinel.conf");
            let text = format!(
                "bind 127.0.0.1\nrequirepass watch\nsentinel monitor group 127.0.0.1 {first} 1\n\
                 sentinel auth-pass group secret\nsentinel down-after-milliseconds group 60000\n"
            );
            std::fs::write(&file, text).unwrap();
            let file = vec![file.display().to_string(), "--sentinel".to_owned()];
            [file, listen(watcher, directory)].concat()
        });
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { servers: [(master, first), (replica, second)], sentinel: (sentinel, watcher), silent }
    }

    /// A connection to a server without TLS, with the database that the manifest says.
    async fn connect(&self, number: usize) -> MultiplexedConnection {
        let (server, port) = &self.servers[number];
        server.connect(format!("redis://:secret@127.0.0.1:{port}/2")).await
    }

    /// Waits until the sentinel knows the replica and could make it the master. Without TLS.
    async fn ready(&self) -> MultiplexedConnection {
        drop((self.connect(0).await, self.connect(1).await));
        let (sentinel, port) = &self.sentinel;
        let mut asked = sentinel.connect(format!("redis://:watch@127.0.0.1:{port}/")).await;
        // It looks every ten seconds otherwise, as those do that have no such command.
        let mut sooner = redis::cmd("SENTINEL");
        sooner.arg("DEBUG").arg(&["info-period", "100", "publish-period", "100"]);
        drop(sooner.exec_async(&mut asked).await);
        until("the sentinel knows the replica", async || {
            let replicas = redis::cmd("SENTINEL").arg("REPLICAS").arg("group").query_async(&mut asked).await;
            let replicas: Vec<std::collections::HashMap<String, String>> = replicas.unwrap();
            match &replicas[..] {
                [replica] if replica.get("master-link-status").is_some_and(|status| status == "ok") => Ok(()),
                _ => Err(format!("{replicas:?}")),
            }
        })
        .await;
        asked
    }

    /// What a manifest says of it. Two of the sentinels are no help.
    fn spec(&self, settings: &serde_json::Value) -> serde_json::Value {
        let auth = |key| json!({"password": {"name": "redis", "key": key}});
        let silent = self.silent.local_addr().unwrap().port();
        let endpoints = [port(), silent, self.sentinel.1].map(|port| format!("127.0.0.1:{port}"));
        let mut sentinel = json!({
            "masterName": "group", "endpoints": endpoints, "sentinelAuth": auth("watch"), "redisAuth": auth("secret"),
        });
        for (key, value) in settings.as_object().unwrap() {
            sentinel[key] = value.clone();
        }
        json!({"redisStore": {"mode": "sentinel", "db": 2, "sentinel": sentinel}})
    }
}

#[test]
fn the_master_of_a_group_is_found_and_found_again_when_it_changes() {
    let Some(program) = program("the_master_of_a_group_is_found_and_found_again_when_it_changes") else {
        return;
    };
    let group = Group::start(&program, None);
    block_on(async {
        let mut sentinel = group.ready().await;
        let secrets = [("watch", "watch".to_owned()), ("secret", "secret".to_owned())];
        let store = open("cat-0", group.spec(&json!({})), &secrets).unwrap();
        store.register(TTL).await.unwrap();
        let mut master = group.connect(0).await;
        assert_eq!(scores(&mut master, "pool:poolsize").await, [("cat-0".to_owned(), 1.0)]);

        let other = open("cat-0", group.spec(&json!({"masterName": "nobody"})), &secrets).unwrap();
        let said = other.register(TTL).await.unwrap_err().chain();
        assert!(said.contains("find the master nobody: the sentinel"), "{said}");

        until("the sentinel promotes the other server", async || {
            let asked = redis::cmd("SENTINEL").arg("FAILOVER").arg("group").exec_async(&mut sentinel).await;
            asked.map_err(|error| error.to_string())
        })
        .await;
        // Whoever is promoted lets go of its clients, so each look has a connection of its own.
        until("the other server is the master", async || {
            let role = redis::cmd("ROLE").query_async::<redis::Role>(&mut group.connect(1).await).await;
            if matches!(role, Ok(redis::Role::Primary { .. })) { Ok(()) } else { Err(format!("{role:?}")) }
        })
        .await;
        let mut other = group.connect(1).await;
        let _: () = other.del("pool:poolsize").await.unwrap();
        until("the member has followed", async || {
            // Errors are what a change of the master is made of.
            let synced = store.sync(1, TTL).await;
            let members = scores(&mut other, "pool:poolsize").await;
            if members.is_empty() { Err(format!("{synced:?}")) } else { Ok(()) }
        })
        .await;
    });
}

#[test]
fn a_group_with_tls_is_trusted_by_its_authority_or_blindly() {
    let Some(program) = program("a_group_with_tls_is_trusted_by_its_authority_or_blindly") else { return };
    let identity = certificate();
    // Clients have to show the certificate too, which is what a server asks for by default.
    let group = Group::start(&program, Some(&identity));
    let (certificate, key) = identity;
    block_on(async {
        let secrets = [
            ("watch", "watch".to_owned()),
            ("secret", "secret".to_owned()),
            ("ca", certificate.clone()),
            ("cert", certificate),
            ("key", key),
        ];
        let named = |key: &str| json!({"name": "redis", "key": key});
        let strange = json!({"certSecret": named("cert"), "keySecret": named("key")});
        let with = |field: &str, value: serde_json::Value| {
            let mut tls = strange.clone();
            tls[field] = value;
            tls
        };
        let opened = |tls: &serde_json::Value| {
            open("cat-0", group.spec(&json!({"sentinelTLS": tls, "redisTLS": tls})), &secrets).unwrap()
        };
        for tls in [with("caCertSecret", named("ca")), with("insecureSkipVerify", json!(true))] {
            let store = opened(&tls);
            until("the servers are up", async || match store.register(TTL).await {
                Ok(registered) => {
                    assert_eq!(registered.members, 1);
                    Ok(())
                }
                Err(error) => Err(error.chain()),
            })
            .await;
        }
        let said = opened(&strange).register(TTL).await.unwrap_err().chain();
        assert!(said.contains("ask the sentinel"), "{said}");
    });
}
