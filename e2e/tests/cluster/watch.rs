//! Objects followed as they change, with one `kubectl get --watch` for each wait. Invariant: every state that the API server
//! went through is seen once and in order, so that a condition which held only for a moment is not missed, and looking costs
//! the cluster nothing.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::de::IoRead;
use serde_json::{Deserializer, StreamDeserializer, Value};

use crate::kubectl;

/// How much of a status is shown when it never was what it should have been.
const STATUS_CHARS_MAX: usize = 2_000;

/// A running `kubectl get --watch`; ended when dropped.
pub(crate) struct Watch {
    child: Child,
    events: StreamDeserializer<'static, IoRead<BufReader<ChildStdout>>, Value>,
    /// The objects that there are, by name.
    pub(crate) objects: BTreeMap<String, Value>,
}

impl Watch {
    /// Follows one object, which may not be there yet.
    pub(crate) fn one(kind: &str, name: &str, limit: Duration) -> Self {
        Self::start(kind, &format!("--field-selector=metadata.name={name}"), limit)
    }

    /// Follows all objects with labels.
    pub(crate) fn all(kind: &str, selector: &str, limit: Duration) -> Self {
        Self::start(kind, &format!("--selector={selector}"), limit)
    }

    fn start(kind: &str, which: &str, limit: Duration) -> Self {
        let limit = format!("--request-timeout={}s", limit.as_secs());
        let words = ["get", kind, which, "--watch", "--output-watch-events", "-o", "json", &limit];
        let mut child = kubectl::command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl can be started");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        let events = Deserializer::from_reader(lines).into_iter();
        Self { child, events, objects: BTreeMap::new() }
    }

    /// Waits for the next change; none when the time is over or the watch was ended.
    pub(crate) fn next(&mut self) -> Option<()> {
        let mut event = self.events.next()?.ok()?;
        let object = event["object"].take();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str() {
            Some("DELETED") => drop(self.objects.remove(&name)),
            _ => drop(self.objects.insert(name, object)),
        }
        Some(())
    }

    /// Waits until the objects are as they should be, and says how long that took.
    ///
    /// # Panics
    /// When they are not before the watch ends; `what` says what was waited for.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&BTreeMap<String, Value>) -> Option<T>,
    ) -> (T, Duration) {
        let begun = Instant::now();
        loop {
            if let Some(found) = is_so(&self.objects) {
                return (found, begun.elapsed());
            }
            if self.next().is_none() {
                let last = self.objects.iter().map(|(name, object)| {
                    format!("{name}: {}", object["status"]).chars().take(STATUS_CHARS_MAX).collect::<String>()
                });
                let last: Vec<String> = last.collect();
                panic!("waited {:?} in vain until {what}:\n{}", begun.elapsed(), last.join("\n"));
            }
        }
    }

    /// What ends the watch from another thread.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // One that has ended by itself is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
