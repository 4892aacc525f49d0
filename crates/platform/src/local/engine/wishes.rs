//! All that is wished of an object whose workers are away, as calls to the engine, and what is seen of it, as one document.
//! Invariant: the same wishes twice are the same as once, and what is seen never shows a verdict from before its wishes.

use std::collections::{BTreeMap, BTreeSet};

use plan::Time;
use plan::seen::{Cut, Seen, Worker, WorkerName};

use super::seen::held_by;
use super::{Engine, Error};
use crate::exchange::{Look, VertexLook, VertexWishes, Wishes, WorkerLook};

/// What is remembered of wishes.
#[derive(Debug, Default)]
pub(super) struct Wished {
    /// The number of the last ones; 0 before the first.
    number: u64,
    /// Where what is left came from, once that was asked for.
    cuts: Option<Vec<Cut>>,
}

impl Engine {
    /// From here on these wishes count, all of them and nothing else; what follows happens in turns. Gives false for
    /// wishes that are older than those that count. Only for engines whose workers are away.
    pub fn wish(&mut self, wishes: &Wishes) -> Result<bool, Error> {
        if wishes.number < self.wished.number {
            return Ok(false);
        }
        self.wished.number = wishes.number;
        for (vertex, wanted) in &wishes.vertices {
            if self.crews.contains_key(vertex) {
                self.wish_vertex(vertex, wanted)?;
            } else {
                tracing::warn!(vertex, "wishes for a vertex that there is not are passed over");
            }
        }
        if let Some(adoption) = &mut self.adoption {
            adoption.is_wished = true;
        }
        self.hurry();
        Ok(true)
    }

    fn wish_vertex(&mut self, vertex: &str, wishes: &VertexWishes) -> Result<(), Error> {
        let VertexWishes { reading, shares, keep, workers } = wishes;
        self.share(vertex, shares.clone());
        self.read(vertex, *reading);
        let now = Time::from_millis(self.clock.now().millis());
        let mut names = BTreeSet::new();
        for (text, wish) in workers {
            let name: WorkerName = match text.parse() {
                Ok(name) => name,
                Err(error) => {
                    tracing::warn!(vertex, %error, "a worker that is wished for cannot be understood");
                    continue;
                }
            };
            if let Some(member) = self.crew(vertex)?.wish(&name, *wish, now)? {
                let id = self.tasks.spawn(member.run()).id();
                self.names.insert(id, (vertex.to_owned(), name.clone()));
            }
            names.insert(name);
        }
        let crew = self.crew(vertex)?;
        crew.leave_all_but(&names);
        crew.forget(keep);
        Ok(())
    }

    /// Looks up where what is left came from, once all workers are gone for good; see [`Engine::cuts`]. Gives whether it
    /// is known.
    pub async fn look_up_cuts(&mut self) -> Result<bool, Error> {
        let has_workers = self.crews.values().any(|crew| !crew.workers.is_empty());
        if self.wished.cuts.is_none() && !has_workers && self.adoption.is_none() {
            self.wished.cuts = Some(self.cuts().await?);
        }
        Ok(self.wished.cuts.is_some())
    }

    /// What is seen, as of the last turn.
    pub fn look(&mut self) -> Look {
        let Seen { vertices, drain } = self.seen();
        let picture = self.picture.clone();
        let incidents = self.incidents().into_iter().map(|found| found.view(&self.parts.pipeline.name));
        let incidents = incidents.collect();
        let vertices = vertices.into_iter().map(|(name, seen)| {
            let found = picture.vertices.get(name.as_str());
            let plan::seen::Vertex {
                workers, settled, pending, in_hand, activity, signals, processed, ..
            } = seen;
            let look = VertexLook {
                workers: self.workers(&name, workers),
                settled,
                pending,
                in_hand,
                activity,
                signals,
                processed,
                watermark: found.and_then(|found| found.watermark).map(model::Time::millis),
                watermark_held_by: found.and_then(|found| found.held_by.as_ref()).map(held_by),
            };
            (name, look)
        });
        Look {
            life: u64::try_from(self.clock.begun_at.millis()).unwrap_or(0),
            number: self.wished.number,
            at: Time::from_millis(self.clock.now().millis()),
            vertices: vertices.collect(),
            // Before the first wishes nobody has told a source to stop.
            drain: drain.filter(|_| self.wished.number > 0),
            cuts: self.wished.cuts.clone(),
            incidents,
            failure: None,
        }
    }

    fn workers(&self, vertex: &str, seen: BTreeMap<WorkerName, Worker>) -> BTreeMap<String, WorkerLook> {
        let workers = self.crews.get(vertex).map(|crew| &crew.workers);
        let look = |(name, seen): (WorkerName, Worker)| {
            let Worker { state, since: _, holds, restarts } = seen;
            let urls = workers.and_then(|workers| workers.get(&name)).map(|worker| worker.shown.urls());
            (name.to_string(), WorkerLook { state, holds, restarts, urls: urls.unwrap_or_default() })
        };
        seen.into_iter().map(look).collect()
    }
}
