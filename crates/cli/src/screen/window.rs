//! Rates over the last seconds. Sources that give a burst each second would show a rate and nothing in turn otherwise.
//!
//! Pure: points in time come in. Invariant: memory is bounded by [`POINTS_MAX`].

use std::collections::VecDeque;
use std::time::Duration;

use platform::local::snapshot::Snapshot;

/// How far back rates look.
const SPAN: Duration = Duration::from_secs(3);
/// How many points are kept.
const POINTS_MAX: usize = 64;

/// Totals of every vertex at points in time, oldest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    points: VecDeque<Point>,
}

#[derive(Debug)]
struct Point {
    uptime: Duration,
    /// Read and written, by vertex in the order of the snapshot.
    totals: Vec<(u64, u64)>,
}

impl Window {
    /// The snapshot with its rates over the last seconds.
    pub(super) fn smooth(&mut self, mut snapshot: Snapshot) -> Snapshot {
        let totals = snapshot.vertices.iter().map(|vertex| (vertex.read_total, vertex.write_total)).collect();
        let point = Point { uptime: snapshot.uptime, totals };
        // The oldest point stays until the next one is old enough, so that the window is never shorter than it can be.
        while self.points.get(1).is_some_and(|next| point.uptime.saturating_sub(next.uptime) >= SPAN)
            || self.points.len() >= POINTS_MAX
        {
            self.points.pop_front();
        }
        if let Some(oldest) = self.points.front() {
            let seconds = point.uptime.saturating_sub(oldest.uptime).as_secs_f64();
            let per_second = |after: u64, before: u64| {
                if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
            };
            for (vertex, &(read, written)) in snapshot.vertices.iter_mut().zip(&oldest.totals) {
                vertex.read_rate = per_second(vertex.read_total, read);
                vertex.write_rate = per_second(vertex.write_total, written);
            }
        }
        self.points.push_back(point);
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use platform::local::snapshot::{Phase, Snapshot, UserCode, Vertex};

    use super::{POINTS_MAX, Window};

    fn at(millis: u64, total: u64) -> Snapshot {
        let vertex = Vertex {
            name: "in".to_owned(),
            kind: "source",
            ready: 1,
            desired: 1,
            read_rate: -1.0,
            write_rate: -1.0,
            read_total: total,
            write_total: 2 * total,
            pending: None,
            incidents: 0,
            user_code: UserCode::None,
        };
        let uptime = Duration::from_millis(millis);
        Snapshot { name: "p".to_owned(), uptime, phase: Phase::Running, vertices: vec![vertex] }
    }

    #[test]
    fn bursts_each_second_become_a_steady_rate() {
        let mut window = Window::default();
        // Five messages at the end of every second, looked at four times a second.
        let rates: Vec<f64> =
            (0..40).map(|step| window.smooth(at(step * 250, step / 4 * 5)).vertices[0].read_rate).collect();
        assert!(rates[20..].iter().all(|rate| (*rate - 5.0).abs() < 1e-9), "{rates:?}");
        assert!((window.smooth(at(10_000, 50)).vertices[0].write_rate - 10.0).abs() < 1e-9);
    }

    #[test]
    fn the_window_is_bounded_and_two_looks_at_once_are_no_division_by_zero() {
        let mut window = Window::default();
        window.smooth(at(0, 0));
        assert!(window.smooth(at(0, 10)).vertices[0].read_rate.abs() < 1e-9);
        for step in 0..1_000 {
            window.smooth(at(step, step));
        }
        assert!(window.points.len() <= POINTS_MAX);
    }
}
