//! What is printed when a run has started: what runs where, what stands in for what, how to send and how to stop.
//!
//! Pure: facts go in, lines come out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use platform::local::snapshot::Snapshot;

/// What there is to say.
pub(super) struct Facts {
    /// The run at its start.
    pub(super) snapshot: Snapshot,
    /// Sentences about substitutes.
    pub(super) announcements: Vec<String>,
    /// Vertices and the URLs they listen at.
    pub(super) urls: Vec<(String, String)>,
    /// Vertices that ask callers for a token.
    pub(super) secured: Vec<String>,
    /// The state directory.
    pub(super) state: PathBuf,
    /// Whether an earlier run left it.
    pub(super) is_resumed: bool,
    /// Where metrics are.
    pub(super) metrics: Option<SocketAddr>,
    /// How long a drain may take.
    pub(super) drain_timeout: Duration,
}

/// The lines.
pub(super) fn lines(facts: &Facts) -> Vec<String> {
    let Facts { snapshot, announcements, urls, secured, state, is_resumed, metrics, drain_timeout } = facts;
    let mut lines = vec![format!("{} runs on this machine:", snapshot.name)];
    let width = snapshot.vertices.iter().map(|vertex| vertex.name.chars().count()).max().unwrap_or_default();
    for vertex in &snapshot.vertices {
        let plural = if vertex.desired == 1 { "" } else { "s" };
        lines
            .push(format!("  {:width$}  {:6}  {} replica{plural}", vertex.name, vertex.kind, vertex.desired));
    }
    lines.extend(announcements.iter().map(|sentence| format!("  note: {sentence}")));
    for (vertex, url) in urls {
        let token = if secured.contains(vertex) { " -H \"Authorization: Bearer $TOKEN\"" } else { "" };
        let unverified = if url.starts_with("https:") { " -k" } else { "" };
        lines.push(format!("  send: curl{unverified}{token} -d hello {url}"));
    }
    if let Some(address) = metrics {
        lines.push(format!("  metrics: http://{address}/metrics"));
    }
    let resumed = if *is_resumed { ", with what an earlier run left in it" } else { "" };
    lines.push(format!("  state: {}{resumed}", state.display()));
    lines.push(format!(
        "  stop: Ctrl-C drains for at most {drain_timeout:?} and stops, Ctrl-C twice stops at once and keeps the rest"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use platform::local::snapshot::{Phase, Snapshot, UserCode, Vertex};

    use super::{Facts, lines};

    #[test]
    fn the_start_says_what_runs_and_how_to_go_on() {
        let vertex = |name: &str, kind, desired| Vertex {
            name: name.to_owned(),
            kind,
            ready: 0,
            desired,
            read_rate: 0.0,
            write_rate: 0.0,
            read_total: 0,
            write_total: 0,
            pending: None,
            incidents: 0,
            user_code: UserCode::None,
        };
        let facts = Facts {
            snapshot: Snapshot {
                name: "even-odd".to_owned(),
                uptime: Duration::ZERO,
                phase: Phase::Starting,
                vertices: vec![vertex("in", "source", 1), vertex("even-or-odd", "map", 2)],
            },
            announcements: vec!["even-or-odd/udf is a native stand-in for image x".to_owned()],
            urls: vec![
                ("in".to_owned(), "https://localhost:8443/vertices/in".to_owned()),
                ("in".to_owned(), "http://localhost:8090/vertices/in".to_owned()),
            ],
            secured: vec!["in".to_owned()],
            state: "/s".into(),
            is_resumed: true,
            metrics: Some("127.0.0.1:9090".parse().unwrap()),
            drain_timeout: Duration::from_secs(30),
        };
        assert_eq!(
            lines(&facts),
            [
                "even-odd runs on this machine:",
                "  in           source  1 replica",
                "  even-or-odd  map     2 replicas",
                "  note: even-or-odd/udf is a native stand-in for image x",
                "  send: curl -k -H \"Authorization: Bearer $TOKEN\" -d hello https://localhost:8443/vertices/in",
                "  send: curl -H \"Authorization: Bearer $TOKEN\" -d hello http://localhost:8090/vertices/in",
                "  metrics: http://127.0.0.1:9090/metrics",
                "  state: /s, with what an earlier run left in it",
                "  stop: Ctrl-C drains for at most 30s and stops, Ctrl-C twice stops at once and keeps the rest",
            ]
        );
    }
}
