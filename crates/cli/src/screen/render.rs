//! How a run looks as text. Pure: a snapshot goes in, lines come out.
//!
//! Invariant: no line is longer than the width it is given, so a terminal never wraps one and the view can be redrawn.

use std::time::Duration;

use platform::local::snapshot::{Phase, Snapshot, UserCode, Vertex};

use crate::text::{clip, grouped, rate};

/// Titles of the columns behind the name.
const TITLES: [&str; 7] = ["KIND", "READY", "IN/S", "OUT/S", "IN", "OUT", "PENDING"];

/// A table with one line for each vertex.
pub(super) fn view(snapshot: &Snapshot, width: usize) -> Vec<String> {
    let mut rows = vec![row_of_titles()];
    rows.extend(snapshot.vertices.iter().map(row_of));
    let widths: Vec<usize> = (0..=TITLES.len())
        .map(|column| rows.iter().map(|row| row.cells[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut lines = vec![clip(&head(snapshot), width)];
    lines.extend(rows.iter().map(|row| clip(&row.to_line(&widths), width)));
    lines
}

/// The whole run in one line, for where nothing can be redrawn.
pub(super) fn line(snapshot: &Snapshot) -> String {
    let parts = snapshot.vertices.iter().map(|vertex| {
        let pending =
            vertex.pending.map_or_else(String::new, |pending| format!(" pending {}", grouped(pending)));
        let remarks = remarks(vertex);
        let remarks = if remarks.is_empty() { remarks } else { format!(" ({remarks})") };
        format!(
            "{} in {}/s out {}/s{pending}{remarks}",
            vertex.name,
            rate(vertex.read_rate),
            rate(vertex.write_rate)
        )
    });
    format!("{}: {}", head(snapshot), parts.collect::<Vec<_>>().join(" · "))
}

fn head(snapshot: &Snapshot) -> String {
    let phase = match &snapshot.phase {
        Phase::Starting => "starting".to_owned(),
        Phase::Running => "running".to_owned(),
        Phase::Draining { left, remaining } => {
            format!("draining, {} left, {} to go at most", grouped(*left), clock(*remaining))
        }
        Phase::Stopped { left: 0 } => "stopped, drained".to_owned(),
        Phase::Stopped { left } => format!("stopped, {} kept", grouped(*left)),
    };
    format!("{} {phase} ({})", snapshot.name, clock(snapshot.uptime))
}

struct Row {
    /// The name, then one cell for each title.
    cells: Vec<String>,
    remarks: String,
}

impl Row {
    /// Name and kind to the left, numbers to the right.
    fn to_line(&self, widths: &[usize]) -> String {
        let cells = self.cells.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("  {line}  {}", self.remarks).trim_end().to_owned()
    }
}

fn row_of_titles() -> Row {
    let cells = std::iter::once("VERTEX").chain(TITLES).map(str::to_owned).collect();
    Row { cells, remarks: String::new() }
}

fn row_of(vertex: &Vertex) -> Row {
    let cells = vec![
        vertex.name.clone(),
        vertex.kind.to_owned(),
        format!("{}/{}", vertex.ready, vertex.desired),
        rate(vertex.read_rate),
        rate(vertex.write_rate),
        grouped(vertex.read_total),
        grouped(vertex.write_total),
        vertex.pending.map_or_else(|| "-".to_owned(), grouped),
    ];
    Row { cells, remarks: remarks(vertex) }
}

/// What is unusual about a vertex.
fn remarks(vertex: &Vertex) -> String {
    let mut parts = Vec::new();
    match &vertex.user_code {
        UserCode::None | UserCode::Ready => {}
        UserCode::Starting => parts.push("user code is starting".to_owned()),
        UserCode::BackOff { reason } => parts.push(format!("user code {reason}, waiting to start again")),
    }
    match vertex.incidents {
        0 => {}
        1 => parts.push("1 incident".to_owned()),
        count => parts.push(format!("{} incidents", grouped(count))),
    }
    parts.join(", ")
}

/// `7s`, `1:07` or `1:02:07`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}:{seconds:02}"),
        (_, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use platform::local::snapshot::{Phase, Snapshot, UserCode, Vertex};

    use super::{clock, line, view};

    fn snapshot(phase: Phase) -> Snapshot {
        let vertex = |name: &str, kind, pending| Vertex {
            name: name.to_owned(),
            kind,
            ready: 1,
            desired: 1,
            read_rate: 5.04,
            write_rate: 1_234_567.8,
            read_total: 120,
            write_total: 1_234_567,
            pending,
            incidents: 0,
            user_code: UserCode::None,
        };
        let mut cat = vertex("cat", "map", Some(1_000));
        cat.incidents = 2;
        cat.user_code = UserCode::BackOff { reason: "ended with exit code 3".to_owned() };
        Snapshot {
            name: "simple".to_owned(),
            uptime: Duration::from_secs(67),
            phase,
            vertices: vec![vertex("in", "source", None), cat],
        }
    }

    #[test]
    fn the_view_is_a_table_with_a_line_for_each_vertex() {
        assert_eq!(
            view(&snapshot(Phase::Running), 120),
            [
                "simple running (1:07)",
                "  VERTEX  KIND    READY  IN/S      OUT/S   IN        OUT  PENDING",
                "  in      source    1/1   5.0  1 234 568  120  1 234 567        -",
                "  cat     map       1/1   5.0  1 234 568  120  1 234 567    1 000  user code ended with exit code 3, \
                 waiting to start a…",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 1..100 {
            let lines = view(&snapshot(Phase::Running), width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
        }
    }

    #[test]
    fn a_drain_counts_down() {
        let draining = Phase::Draining { left: 1_234, remaining: Duration::from_secs(12) };
        assert_eq!(
            view(&snapshot(draining), 120)[0],
            "simple draining, 1 234 left, 12s to go at most (1:07)"
        );
    }

    #[test]
    fn without_a_terminal_everything_is_one_line() {
        assert_eq!(
            line(&snapshot(Phase::Starting)),
            "simple starting (1:07): in in 5.0/s out 1 234 568/s · cat in 5.0/s out 1 234 568/s pending 1 000 (user \
             code ended with exit code 3, waiting to start again, 2 incidents)"
        );
    }

    #[test]
    fn times_are_as_short_as_they_can_be() {
        assert_eq!(
            [7, 67, 3_727].map(|seconds| clock(Duration::from_secs(seconds))),
            ["7s", "1:07", "1:02:07"]
        );
    }
}
