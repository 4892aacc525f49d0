//! What a processor serves: metrics, probes and watermarks on one port, the errors of its pod on another. Invariant: the
//! ports answer from before the doors are opened until the last word was said.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use connect::incident::Incidents;
use model::Time;
use platform::local::engine::Reported;
use prometheus_client::registry::Registry;
use server::processor::{NoWatermarks, Pod, serve_errors, serve_metrics};
use server::runtime_errors::{Entry, Store, unseen};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::Watermark;

use super::user_code::UserCode;
use crate::ports;

/// How often errors are looked for, to leave them as files.
const ERRORS_EVERY: Duration = Duration::from_millis(500);

/// Where a processor listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) address: Option<IpAddr>,
    pub(super) metrics: u16,
    pub(super) errors: u16,
    /// Where the containers of the pod leave their errors.
    pub(super) directory: PathBuf,
}

/// What is served.
pub(super) struct Station {
    pub(super) registry: Registry,
    pub(super) user_code: UserCode,
    /// The doors are open.
    pub(super) is_open: watch::Receiver<bool>,
    /// Probes are answered with yes whatever is known.
    pub(super) is_trusted: bool,
    pub(super) watermarks: Watermarks,
}

/// What can be said of watermarks.
pub(super) enum Watermarks {
    /// It is a mono vertex.
    Mono,
    /// The pipeline has none.
    Disabled,
    /// Of so many partitions, which these vertices write to.
    Of { watermark: Watermark, partitions: u32, from: Vec<String> },
}

#[async_trait]
impl Pod for Station {
    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string cannot fail");
        text
    }

    async fn ready(&self) -> Result<(), String> {
        if self.is_trusted {
            return Ok(());
        }
        if !*self.is_open.borrow() {
            return Err("the doors of the vertex are not open yet".to_owned());
        }
        self.user_code.answers()
    }

    async fn sidecars_live(&self) -> Result<(), String> {
        if self.is_trusted { Ok(()) } else { self.user_code.answers() }
    }

    fn watermarks(&self, from: Option<&str>) -> Result<BTreeMap<u32, Option<i64>>, NoWatermarks> {
        match &self.watermarks {
            Watermarks::Mono => Err(NoWatermarks::MonoVertex),
            Watermarks::Disabled => Err(NoWatermarks::Disabled),
            Watermarks::Of { watermark, partitions, from: known } => {
                if let Some(from) = from.filter(|from| known.iter().all(|known| known != from)) {
                    return Err(NoWatermarks::NoEdge { from: from.to_owned(), known: known.clone() });
                }
                // That of all writers is that of none of them too late.
                let time = Some(watermark.get()).filter(|time| *time != Time::UNKNOWN).map(Time::millis);
                Ok((0..*partitions).map(|partition| (partition, time)).collect())
            }
        }
    }
}

/// The ports of a processor while they are served.
pub(super) struct Serving {
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Serving {
    /// Serves the ports; where there are none nothing happens.
    pub(super) async fn open(ports: Option<&Ports>, station: Station, incidents: &Incidents) -> Result<Self> {
        let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
        let Some(Ports { address, metrics, errors, directory }) = ports else {
            return Ok(Self { tasks, shutdown });
        };
        let pod: Arc<dyn Pod> = Arc::new(station);
        let store = Arc::new(Store::new(directory));
        let metrics = ports::listen(*address, *metrics).await.context("serve metrics and probes")?;
        let errors = ports::listen(*address, *errors).await.context("serve runtime errors")?;
        tasks.spawn(serve_metrics(pod, metrics, shutdown.clone()));
        tasks.spawn(serve_errors(store.clone(), errors, shutdown.clone()));
        tasks.spawn(leave_errors(incidents.clone(), store, shutdown.clone()));
        Ok(Self { tasks, shutdown })
    }

    /// Lets callers finish, and leaves the last errors.
    pub(super) async fn close(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Leaves every error as a file, until the end.
async fn leave_errors(incidents: Incidents, store: Arc<Store>, shutdown: CancellationToken) {
    let mut seen = 0;
    let mut failed = false;
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(ERRORS_EVERY) => false,
            () = shutdown.cancelled() => true,
        };
        let (recent, total) = (incidents.recent(), incidents.total());
        let of = |incident| Reported { vertex: String::new(), replica: 0, incident }.view("");
        let fresh = unseen(&recent, total, seen).iter().cloned();
        let entries: Vec<Entry> = fresh.map(|incident| Entry::from(&of(incident))).collect();
        seen = total;
        let kept = store.clone();
        let write = move || entries.iter().try_for_each(|entry| kept.write(entry));
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => failed = false,
            Ok(Err(error)) if !failed => {
                failed = true;
                tracing::warn!(error = %model::door::chain(&error), "errors cannot be left for others to read");
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::warn!(%error, "errors were not left for others to read"),
        }
        if is_last {
            return;
        }
    }
}
