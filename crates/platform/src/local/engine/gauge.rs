//! What a run looks like on a screen: totals, rates over the last interval, and the state of user code.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use plan::seen::{Signals, WorkerState};

use super::crew::Crew;
use super::parts::Parts;
use crate::local::process::State;
use crate::local::snapshot::{Phase, Snapshot, UserCode, Vertex};

/// The shortest interval that rates are taken over.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

pub(super) struct Gauges {
    begun: Instant,
    drain_until: Option<Instant>,
    sampled: Instant,
    /// Vertex → read and written at the last sample, and the rates since the one before.
    samples: BTreeMap<String, Sample>,
}

#[derive(Clone, Copy, Default)]
struct Sample {
    read: u64,
    written: u64,
    read_rate: f64,
    write_rate: f64,
}

impl Default for Gauges {
    fn default() -> Self {
        let begun = Instant::now();
        Self { begun, drain_until: None, sampled: begun, samples: BTreeMap::new() }
    }
}

impl Gauges {
    pub(super) fn drain_until(&mut self, deadline: Instant) {
        self.drain_until = Some(deadline);
    }

    pub(super) fn snapshot(
        &mut self,
        parts: &Parts,
        crews: &BTreeMap<String, Crew>,
        pending: &BTreeMap<String, u64>,
    ) -> Snapshot {
        self.sample(crews);
        let vertices: Vec<_> = parts
            .pipeline
            .vertices
            .iter()
            .map(|settings| {
                let crew = &crews[&settings.name];
                let sample = self.samples.get(&settings.name).copied().unwrap_or_default();
                let staying = || crew.workers.values().filter(|worker| !worker.is_retired);
                Vertex {
                    name: settings.name.clone(),
                    kind: parts.kind(settings),
                    ready: staying().filter(|worker| worker.state == WorkerState::Ready).count() as u32,
                    desired: staying().count() as u32,
                    read_rate: sample.read_rate,
                    write_rate: sample.write_rate,
                    read_total: sample.read,
                    write_total: sample.written,
                    pending: pending.get(&settings.name).copied(),
                    incidents: crew.incidents_total(),
                    user_code: user_code(crew),
                }
            })
            .collect();
        let left = pending.values().sum();
        let is_up = vertices
            .iter()
            .all(|vertex| vertex.ready == vertex.desired && vertex.user_code != UserCode::Starting);
        let phase = match self.drain_until {
            Some(deadline) => {
                Phase::Draining { left, remaining: deadline.saturating_duration_since(Instant::now()) }
            }
            None if is_up => Phase::Running,
            None => Phase::Starting,
        };
        Snapshot { name: parts.pipeline.name.clone(), uptime: self.begun.elapsed(), phase, vertices }
    }

    fn sample(&mut self, crews: &BTreeMap<String, Crew>) {
        let elapsed = self.sampled.elapsed();
        if elapsed < INTERVAL_MIN {
            return;
        }
        let per_second =
            |after: u64, before: u64| after.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        for (name, crew) in crews {
            let Signals { read, written, .. } = crew.totals(&crew.signals());
            let sample = self.samples.entry(name.clone()).or_default();
            sample.read_rate = per_second(read, sample.read);
            sample.write_rate = per_second(written, sample.written);
            (sample.read, sample.written) = (read, written);
        }
        self.sampled = Instant::now();
    }
}

fn user_code(crew: &Crew) -> UserCode {
    let mut code = UserCode::None;
    for worker in crew.workers.values().filter(|worker| !worker.is_retired) {
        for container in worker.shown.containers() {
            if let State::BackOff { exit, .. } = &container.process.status.borrow().state {
                return UserCode::BackOff { reason: exit.to_string() };
            }
            if worker.state != WorkerState::Ready {
                code = UserCode::Starting;
            } else if code == UserCode::None {
                code = UserCode::Ready;
            }
        }
    }
    code
}
