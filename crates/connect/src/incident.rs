//! What goes wrong in user code and connectors, kept for people: bounded, newest first out last.
//!
//! An incident never stops anything by itself. It is logged once, here.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use model::Name;

/// How many incidents are kept for each vertex replica.
pub const KEPT: usize = 10;

/// One named error.
#[derive(Clone, Debug)]
pub struct Incident {
    /// The container, such as `udf`, `udsource`, `udsink` or `numa` for our own part.
    pub container: String,
    /// A stable word for what happened, such as `crashed`, `unresponsive`, `protocol`, `refused`.
    pub code: Cow<'static, str>,
    /// What happened, in one sentence.
    pub message: String,
    /// Stack trace or other detail that user code sent; may be empty.
    pub details: String,
    /// Ids of the messages concerned, at most a handful.
    pub messages: Vec<String>,
    /// When.
    pub at: SystemTime,
}

/// Where one replica of a vertex reports incidents. Clones share one list.
#[derive(Clone, Debug)]
pub struct Incidents {
    vertex: Name,
    replica: u16,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    recent: VecDeque<Incident>,
    total: u64,
}

impl Incidents {
    /// An empty list for one replica.
    pub fn new(vertex: Name, replica: u16) -> Self {
        Self { vertex, replica, kept: Arc::default() }
    }

    /// Logs and keeps an incident.
    pub fn report(&self, incident: Incident) {
        tracing::warn!(
            vertex = %self.vertex, replica = self.replica, container = incident.container, code = %incident.code,
            messages = ?incident.messages, "{}", incident.message,
        );
        let mut kept = self.kept.lock().expect("nothing panics while the list is locked");
        if kept.recent.len() == KEPT {
            kept.recent.pop_front();
        }
        kept.recent.push_back(incident);
        kept.total += 1;
    }

    /// The kept incidents, oldest first.
    pub fn recent(&self) -> Vec<Incident> {
        let kept = self.kept.lock().expect("nothing panics while the list is locked");
        kept.recent.iter().cloned().collect()
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.kept.lock().expect("nothing panics while the list is locked").total
    }
}
