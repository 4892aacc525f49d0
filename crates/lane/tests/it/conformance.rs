//! Lanes over the simulated broker keep what every buffer promises: on a broker that does everything at once, on one
//! whose answers take their time, and on one that loses answers, messages and consumers.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::conformance::buffer::Bench;
use model::conformance::buffer::flood::flood;
use model::door::Class;
use model::door::buffer::{Buffer, VertexSettings};
use tokio::task::JoinSet;

use crate::open::{create_streams, open};
use crate::seeds::{all, fewer_seeds};
use crate::sim::client::SimBroker;
use crate::sim::cluster::Cluster;
use crate::sim::faults::Faults;
use crate::sim::ground::Ground;

/// What a message may hold, as a server has it that was not told otherwise.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How often an opening is tried.
const OPENINGS_MAX: u32 = 1000;

/// Turns of everybody after which a millisecond has passed, also when nobody waits: some cases do something all the time.
const TURNS: u32 = 20;

struct LaneBench {
    cluster: Cluster,
    _clock: JoinSet<()>,
    vertices: Mutex<Vec<VertexSettings>>,
    drivers: Mutex<JoinSet<()>>,
}

impl LaneBench {
    fn new(seed: u64, faults: Faults) -> Self {
        let cluster = Cluster::new(Ground::runtime(), seed, faults);
        let mut clock = JoinSet::new();
        clock.spawn(async {
            loop {
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        });
        Self { cluster, _clock: clock, vertices: Mutex::default(), drivers: Mutex::default() }
    }

    async fn live(&self) -> Arc<dyn Buffer> {
        let vertices = self.vertices.lock().unwrap().clone();
        for _ in 0..OPENINGS_MAX {
            let broker = SimBroker::new(self.cluster.clone(), MESSAGE_BYTES_MAX);
            match open(broker, "bench", &vertices).await {
                Ok((lanes, driver)) => {
                    self.drivers.lock().unwrap().spawn(driver);
                    return lanes;
                }
                Err(error) if error.class() == Class::Retry => {}
                Err(error) => panic!("open: {}", error.chain()),
            }
        }
        panic!("{OPENINGS_MAX} openings were to be repeated");
    }
}

#[async_trait]
impl Bench for LaneBench {
    async fn open(&self, vertices: &[VertexSettings]) -> Arc<dyn Buffer> {
        create_streams(&self.cluster, vertices);
        *self.vertices.lock().unwrap() = vertices.to_vec();
        self.live().await
    }

    async fn restart(&self) -> Arc<dyn Buffer> {
        let mut drivers = std::mem::take(&mut *self.drivers.lock().unwrap());
        drivers.abort_all();
        while let Some(ended) = drivers.join_next().await {
            assert!(ended.is_err_and(|error| error.is_cancelled()), "a driver goes on until it is ended");
        }
        self.live().await
    }
}

/// Runs on one thread.
fn alone(future: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future);
}

fn at_once(case: impl AsyncFnOnce(&dyn Bench)) {
    alone(async { case(&LaneBench::new(1, Faults::NONE)).await });
}

fn in_time(case: impl AsyncFnOnce(&dyn Bench)) {
    alone(async { case(&LaneBench::new(2, Faults::CALM)).await });
}

/// Some of everything; a consumer that is behind or dead costs time and nothing else.
const ROUGH: Faults = Faults {
    latency_max: Duration::from_millis(2),
    slow: 100,
    lost: 200,
    unanswered: 200,
    late: 200,
    unavailable: 50,
    skipped: 40,
    cut: 80,
    dead: 200,
    lag_max: Duration::from_millis(5),
};

fn with_faults(case: impl AsyncFnOnce(&dyn Bench)) {
    alone(async { case(&LaneBench::new(3, ROUGH)).await });
}

/// Floods that the test command runs.
const FLOODS: u64 = 12;

#[test]
fn units_change_hands_in_the_middle_of_a_flood() {
    let chosen: Vec<u64> = fewer_seeds(FLOODS).collect();
    for faults in [Faults::CALM, ROUGH] {
        all("units_change_hands_in_the_middle_of_a_flood", &chosen, |seed| {
            alone(async { assert!(flood(&LaneBench::new(seed, faults), seed).await.commits > 0) });
        });
    }
}

mod at_once {
    model::buffer_conformance!(super::at_once);
}

mod in_time {
    model::buffer_conformance!(super::in_time);
}

mod with_faults {
    model::buffer_conformance!(super::with_faults);
}
