//! Where lanes over a real NATS server are put to the test: streams of its own for each bench, a connection of its own
//! for each life.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use lane::broker::Failure;
use lane::{Lanes, Settings, layout};
use model::conformance::buffer::Bench;
use model::door::Class;
use model::door::buffer::{Buffer, VertexSettings};
use smol_str::SmolStr;
use tidegate_connect::buffer::jetstream::config::BufferConfig;
use tidegate_connect::buffer::jetstream::streams::Error;
use tidegate_connect::buffer::jetstream::{Nats, Settings as Connection, StreamPlan};
use tokio::task::JoinSet;

use crate::nats;

/// How often an opening is tried.
const OPENINGS_MAX: u32 = 100;

/// A pipeline on a server.
pub(crate) struct NatsBench {
    connection: Connection,
    config: BufferConfig,
    replicas: u8,
    prefix: SmolStr,
    vertices: Mutex<Vec<VertexSettings>>,
    drivers: Mutex<JoinSet<()>>,
}

impl NatsBench {
    pub(crate) fn new(server: &nats::Server) -> Self {
        Self::over(Connection::to(&server.url()), 1)
    }

    /// A pipeline whose streams are kept by so many servers.
    pub(crate) fn over(connection: Connection, replicas: u8) -> Self {
        Self {
            connection,
            config: BufferConfig::default(),
            replicas,
            prefix: SmolStr::new(nats::unique("bench")),
            vertices: Mutex::default(),
            drivers: Mutex::default(),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        let vertices = self.vertices().clone();
        Settings { prefix: self.prefix.clone(), process: SmolStr::new_static("bench"), vertices }
    }

    fn vertices(&self) -> MutexGuard<'_, Vec<VertexSettings>> {
        self.vertices.lock().unwrap()
    }

    /// The addresses of its servers.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.connection.urls.clone()
    }

    pub(crate) async fn connect(&self) -> Nats {
        Nats::connect_within(&self.connection, nats::PATIENCE).await.unwrap()
    }

    pub(crate) async fn live(&self) -> Arc<Lanes<Nats>> {
        let nats = Arc::new(self.connect().await);
        for _ in 0..OPENINGS_MAX {
            match Lanes::open(Arc::clone(&nats), self.settings()).await {
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

    /// Makes the streams and opens the first life.
    pub(crate) async fn begin(&self, vertices: &[VertexSettings]) -> Arc<Lanes<Nats>> {
        vertices.clone_into(&mut self.vertices());
        let nats = self.connect().await;
        for spec in layout(&self.settings()) {
            self.create(&nats, &StreamPlan::of(&spec, &self.config, self.replicas)).await;
        }
        self.live().await
    }

    /// Servers that have just begun have to find each other first.
    async fn create(&self, nats: &Nats, plan: &StreamPlan) {
        let created = tokio::time::timeout(nats::PATIENCE, async {
            loop {
                match nats.create_stream(plan).await {
                    Ok(_) => return,
                    Err(Error::Server {
                        source: Failure::Unavailable(_) | Failure::Unanswered(_), ..
                    }) if self.replicas > 1 => {}
                    Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
                }
                tokio::task::yield_now().await;
            }
        });
        created.await.expect("the servers find each other");
    }

    /// Ends what goes on beside the calls of the buffer, as the death of the process does.
    pub(crate) async fn end(&self) {
        let mut drivers = std::mem::take(&mut *self.drivers.lock().unwrap());
        drivers.abort_all();
        while let Some(ended) = drivers.join_next().await {
            assert!(ended.is_err_and(|error| error.is_cancelled()), "a driver goes on until it is ended");
        }
    }
}

#[async_trait]
impl Bench for NatsBench {
    async fn open(&self, vertices: &[VertexSettings]) -> Arc<dyn Buffer> {
        self.begin(vertices).await
    }

    async fn restart(&self) -> Arc<dyn Buffer> {
        self.end().await;
        self.live().await
    }
}
