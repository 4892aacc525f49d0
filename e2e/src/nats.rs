//! A NATS server of a test: on a free port of the loopback, with its store in the test's directory and every message on the
//! disk before it is acknowledged; ended when dropped.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::lab::{Lab, nats};
use crate::wait;

mod cluster;

pub use cluster::Cluster;

/// What a server may store unless a test says less.
const STORE_MAX: &str = "8GB";

/// See the head of this file.
pub struct Nats {
    config: PathBuf,
    port: u16,
    child: Child,
}

impl Nats {
    /// Starts a server and waits until it listens; none, and noted, when there is no program.
    pub fn start(test: &str, lab: &Lab) -> Result<Option<Self>> {
        Self::start_with(test, lab, STORE_MAX)
    }

    /// One that stores no more than this, such as `16MB`.
    pub fn start_with(test: &str, lab: &Lab, store_max: &str) -> Result<Option<Self>> {
        let Some(program) = nats(test) else { return Ok(None) };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let store = lab.path("nats");
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: {store_max} }}\n",
            store.display()
        );
        let config = lab.write("nats.conf", &config)?;
        let child = begin(program, &config, &lab.path("nats.log"))?;
        let server = Self { config, port, child };
        server.listens();
        Ok(Some(server))
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it and starts it again on what is on the disk.
    pub fn kill_and_start(&mut self, lab: &Lab) -> Result<()> {
        self.child.kill().context("kill nats-server")?;
        self.child.wait()?;
        let program = nats("nats").context("find nats-server, which was there")?;
        self.child = begin(program, &self.config, &lab.path("nats.log"))?;
        self.listens();
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn listens(&self) {
        wait::until("the NATS server listens", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }
}

fn begin(mut program: Command, config: &Path, log: &Path) -> Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    program.arg("-c").arg(config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    program.spawn().context("start nats-server")
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Its store goes with the test.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
