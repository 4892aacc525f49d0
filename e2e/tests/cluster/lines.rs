//! What log sinks have printed, pod after pod and container after container, read while it is printed, because the log of a pod
//! goes with it. Invariant: a line is counted once, however often its log was opened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::wait;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::kubectl::{self, LIMIT};
use crate::watch::Watch;

/// The longest that a test reads along.
const READING_MAX: Duration = Duration::from_mins(20);

/// One message at a sink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// When it was printed, by the node's clock, in nanoseconds since the Unix epoch.
    pub(crate) at_nanos: i128,
    /// The message.
    pub(crate) number: u64,
    /// When the source gave it, in milliseconds since the Unix epoch.
    pub(crate) event_millis: i64,
    pod: String,
    /// What follows the number in the payload.
    pub(crate) mark: String,
}

impl Line {
    /// How long the message was under way.
    pub(crate) fn latency(&self) -> Duration {
        let millis = self.at_nanos / 1_000_000 - i128::from(self.event_millis);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

#[derive(Default)]
struct Shared {
    lines: Mutex<BTreeSet<Line>>,
    followers: Mutex<Vec<Child>>,
}

/// Reads along.
pub(crate) struct Lines {
    shared: Arc<Shared>,
    watch: u32,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    /// Reads the logs of our containers in all pods with these labels, those that come later as well.
    pub(crate) fn of(selector: &str) -> Self {
        let mut watch = Watch::all("pods", selector, READING_MAX);
        let (shared, process) = (Arc::<Shared>::default(), watch.process());
        let reader = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let (mut opened, mut readers) = (BTreeSet::new(), Vec::new());
            while watch.next().is_some() {
                for (pod, container) in watch.objects.values().filter_map(running) {
                    if opened.insert((pod.clone(), container)) {
                        readers.push(follow(&reader, pod));
                    }
                }
            }
            for reader in readers {
                reader.join().expect("reading does not panic");
            }
        });
        Self { shared, watch: process, thread: Some(thread) }
    }

    /// The sink of a pipeline, which is called `out`.
    pub(crate) fn of_sink(pipeline: &str) -> Self {
        Self::of(&format!("{}={pipeline},numaflow.numaproj.io/vertex-name=out", crate::manifests::PIPELINE))
    }

    /// Everything so far, the oldest first.
    pub(crate) fn all(&self) -> Vec<Line> {
        let lines = self.shared.lines.lock().expect("nothing panics while it holds the lines");
        lines.iter().cloned().collect()
    }

    /// How often each number came.
    pub(crate) fn numbers(&self) -> BTreeMap<u64, u32> {
        let mut found = BTreeMap::new();
        for line in self.all() {
            *found.entry(line.number).or_insert(0) += 1;
        }
        found
    }

    /// Waits until so many lines more than `before` are there.
    pub(crate) fn until_more(&self, before: usize, more: usize) {
        let what = format!("{more} more messages than {before} have arrived");
        wait::within(LIMIT, &what, || (self.len() >= before + more).then_some(()));
    }

    pub(crate) fn len(&self) -> usize {
        self.shared.lines.lock().expect("nothing panics while it holds the lines").len()
    }

    /// Waits until all numbers below `count` are there.
    pub(crate) fn until_complete(&self, count: u64, limit: Duration) {
        let what = format!("{count} numbers have arrived");
        wait::within(limit, &what, || (self.numbers().len() as u64 >= count).then_some(()));
    }

