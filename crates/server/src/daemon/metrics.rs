//! What a daemon shows to Prometheus, made of its other answers. Invariant: what is not known has no sample, and a
//! question that fails leaves out its own samples only.

use std::time::{SystemTime, UNIX_EPOCH};

use keeper::health::Level;
use keeper::load::{Load, Pending};
use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::Status;

use super::{Daemon, EdgeWatermarks, Subject, Vertex, answers};

/// A lag that is not known.
const LAG_UNKNOWN: i64 = -1;

type Labels = Vec<(&'static str, String)>;

/// The whole page.
pub(super) async fn page(daemon: &dyn Daemon) -> String {
    let mut registry = Registry::default();
    match daemon.subject() {
        Subject::Pipeline { name, vertices } => pipeline(&mut registry, daemon, &name, &vertices).await,
        Subject::MonoVertex { name } => mono_vertex(&mut registry, daemon, &name).await,
    }
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("writing to a string cannot fail");
    page
}

async fn pipeline(registry: &mut Registry, daemon: &dyn Daemon, name: &str, vertices: &[Vertex]) {
    let pending = family(registry, "vertex_pending_messages", "Messages that are not done, by period");
    let rates = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    registry.register(
        "tidegate_vertex_processing_rate",
        "Messages read per second, by period",
        rates.clone(),
    );
    for vertex in vertices {
        let Some(loads) = known(answers::asked(daemon.loads(&vertex.name)).await) else { continue };
        for (load, partition) in loads.iter().zip(&vertex.partitions) {
            let labels = |period: &str| {
                vec![
                    ("pipeline", name.to_owned()),
                    ("vertex", vertex.name.clone()),
                    ("partition_name", partition.clone()),
                    ("period", period.to_owned()),
                ]
            };
            show(load, labels, &pending, &rates);
        }
    }
    if let Some(edges) = known(answers::asked(daemon.watermarks()).await) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let (lag, age) = lag(&edges, vertices, i64::try_from(now).unwrap_or(i64::MAX));
        let labels = vec![("pipeline", name.to_owned())];
        let help = "Latest watermark of a source less earliest watermark of a sink, in milliseconds";
        family(registry, "pipeline_processing_lag", help).get_or_create(&labels).set(lag);
        if let Some(age) = age {
            let help = "The time less the latest watermark of a source, in milliseconds";
            family(registry, "pipeline_watermark_cmp_now", help).get_or_create(&labels).set(age);
        }
    }
    let labels = vec![("pipeline", name.to_owned())];
    health(registry, daemon, "pipeline_data_processing_health", labels).await;
}

async fn mono_vertex(registry: &mut Registry, daemon: &dyn Daemon, name: &str) {
    let pending = family(registry, "monovtx_pending", "Messages that are not done, by period");
    let rates = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    let help = "Messages read per second, by period";
    registry.register("tidegate_monovtx_processing_rate", help, rates.clone());
    let named = || ("mvtx_name", name.to_owned());
    for load in known(answers::asked(daemon.loads(name)).await).unwrap_or_default() {
        show(&load, |period| vec![named(), ("period", period.to_owned())], &pending, &rates);
    }
    health(registry, daemon, "monovtx_data_processing_health", vec![named()]).await;
}

fn show(
    load: &Load,
    labels: impl Fn(&str) -> Labels,
    pending: &Family<Labels, Gauge>,
    rates: &Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>,
) {
    for (period, figures) in &load.windows {
        if let Pending::Known(count) = figures.pending {
            pending.get_or_create(&labels(period)).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if let Some(rate) = figures.rate {
            rates.get_or_create(&labels(period)).set(rate);
        }
    }
}

async fn health(registry: &mut Registry, daemon: &dyn Daemon, name: &str, labels: Labels) {
    let health = known(answers::asked(daemon.health()).await);
    let value = match health.map_or(Level::Unknown, |health| health.level) {
        Level::Healthy => 1,
        Level::Unknown => 0,
        Level::Warning => -1,
        Level::Critical => -2,
    };
    let help = "1 data flows, 0 unknown, -1 warning, -2 critical";
    family(registry, name, help).get_or_create(&labels).set(value);
}

/// How far the sinks are behind the sources, and how far the sources are behind the clock.
fn lag(edges: &[EdgeWatermarks], vertices: &[Vertex], now: i64) -> (i64, Option<i64>) {
    let of =
        |name: &str, is: fn(&Vertex) -> bool| vertices.iter().any(|vertex| vertex.name == name && is(vertex));
    let enabled = || edges.iter().filter(|edge| edge.is_enabled);
    let latest = enabled()
        .filter(|edge| of(&edge.from, |vertex| vertex.is_source))
        .flat_map(|edge| edge.watermarks.iter().flatten())
        .max();
    let mut at_sinks = enabled()
        .filter(|edge| of(&edge.to, |vertex| vertex.is_sink))
        .flat_map(|edge| edge.watermarks.iter().copied());
    // A sink whose watermark is not known may be behind by anything.
    let earliest = at_sinks.try_fold(i64::MAX, |least, of_one| Some(least.min(of_one?)));
    let lag = match (latest, earliest) {
        (Some(latest), Some(earliest)) if earliest < i64::MAX => latest.saturating_sub(earliest).max(0),
        _ => LAG_UNKNOWN,
    };
    (lag, latest.map(|latest| now.saturating_sub(*latest)))
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Gauge> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn known<T>(answer: Result<T, Status>) -> Option<T> {
    answer.inspect_err(|status| tracing::debug!(error = %status, "a figure is left out")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(name: &str, is_source: bool, is_sink: bool) -> Vertex {
        Vertex { name: name.to_owned(), is_source, is_sink, partitions: Vec::new() }
    }

    fn edge(from: &str, to: &str, watermarks: &[Option<i64>]) -> EdgeWatermarks {
        let (from, to) = (from.to_owned(), to.to_owned());
        EdgeWatermarks { from, to, watermarks: watermarks.to_vec(), is_enabled: true }
    }

    #[test]
    fn the_lag_is_from_the_latest_source_to_the_earliest_sink() {
        let vertices = [vertex("in", true, false), vertex("cat", false, false), vertex("out", false, true)];
        let of = |source: &[Option<i64>], sink: &[Option<i64>]| {
            lag(&[edge("in", "cat", source), edge("cat", "out", sink)], &vertices, 1000)
        };
        assert_eq!(of(&[Some(900), Some(950)], &[Some(700), Some(800)]), (250, Some(50)));
        assert_eq!(of(&[Some(900), None], &[Some(700)]), (200, Some(100)));
        assert_eq!(of(&[Some(900)], &[Some(700), None]), (-1, Some(100)));
        assert_eq!(of(&[None], &[Some(700)]), (-1, None));
        assert_eq!(of(&[Some(700)], &[Some(900)]), (0, Some(300)));
        assert_eq!(lag(&[], &vertices, 1000), (-1, None));
        let mut off = edge("in", "out", &[Some(0)]);
        off.is_enabled = false;
        assert_eq!(lag(&[off], &vertices, 1000), (-1, None));
    }
}
