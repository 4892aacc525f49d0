//! What a run looks like from outside: totals, rates over the last interval, and the state of user code.

use std::time::{Duration, Instant};

use connect::incident::Incident;

use super::parts::Parts;
use super::replica::{Replica, View};
use crate::local::process::State;
use crate::local::snapshot::{Phase, Snapshot, UserCode, Vertex};
use std::collections::BTreeMap;

/// The shortest interval that rates are taken over.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

pub(super) struct Gauges {
    replicas: Vec<View>,
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
        Self { replicas: Vec::new(), begun, drain_until: None, sampled: begun, samples: BTreeMap::new() }
    }
}

impl Gauges {
    pub(super) fn add(&mut self, replica: &Replica) {
        self.replicas.push(replica.view());
    }

    pub(super) fn drain_until(&mut self, deadline: Instant) {
        self.drain_until = Some(deadline);
    }

    pub(super) fn incidents(&self) -> Vec<Incident> {
        let mut all: Vec<_> = self.replicas.iter().flat_map(|view| view.incidents.recent()).collect();
        all.sort_by_key(|incident| incident.at);
        all
    }

    /// Messages that workers have read and not committed.
    pub(super) fn in_hand(&self) -> u64 {
        let reports = self.replicas.iter().flat_map(|view| {
            let worker = view.worker.lock().expect("nothing panics while the handle is locked");
            worker.as_ref().map(worker::Handle::report).unwrap_or_default()
        });
        reports.map(|report| report.in_hand).sum()
    }

    pub(super) fn snapshot(&mut self, parts: &Parts, pending: &BTreeMap<String, u64>) -> Snapshot {
        self.sample();
        let vertices: Vec<_> = parts
            .pipeline
            .vertices
            .iter()
            .map(|settings| {
                let views: Vec<_> =
                    self.replicas.iter().filter(|view| view.vertex == settings.name).collect();
                let sample = self.samples.get(&settings.name).copied().unwrap_or_default();
                let works = |view: &&&View| {
                    view.worker.lock().expect("nothing panics while the handle is locked").is_some()
                };
                Vertex {
                    name: settings.name.clone(),
                    kind: parts.kind(settings),
                    ready: views.iter().filter(works).count() as u32,
                    desired: views.len() as u32,
                    read_rate: sample.read_rate,
                    write_rate: sample.write_rate,
                    read_total: sample.read,
                    write_total: sample.written,
                    pending: pending.get(&settings.name).copied(),
                    incidents: views.iter().map(|view| view.incidents.total()).sum(),
                    user_code: user_code(&views),
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

    fn sample(&mut self) {
        let elapsed = self.sampled.elapsed();
        let fresh = elapsed >= INTERVAL_MIN;
        let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for view in &self.replicas {
            let total = totals.entry(view.vertex.to_string()).or_default();
            total.0 += view.metrics.read.get();
            total.1 += view.metrics.write.get();
        }
        for (name, (read, written)) in totals {
            let sample = self.samples.entry(name).or_default();
            if fresh {
                let per_second =
                    |after: u64, before: u64| after.saturating_sub(before) as f64 / elapsed.as_secs_f64();
                sample.read_rate = per_second(read, sample.read);
                sample.write_rate = per_second(written, sample.written);
                (sample.read, sample.written) = (read, written);
            }
        }
        if fresh {
            self.sampled = Instant::now();
        }
    }
}

fn user_code(views: &[&View]) -> UserCode {
    let mut code = UserCode::None;
    for handle in views.iter().flat_map(|view| &view.processes) {
        match &handle.status.borrow().state {
            State::BackOff { exit, .. } => return UserCode::BackOff { reason: exit.to_string() },
            State::Waiting | State::Stopped => code = UserCode::Starting,
            State::Running { .. } if code == UserCode::None => code = UserCode::Ready,
            State::Running { .. } => {}
        }
    }
    code
}
