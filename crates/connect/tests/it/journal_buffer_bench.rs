//! Where the journal buffer is put to the test: over files, and over a simulated disk whose every operation, crash and
//! turn of the commit thread follows from a seed.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use journal::sim_disk::{Fault, SimDisk};
use journal::{FileDisk, Journal, Options};
use model::conformance::buffer::Bench;
use model::door::buffer::{Buffer, VertexSettings};
use tidegate_connect::buffer::journal::JournalBuffer;
use tokio::task::JoinSet;

pub(crate) fn settings(vertices: &[VertexSettings]) -> Vec<VertexSettings> {
    vertices.to_vec()
}

/// Small segments and a small cache, so that segments are closed, moved and deleted and frames are read back all the
/// time.
fn small() -> Options {
    Options {
        segment_bytes: 16 * 1024,
        cache_bytes: 4 * 1024,
        checkpoint_bytes: 32 * 1024,
        reserve_bytes: 4 * 1024,
        ..Options::default()
    }
}

/// A simulated disk that loses power at each restart.
pub(crate) struct SimBench {
    state: Mutex<Sim>,
}

struct Sim {
    rng: fastrand::Rng,
    disk: SimDisk,
    vertices: Vec<VertexSettings>,
    stepper: JoinSet<()>,
    /// Lives that end by themselves, still to come.
    short_lives: u32,
    may_die: bool,
    /// The disk is full now and then.
    fills_up: bool,
}

impl SimBench {
    /// Lives end only at a restart.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_short_lives(seed, 0)
    }

    /// The disk is full now and then.
    pub(crate) fn that_fills_up(seed: u64) -> Self {
        let bench = Self::new(seed);
        bench.lock().fills_up = true;
        bench
    }

    /// So many lives end in the middle of an operation of the disk.
    pub(crate) fn with_short_lives(seed: u64, short_lives: u32) -> Self {
        let disk = SimDisk::new(seed);
        let rng = fastrand::Rng::with_seed(seed);
        let (vertices, stepper, may_die) = (Vec::new(), JoinSet::new(), short_lives > 0);
        Self {
            state: Mutex::new(Sim { rng, disk, vertices, stepper, short_lives, may_die, fills_up: false }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.state.lock().unwrap()
    }
}

impl Sim {
    fn crash(&mut self) {
        let seed = self.rng.u64(..);
        self.disk = if self.rng.bool() {
            self.disk.after_power_loss(seed)
        } else {
            self.disk.after_process_death(seed)
        };
        self.disk.set_capacity(None);
    }

    /// Opens what is on the disk; a crash while opening is followed by another opening.
    fn live(&mut self) -> Arc<dyn Buffer> {
        loop {
            if self.short_lives > 0 {
                self.short_lives -= 1;
                self.disk.set_fault(Some(Fault::CrashAt(self.rng.u64(1..400))));
            }
            match Journal::open_stepped(self.disk.clone(), small()) {
                Ok((journal, mut stepper)) => {
                    let (mut rng, disk, fills_up) = (self.rng.fork(), self.disk.clone(), self.fills_up);
                    self.stepper.spawn(async move {
                        loop {
                            if fills_up && rng.u32(0..40) == 0 {
                                let room = disk.used() + rng.u64(0..20_000);
                                disk.set_capacity(rng.bool().then_some(room));
                            }
                            for _ in 0..rng.u32(0..3) {
                                stepper.step();
                            }
                            tokio::task::yield_now().await;
                        }
                    });
                    return Arc::new(
                        JournalBuffer::open(Arc::new(journal), settings(&self.vertices)).unwrap(),
                    );
                }
                Err(error) => {
                    assert!(self.disk.has_crashed(), "open the journal: {error:?}");
                    self.crash();
                }
            }
        }
    }
}

#[async_trait]
impl Bench for SimBench {
    async fn open(&self, vertices: &[VertexSettings]) -> Arc<dyn Buffer> {
        let mut state = self.lock();
        state.vertices = vertices.to_vec();
        state.live()
    }

    async fn restart(&self) -> Arc<dyn Buffer> {
        let mut stepper = std::mem::take(&mut self.lock().stepper);
        stepper.abort_all();
        while let Some(ended) = stepper.join_next().await {
            assert!(ended.is_err_and(|error| error.is_cancelled()), "the stepper goes on until it is ended");
        }
        let mut state = self.lock();
        state.crash();
        state.live()
    }

    fn may_die(&self) -> bool {
        self.lock().may_die
    }
}

/// A directory of files and a real commit thread that syncs them.
pub(crate) struct FileBench {
    directory: tempfile::TempDir,
    vertices: Mutex<Vec<VertexSettings>>,
    former: Mutex<Weak<Journal<FileDisk>>>,
}

impl FileBench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, vertices: Mutex::default(), former: Mutex::new(Weak::new()) }
    }

    fn live(&self) -> Arc<dyn Buffer> {
        assert!(self.former.lock().unwrap().upgrade().is_none(), "something of the former life is left");
        let disk = FileDisk::open(self.directory.path()).unwrap();
        let options = Options { reserve_bytes: 4096, ..Options::default() };
        let journal = Arc::new(Journal::open(disk, options).unwrap());
        *self.former.lock().unwrap() = Arc::downgrade(&journal);
        Arc::new(JournalBuffer::open(journal, settings(&self.vertices.lock().unwrap())).unwrap())
    }
}

#[async_trait]
impl Bench for FileBench {
    async fn open(&self, vertices: &[VertexSettings]) -> Arc<dyn Buffer> {
        *self.vertices.lock().unwrap() = vertices.to_vec();
        self.live()
    }

    async fn restart(&self) -> Arc<dyn Buffer> {
        self.live()
    }
}

/// How long a case or one flood may take. Far longer than any takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// Runs on one thread, so that a seed decides about every turn.
pub(crate) fn alone<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("the case ends") })
}

/// Runs on several threads.
pub(crate) fn together<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("the case ends") })
}
