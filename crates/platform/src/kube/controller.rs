//! The controller: one loop for each object there is, while the lease is ours. Invariant: what happens to the loop of one
//! object, a panic included, stops no other one.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::act::Hands;
use super::client::Client;
use super::events::Events;
use super::http;
use super::isb;
use super::lease::{Candidate, Timing};
use super::names::Key;
use super::object::{Runner, Shared};
use super::render::Settings;
use super::store::Store;
use super::webhook;

/// How soon the loop of an object begins again after it ended with the object still there.
const AGAIN: Duration = Duration::from_secs(5);

/// How soon the API server is tried again.
const REACH_AGAIN: Duration = Duration::from_secs(1);

/// How a controller runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The one namespace it looks after; none for all.
    pub namespace: Option<String>,
    /// What is decided for everything that is made.
    pub settings: Settings,
    /// What this process is called; no two have the same name.
    pub identity: String,
    /// Where the lease is and how it is kept; none to act without one.
    pub lease: Option<LeasePlace>,
    /// The admission webhook; none to answer none.
    pub webhook: Option<webhook::Place>,
    /// The port of probes; none for no probes.
    pub probes_port: Option<u16>,
    /// What the operator has set.
    pub operator: super::config::Config,
    /// The file in which it stands, which is followed.
    pub operator_file: PathBuf,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasePlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its times.
    pub timing: Timing,
}

/// Why a controller has ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else acts.
    #[error("go on acting: the lease is lost; the process has to be started again")]
    LeaseLost,
    /// A port cannot be had.
    #[error("answer probes on port {port}")]
    Probes {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The admission webhook cannot be.
    #[error("answer the API server")]
    Webhook(#[source] webhook::Error),
    /// A part that everything needs has ended.
    #[error("go on: a watch has ended, which it never should; the process has to be started again")]
    PartEnded,
}

/// Answers probes and the API server, and acts while it may, until it is told to stop or may not go on.
pub async fn run(client: Client, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let (ready, is_ready) = watch::channel(false);
    let probes = async {
        let Some(port) = config.probes_port else { return std::future::pending().await };
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Probes { port, source })?;
        http::serve(listener, None, http::probes(is_ready)).await;
        Err(Error::PartEnded)
    };
    let reviews = async {
        match &config.webhook {
            Some(place) => match webhook::run(client.clone(), place.clone()).await {
                Ok(()) => Err(Error::PartEnded),
                Err(error) => Err(Error::Webhook(error)),
            },
            None => std::future::pending().await,
        }
    };
    let work = async {
        reached(&client).await;
        ready.send_replace(true);
        lead(client.clone(), config.clone(), stop).await
    };
    tokio::select! {
        outcome = work => outcome,
        outcome = probes => outcome,
        outcome = reviews => outcome,
    }
}

/// Returns when the API server has answered.
async fn reached(client: &Client) {
    loop {
        match super::act::within("reach the API server".to_owned(), client.apiserver_version()).await {
            Ok(version) => return tracing::info!(version = version.git_version, "the API server answers"),
            Err(error) => tracing::warn!(error = %error.text(), "waiting for the API server"),
        }
        tokio::time::sleep(REACH_AGAIN).await;
    }
}

/// Acts while the lease is ours.
async fn lead(client: Client, config: Config, stop: CancellationToken) -> Result<(), Error> {
    let hands = Hands::new(client.clone());
    let Some(place) = &config.lease else {
        return tokio::select! {
            outcome = act(client, &config) => outcome,
            () = stop.cancelled() => Ok(()),
        };
    };
    let mut candidate =
        Candidate::new(hands, (&place.namespace, &place.name), &config.identity, place.timing);
    tokio::select! {
        () = candidate.acquire() => {}
        () = stop.cancelled() => return Ok(()),
    }
    let outcome = tokio::select! {
        outcome = act(client, &config) => outcome,
        () = candidate.hold() => return Err(Error::LeaseLost),
        () = stop.cancelled() => Ok(()),
    };
    // All loops have ended with the future that ran them; nothing acts when another controller begins.
    candidate.release().await;
    outcome
}

/// Looks after every object there is.
async fn act(client: Client, config: &Config) -> Result<(), Error> {
    let mut parts = JoinSet::new();
    let store = Store::start(&client, config.namespace.as_deref(), &mut parts);
    let events = Events::start(&client, &config.identity, &mut parts);
    let (sender, operator) = watch::channel(Arc::new(config.operator.clone()));
    parts.spawn(super::config::follow(config.operator_file.clone(), sender, CancellationToken::new()));
    parts.spawn(isb::run(isb::Setup {
        client: client.clone(),
        namespace: config.namespace.clone(),
        config: operator,
        events: events.clone(),
    }));
    let shared = Arc::new(Shared {
        store: Arc::clone(&store),
        hands: Hands::new(client),
        events,
        settings: config.settings.clone(),
    });
    tokio::select! {
        () = store.listed() => {}
        _ = parts.join_next() => return Err(Error::PartEnded),
    }
    tracing::info!(objects = store.keys().len(), "everything is listed; the controller begins");
    let mut objects = store.objects();
    let mut loops = Loops::default();
    loop {
        loops.begin(&shared, store.keys());
        tokio::select! {
            changed = objects.changed() => {
                if changed.is_err() {
                    return Err(Error::PartEnded);
                }
            }
            () = loops.ended() => {}
            _ = parts.join_next() => return Err(Error::PartEnded),
        }
    }
}

/// The loops of objects.
#[derive(Default)]
struct Loops {
    tasks: JoinSet<()>,
    running: BTreeMap<Key, Id>,
    /// Objects whose loops have ended, and when they may begin again.
    ended: BTreeMap<Key, Instant>,
}

impl Loops {
    /// Begins the loops of objects that have none.
    fn begin(&mut self, shared: &Arc<Shared>, keys: Vec<Key>) {
        self.ended.retain(|key, _| keys.contains(key));
        for key in keys {
            let waits = self.ended.get(&key).is_some_and(|at| *at > Instant::now());
            if waits || self.running.contains_key(&key) {
                continue;
            }
            self.ended.remove(&key);
            let handle = self.tasks.spawn(Runner::new(Arc::clone(shared), key.clone()).run());
            self.running.insert(key, handle.id());
        }
    }

    /// Returns when a loop has ended, or when one may begin again.
    async fn ended(&mut self) {
        let next = self.ended.values().min().copied();
        let wait = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let id = tokio::select! {
            Some(joined) = self.tasks.join_next_with_id() => match joined {
                Ok((id, ())) => id,
                Err(error) => {
                    tracing::error!(%error, "the loop of an object broke and begins again");
                    error.id()
                }
            },
            () = wait => {
                self.ended.retain(|_, at| *at > Instant::now());
                return;
            }
        };
        let key = self.running.iter().find(|(_, running)| **running == id).map(|(key, _)| key.clone());
        if let Some(key) = key {
            self.running.remove(&key);
            self.ended.insert(key, Instant::now() + AGAIN);
        }
    }
}
