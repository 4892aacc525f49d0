//! The engine as `tidegate run` uses it: one version of every vertex, from start to drained. Thin over what the engine
//! can do for anybody. Invariant: sources end first, and nothing downstream ends before everything they gave is settled,
//! unless time runs out or somebody insists; what is then left stays in the journal for the next run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::resolve::VertexKind;
use api::revision::Revision;
use plan::seen::WorkerName;
use tracing::info;

use super::{Config, Engine, Error, Version, seen, unreadable};
use crate::local::program::Chosen;
use crate::local::snapshot::Snapshot;

/// The version that a run has of every vertex.
const RUN: &str = "run";

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Everything that had come in was finished in time.
    pub complete: bool,
    /// Messages that are not settled, by vertex; those with none are left out.
    pub left: BTreeMap<String, u64>,
}

impl Drained {
    /// Messages left in all.
    pub fn total(&self) -> u64 {
        self.left.values().sum()
    }
}

impl Engine {
    /// Starts everything with the replicas that the manifest begins with. When it returns, every door is open; user code
    /// may still be starting.
    pub async fn start(config: Config, programs: Vec<Chosen>) -> Result<Self, Error> {
        let (object, values) = (config.object.clone(), config.values.clone());
        let mut engine = Self::open(config).await?;
        engine.announcements.extend(programs.iter().map(|chosen| chosen.announcement.clone()));
        let revision = Revision::from_text(RUN);
        for vertex in &engine.parts.clone().pipeline.vertices {
            let own = programs.iter().filter(|chosen| chosen.container.vertex == vertex.name);
            let (object, values) = (object.clone(), values.clone());
            let version =
                Version { revision: revision.clone(), object, programs: own.cloned().collect(), values };
            engine.keep(&vertex.name, Arc::new(version));
            engine.share(&vertex.name, [(revision.clone(), 1)].into());
            engine.read(&vertex.name, true);
            let mut replicas = vertex.replicas;
            if let Some(why) = engine.crew(&vertex.name)?.alone().filter(|_| replicas > 1) {
                let (name, wanted) = (&vertex.name, replicas);
                engine
                    .announcements
                    .push(format!("vertex {name} runs with 1 replica in place of {wanted}: {why}"));
                replicas = 1;
            }
            for replica in 0..replicas {
                engine.ensure(&vertex.name, &WorkerName { revision: revision.clone(), replica })?;
            }
        }
        match engine.opened().await {
            Ok(()) => {}
            Err(error) => {
                engine.stop(Duration::ZERO).await?;
                return Err(error);
            }
        }
        let workers: usize = engine.crews.values().map(|crew| crew.workers.len()).sum();
        info!(pipeline = engine.parts.pipeline.name, replicas = workers, "everything has started");
        Ok(engine)
    }

    /// Waits until every worker has opened its doors once; the first that cannot ends the wait.
    async fn opened(&mut self) -> Result<(), Error> {
        loop {
            self.turn().await?;
            let mut all = true;
            for worker in self.crews.values().flat_map(|crew| crew.workers.values()) {
                all &= worker.shown.first_opening()?;
            }
            if all {
                return Ok(());
            }
            self.changed().await;
        }
    }

    /// Everything that stands in for something else, one sentence each.
    pub fn announcements(&self) -> Vec<String> {
        let workers = self.crews.values().flat_map(|crew| crew.workers.values());
        let mut all = self.announcements.clone();
        for sentence in workers.flat_map(|worker| worker.shown.announcements()) {
            if !all.contains(&sentence) {
                all.push(sentence);
            }
        }
        all
    }

    /// The run as it is shown on a screen.
    pub fn snapshot(&mut self) -> Snapshot {
        let inner = self.parts.pipeline.vertices.iter().filter(|vertex| vertex.kind != VertexKind::Source);
        let pending = inner.map(|vertex| {
            let pending = seen::pending(self.keeping.survey(), &vertex.name);
            (vertex.name.clone(), pending.iter().sum())
        });
        let pending = if self.parts.buffer.is_some() { pending.collect() } else { BTreeMap::new() };
        self.gauges.snapshot(&self.parts, &self.crews, &pending)
    }

    /// Waits until every source has given all it ever will, or until something fails for good.
    pub async fn exhausted(&mut self) -> Result<(), Error> {
        loop {
            self.turn().await?;
            let mut sources = self.crews.values().filter(|crew| crew.kind == VertexKind::Source);
            if sources.all(super::crew::Crew::is_exhausted) {
                return Ok(());
            }
            self.changed().await;
        }
    }

    /// Stops the sources and lets everything inside be finished. Ends early when `limit` is over; what is then left
    /// stays in the journal. Workers go on.
    pub async fn drain(&mut self, limit: Duration) -> Result<Drained, Error> {
        self.gauges.drain_until(Instant::now() + limit);
        let sources = self.crews.values().filter(|crew| crew.kind == VertexKind::Source);
        for name in sources.map(|crew| crew.name.to_string()).collect::<Vec<_>>() {
            self.read(&name, false);
        }
        let fully = async {
            loop {
                self.turn().await?;
                if self.seen().drain.is_some_and(|drain| drain.drained) {
                    return Ok::<(), Error>(());
                }
                self.hurry();
                self.changed().await;
            }
        };
        let complete = match tokio::time::timeout(limit, fully).await {
            Ok(outcome) => outcome.map(|()| true)?,
            Err(_) => false,
        };
        Ok(Drained { complete, left: self.left() })
    }

    fn left(&self) -> BTreeMap<String, u64> {
        let mut left: BTreeMap<String, u64> = BTreeMap::new();
        for place in seen::left(self.keeping.survey()) {
            *left.entry(place.vertex).or_default() += place.messages;
        }
        left
    }

    /// Stops everything: what is in hand is finished if that takes less than `grace`. The journal keeps the rest.
    pub async fn stop(mut self, grace: Duration) -> Result<Drained, Error> {
        self.end_workers(grace).await;
        self.keeping.look().await.map_err(|error| unreadable(&error))?;
        let left = self.left();
        self.close_journal().await?;
        Ok(Drained { complete: left.is_empty(), left })
    }
}