    /// Asserts that the numbers 0 to `count` − 1 have come once each, and no others.
    ///
    /// # Panics
    /// With those that are missing or came more often.
    pub(crate) fn assert_exact(&self, count: u64) {
        let found = self.numbers();
        let missing: Vec<u64> = (0..count).filter(|number| !found.contains_key(number)).collect();
        assert!(missing.is_empty(), "{} of {count} are missing: {:?}", missing.len(), head(&missing));
        let twice: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "{} came more than once: {:?}", twice.len(), head(&twice));
        assert_eq!(found.len() as u64, count, "the last is {:?}", found.keys().next_back());
    }

    /// The messages of each second, from the first to the last, without those that were cut short.
    pub(crate) fn rates(lines: &[Line]) -> Vec<usize> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Vec::new() };
        let seconds = usize::try_from((last.at_nanos - first.at_nanos) / 1_000_000_000).expect("it is short");
        let mut counts = vec![0; seconds];
        for line in lines {
            let second =
                usize::try_from((line.at_nanos - first.at_nanos) / 1_000_000_000).expect("it is short");
            if let Some(count) = counts.get_mut(second) {
                *count += 1;
            }
        }
        counts
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        end(self.watch);
        let mut followers =
            self.shared.followers.lock().expect("nothing panics while it holds the processes");
        for follower in followers.iter_mut() {
            // One that has ended by itself is fine.
            drop(follower.kill());
            drop(follower.wait());
        }
        drop(followers);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// When the first message was printed by a pod with these labels, by the node's clock, in nanoseconds since the Unix epoch.
pub(crate) fn first_message(selector: &str) -> i128 {
    let mut watch = Watch::all("pods", selector, LIMIT);
    let ((pod, _), _) = watch.until("a pod of the sink runs", |pods| pods.values().find_map(running));
    let mut child = log_of(&pod);
    let lines = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut lines = lines.lines().map_while(Result::ok);
    let first =
        lines.find(|line| line.contains(" Payload - ")).expect("the log goes on until a message is there");
    drop(child.kill());
    drop(child.wait());
    nanos(first.split(' ').next().unwrap_or_default()).expect("a line begins with its time")
}

/// The pod, and which life of our container runs or has run in it.
fn running(pod: &Value) -> Option<(String, String)> {
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    let numa = statuses.iter().find(|status| status["name"] == "numa")?;
    let started = !numa["state"]["running"].is_null() || !numa["state"]["terminated"].is_null();
    let container = numa["containerID"].as_str().filter(|id| started && !id.is_empty())?;
    Some((pod["metadata"]["name"].as_str()?.to_owned(), container.to_owned()))
}

/// Reads the log of the container that runs in a pod to its end.
fn follow(shared: &Arc<Shared>, pod: String) -> JoinHandle<()> {
    let mut child = log_of(&pod);
    let lines = BufReader::new(child.stdout.take().expect("it was asked for"));
    shared.followers.lock().expect("nothing panics while it holds the processes").push(child);
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Some(line) = parse(&pod, &line) {
                shared.lines.lock().expect("nothing panics while it holds the lines").insert(line);
            }
        }
    })
}

fn log_of(pod: &str) -> Child {
    kubectl::command(&["logs", "--follow", "--timestamps", pod, "-c", "numa"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("kubectl can be started")
}

/// A line as `kubectl logs --timestamps` prints it.
fn parse(pod: &str, line: &str) -> Option<Line> {
    let (at, rest) = line.split_once(' ')?;
    let payload = rest.strip_prefix("Payload - ")?;
    let (value, rest) = payload.split_once(" Keys - ")?;
    let (number, mark) = value.split_once(' ').unwrap_or((value, ""));
    let event = rest.split_once("EventTime - ")?.1.split(' ').next()?;
    Some(Line {
        at_nanos: nanos(at)?,
        number: number.parse().ok()?,
        event_millis: event.parse().ok()?,
        pod: pod.to_owned(),
        mark: mark.to_owned(),
    })
}

/// A time of a log, which is RFC 3339 with any number of digits after the second.
fn nanos(text: &str) -> Option<i128> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_nanosecond())
}

/// Ends a process that was started here.
fn end(process: u32) {
    let process = Pid::from_raw(i32::try_from(process).expect("a process has a small number"));
    let ended = kill(process, Signal::SIGKILL);
    // One that has ended by itself is fine.
    assert!(matches!(ended, Ok(()) | Err(Errno::ESRCH)), "end kubectl: {ended:?}");
}

fn head<T>(list: &[T]) -> &[T] {
    &list[..list.len().min(20)]
}

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn now_nanos() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    i128::try_from(since.as_nanos()).expect("a time fits")
}
