//! What a daemon makes of counts over time: loads, how full the buffers are, health. Invariant: what was not looked at shows
//! as not known.

use std::collections::BTreeMap;
use std::time::Duration;

use api::names;
use api::resolve::{PipelineSettings, VertexKind, VertexSettings};
use keeper::health::{self, Health, Usages};
use keeper::load::{self, Load, Loads, Pending};
use model::Time;
use platform::local::engine::{Engine, Object, PartitionFigures, VertexFigures};
use server::daemon::{Buffer, EdgeWatermarks};
use tokio::time::Instant;

use super::desk::Known;

/// How often counts are taken.
const EVERY: Duration = Duration::from_secs(1);
/// Who counts what was done: everybody together.
const ALL: &str = "all";

/// What was seen so far.
pub(super) struct Figures {
    settings: PipelineSettings,
    is_mono: bool,
    loads: BTreeMap<String, Loads>,
    usages: Usages,
    due: Instant,
}

impl Figures {
    pub(super) fn new(object: &Object) -> Self {
        let settings = object.settings();
        let loads = settings.vertices.iter().map(|vertex| {
            let partitions = if vertex.kind == VertexKind::Source { 1 } else { vertex.partitions };
            (vertex.name.clone(), Loads::new(partitions, vertex.scale.lookback))
        });
        Self {
            is_mono: matches!(object, Object::Mono(_)),
            loads: loads.collect(),
            settings,
            usages: Usages::default(),
            due: Instant::now(),
        }
    }

    /// Looks if it is time to; gives what is known then.
    pub(super) fn sample(&mut self, engine: &mut Engine) -> Option<Known> {
        if Instant::now() < self.due {
            return None;
        }
        self.due = Instant::now() + EVERY;
        let now = engine.now();
        let figures = engine.figures();
        for (vertex, found) in &figures {
            if let Some(loads) = self.loads.get_mut(vertex) {
                let is_source = self
                    .settings
                    .vertices
                    .iter()
                    .any(|known| known.name == *vertex && known.kind == VertexKind::Source);
                loads.see(now, look(found, is_source));
            }
        }
        let buffers = self.buffers(&figures);
        let usages = buffers.iter().filter_map(|buffer| Some((buffer.name.clone(), buffer.usage()?)));
        self.usages.see(now, &usages.collect());
        let picture = engine.picture();
        let names: Vec<String> = buffers.iter().map(|buffer| buffer.name.clone()).collect();
        let loads: BTreeMap<String, Vec<Load>> =
            self.loads.iter().map(|(vertex, loads)| (vertex.clone(), loads.partitions(now))).collect();
        let health = if self.is_mono {
            self.health_of_mono(engine, &loads, now)
        } else {
            health::of_pipeline(&self.usages, &names, &picture, now)
        };
        let watermark = |vertex: &str| picture.vertices.get(vertex)?.watermark.map(Time::millis);
        let partitions = |name: &str| {
            let found = self.settings.vertices.iter().find(|vertex| vertex.name == name);
            found.map_or(1, |vertex| vertex.partitions)
        };
        let edge = |edge: &api::resolve::EdgeSettings| EdgeWatermarks {
            from: edge.from.clone(),
            to: edge.to.clone(),
            watermarks: (0..partitions(&edge.to)).map(|_| watermark(&edge.from)).collect(),
            is_enabled: self.settings.watermark.enabled,
        };
        let watermarks = self.settings.edges.iter().map(edge).collect();
        Some(Known { buffers, loads, watermarks, health: Some(health) })
    }

    fn buffers(&self, figures: &BTreeMap<String, VertexFigures>) -> Vec<Buffer> {
        let PipelineSettings { name, namespace, vertices, .. } = &self.settings;
        let of_vertex = |vertex: &VertexSettings| {
            let found =
                figures.get(&vertex.name).map(|figures| figures.partitions.as_slice()).unwrap_or_default();
            let buffer = |(partition, found): (u32, &PartitionFigures)| Buffer {
                name: names::buffer(namespace, name, &vertex.name, partition),
                pending: Some(found.left.saturating_sub(found.in_hand)),
                in_hand: Some(found.in_hand.min(found.left)),
                stored: Some(found.left),
                length: Some(vertex.limits.buffer_max_length),
                usage_limit: Some(f64::from(vertex.limits.buffer_usage_limit_percent) / 100.0),
            };
            (0u32..).zip(found).map(buffer).collect::<Vec<_>>()
        };
        let inner = vertices.iter().filter(|vertex| vertex.kind != VertexKind::Source);
        inner.flat_map(of_vertex).collect()
    }

    /// Judged by how many workers what waits outside calls for.
    fn health_of_mono(&self, engine: &mut Engine, loads: &BTreeMap<String, Vec<Load>>, now: Time) -> Health {
        let vertex = &self.settings.vertices[0];
        let ready = engine.ready_workers(&vertex.name);
        let figures = loads.get(&vertex.name).and_then(|loads| loads.first()?.windows.get("default"));
        let wanted = figures.and_then(|figures| {
            let rate = figures.rate?;
            match figures.pending {
                Pending::Known(0) => Some(0),
                Pending::Known(pending) if rate > 0.0 && ready > 0 => {
                    let seconds = vertex.scale.target_processing.as_secs_f64().max(1.0);
                    Some((pending as f64 / seconds / (rate / f64::from(ready))).ceil() as u32)
                }
                Pending::Known(_) | Pending::Untold | Pending::Unseen => None,
            }
        });
        health::of_mono_vertex(wanted, vertex.scale.max, &engine.picture(), now)
    }
}

/// One look at a vertex.
fn look(found: &VertexFigures, is_source: bool) -> load::Look {
    let partitions = || (0u32..).zip(&found.partitions);
    let counters = partitions().map(|(number, partition)| ((ALL.to_owned(), number), partition.done));
    let pending = partitions()
        .map(|(number, partition)| (number, if is_source { found.outside } else { Some(partition.left) }));
    load::Look { counters: counters.collect(), pending: pending.collect() }
}
