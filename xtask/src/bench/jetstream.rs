//! Cases that run whole manifests over a NATS server of their own, on the same machine: rates, waits, and what a message
//! costs each process in time on a processor and in messages to the server.
//!
//! Invariant: costs are taken over the same interval as the rate that they are divided by.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Lab;
use super::pipeline::{self, Running};
use super::report::Figure;
use crate::tool;

/// How long the server may take until it answers.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Ticks of `/proc/PID/stat` in a second; Linux has had no other for user space.
const TICKS: f64 = 100.0;

/// When the server has the disk write what it acknowledges.
#[derive(Clone, Copy)]
enum Sync {
    /// Every two minutes, as the server does unless told otherwise.
    Seldom,
    /// Before each acknowledgement.
    Always,
}

/// Three vertices with messages of 100 bytes.
pub(super) fn three_100(lab: &Lab) -> Result<Vec<Figure>> {
    three(lab, 100, Sync::Seldom)
}

/// Three vertices with messages of 1 KiB.
pub(super) fn three_1024(lab: &Lab) -> Result<Vec<Figure>> {
    three(lab, 1024, Sync::Seldom)
}

/// Three vertices with messages of 100 bytes, each commit on the disk before it counts.
pub(super) fn three_always(lab: &Lab) -> Result<Vec<Figure>> {
    three(lab, 100, Sync::Always)
}

/// How long 500 messages a second take.
pub(super) fn latency(lab: &Lab) -> Result<Vec<Figure>> {
    let server = Server::start(lab, Sync::Seldom)?;
    pipeline::waits(lab, &["--isb", &server.url()])
}

fn three(lab: &Lab, size: usize, sync: Sync) -> Result<Vec<Figure>> {
    let server = Server::start(lab, sync)?;
    let manifest = pipeline::flood(size);
    let run = Running::start(lab, &manifest, &["--isb", &server.url()])?;
    let before = Cost::of(&run, &server)?;
    let (begun, written) = (Instant::now(), run.written(pipeline::SINK_WRITTEN)?);
    std::thread::sleep(pipeline::INTERVAL);
    let written = run.written(pipeline::SINK_WRITTEN)? - written;
    let seconds = begun.elapsed().as_secs_f64();
    let after = Cost::of(&run, &server)?;
    ensure!(written > 0.0, "nothing came out while it was measured");
    let micros = |after: f64, before: f64| (after - before) * 1e6 / written;
    Ok(vec![
        Figure::new("messages", written / seconds, "msg/s"),
        Figure::new("processor of tidegate", micros(after.own, before.own), "µs/msg"),
        Figure::new("processor of nats-server", micros(after.server, before.server), "µs/msg"),
        Figure::new(
            "written to nats-server",
            (after.received - before.received) * 1e3 / written,
            "/1000 msg",
        ),
    ])
}

/// What was spent so far.
struct Cost {
    /// Seconds on a processor.
    own: f64,
    server: f64,
    /// Messages that the server has received from its clients.
    received: f64,
}

impl Cost {
    fn of(run: &Running, server: &Server) -> Result<Self> {
        Ok(Self {
            own: seconds(run.process())?,
            server: seconds(server.child.id())?,
            received: server.received()?,
        })
    }
}

/// The time a process has spent on processors, in seconds.
fn seconds(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything; two times in ticks are the 14th and 15th field of all.
    let rest = text.rsplit_once(')').context("a name in /proc/PID/stat")?.1;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>().context("times in /proc/PID/stat")? / TICKS)
}

/// A server of this case; ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    monitor: SocketAddr,
    store: PathBuf,
}

impl Server {
    fn start(lab: &Lab, sync: Sync) -> Result<Self> {
        let program = tool::nats()?;
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let (address, monitor) = (free()?, free()?);
        let store = lab.scratch.join("nats");
        let sync = match sync {
            Sync::Seldom => "",
            Sync::Always => ", sync_interval: always",
        };
        let config = format!(
            "listen: \"{address}\"\nhttp: \"{monitor}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: \"{}\", max_file_store: 16GB{sync} }}\n",
            store.display()
        );
        let file = lab.scratch.join("nats.conf");
        fs::write(&file, config)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("start nats-server")?;
        let server = Self { child, address, monitor, store };
        let deadline = Instant::now() + LISTENS_WITHIN;
        while server.received().is_err() || TcpStream::connect(server.address).is_err() {
            ensure!(Instant::now() < deadline, "nats-server does not listen within {LISTENS_WITHIN:?}");
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(server)
    }

    fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Messages received from clients, as the server's monitor tells.
    fn received(&self) -> Result<f64> {
        let mut stream = TcpStream::connect(self.monitor)?;
        stream.set_read_timeout(Some(LISTENS_WITHIN))?;
        write!(stream, "GET /varz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let body = text.split_once("\r\n\r\n").context("an answer of the monitor")?.1;
        let values: serde_json::Value = serde_json::from_str(body).context("read the monitor's answer")?;
        values["in_msgs"].as_f64().context("in_msgs in the monitor's answer")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is left is thrown away with the scratch directory; errors here have nobody to go to.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.store));
    }
}
