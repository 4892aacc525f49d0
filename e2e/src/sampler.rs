//! Looks at an object all the time while a test does something to it. Invariant: a sample is what one answer said; what
//! happened between two answers is not made up.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::object::Object;
use crate::up::{Api, Up};
use crate::wait;

/// How often an object is looked at.
pub const PACE: Duration = Duration::from_millis(20);

/// One look.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the answer was there.
    pub at: Instant,
    /// What it said.
    pub object: Object,
}

/// A thread that looks.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Begins to look at an object.
    pub fn start(up: &Up<'_>, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (api, name, is_over) = (up.api(), name.to_owned(), stop.clone());
        Self { stop, thread: std::thread::spawn(move || look(api, &name, &is_over)) }
    }

    /// Ends, and gives everything that was seen.
    ///
    /// # Panics
    /// When nothing was seen.
    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.thread.join().expect("looking does not panic");
        assert!(!samples.is_empty(), "nobody answered");
        samples
    }
}

fn look(mut api: Api, name: &str, is_over: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    wait::every(PACE, || {
        samples.extend(api.object(name).map(|object| Sample { at: Instant::now(), object }));
        if is_over.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    samples
}

/// Asserts for a vertex: never fewer ready workers than `floor`, never more workers of any kind than `ceiling`.
///
/// # Panics
/// With the first sample that breaks it.
pub fn assert_capacity(samples: &[Sample], vertex: &str, floor: usize, ceiling: usize) {
    let begin = samples[0].at;
    for Sample { at, object } in samples {
        let workers = object.workers(vertex);
        let ready = object.ready(vertex);
        let when = at.duration_since(begin);
        assert!(ready >= floor, "after {when:?} only {ready} of at least {floor} are ready: {workers:#?}");
        let count = workers.len();
        assert!(count <= ceiling, "after {when:?} there are {count} of at most {ceiling}: {workers:#?}");
    }
}
