//! Cases that run whole manifests in the release binary, as a person would, and read its counters and its output.
//!
//! Invariant: a rate is taken over an interval in the middle of a run, from the counter of what has left the pipeline.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::Lab;
use super::report::Figure;

/// How long a run may take until its first message is out.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// From the first message to the beginning of the interval, and its length.
const WARM_UP: Duration = Duration::from_secs(1);
pub(super) const INTERVAL: Duration = Duration::from_secs(4);
/// What counts the messages that a mono vertex, and a sink vertex, has written.
const MONO_WRITTEN: &str = "monovtx_sink_write_total{";
pub(super) const SINK_WRITTEN: &str = "forwarder_write_total{";

/// Generator → blackhole in one mono vertex.
pub(super) fn mono(lab: &Lab) -> Result<Vec<Figure>> {
    let spec = "  source: {generator: {rpu: 1000000000, duration: 1s}}\n  sink: {blackhole: {}}\n";
    let rate = rate(lab, &mono_vertex(spec), &[], MONO_WRITTEN)?;
    Ok(vec![Figure::new("messages", rate, "msg/s")])
}

/// The same with a map made with the Rust SDK in between.
pub(super) fn mono_map(lab: &Lab) -> Result<Vec<Figure>> {
    let spec = "  source: {generator: {rpu: 1000000000, duration: 1s}}\n  udf: {container: {image: cat}}\n  sink: {blackhole: {}}\n";
    let exec = format!("mono={}", lab.program("sdk_map").display());
    let rate = rate(lab, &mono_vertex(spec), &["--exec", &exec], MONO_WRITTEN)?;
    Ok(vec![Figure::new("messages", rate, "msg/s")])
}

/// Three vertices on the journal with messages of 100 bytes.
pub(super) fn three_100(lab: &Lab) -> Result<Vec<Figure>> {
    three(lab, 100)
}

/// Three vertices on the journal with messages of 1 KiB.
pub(super) fn three_1024(lab: &Lab) -> Result<Vec<Figure>> {
    three(lab, 1024)
}

fn three(lab: &Lab, size: usize) -> Result<Vec<Figure>> {
    let rate = rate(lab, &flood(size), &[], SINK_WRITTEN)?;
    // Each message is written twice: by the source and by the map.
    let megabytes = rate * size as f64 * 2.0 / 1e6;
    Ok(vec![Figure::new("messages", rate, "msg/s"), Figure::new("payload written", megabytes, "MB/s")])
}

/// As many messages of a size as three vertices take.
pub(super) fn flood(size: usize) -> String {
    let blob = format!("{{valueBlob: {}, rpu: 1000000000, duration: 1s}}", base64_of_zeros(size));
    pipeline(&blob, "blackhole") + "  limits: {bufferMaxLength: 300000}\n"
}

/// How long 500 messages a second take through three vertices.
pub(super) fn latency(lab: &Lab) -> Result<Vec<Figure>> {
    waits(lab, &[])
}

/// The same, with more arguments to the run.
pub(super) fn waits(lab: &Lab, arguments: &[&str]) -> Result<Vec<Figure>> {
    const SAMPLES: usize = 2_000;
    let manifest = pipeline("{rpu: 5, duration: 10ms}", "log");
    let mut all = vec!["--quiet"];
    all.extend(arguments);
    let mut run = Run::start(lab, &manifest, &all)?;
    let mut waits = Vec::with_capacity(SAMPLES);
    let lines = run.lines()?;
    for line in lines.skip(500).take(SAMPLES) {
        let line = line?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let text = line.split("\"value\":").nth(1).and_then(|rest| rest.split('}').next());
        let made: u128 = text.context("a payload of the generator")?.parse().context("its time")?;
        waits.push(now.saturating_sub(made) as f64 / 1e6);
    }
    ensure!(waits.len() == SAMPLES, "only {} messages came", waits.len());
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[(waits.len() as f64 * share) as usize];
    Ok(vec![Figure::new("p50", at(0.5), "ms"), Figure::new("p99", at(0.99), "ms")])
}

/// From the start of the process to the first message out of three vertices.
pub(super) fn start(lab: &Lab) -> Result<Vec<Figure>> {
    let begun = Instant::now();
    let mut run = Run::start(lab, &pipeline("{rpu: 5, duration: 10ms}", "log"), &["--quiet"])?;
    run.lines()?.next().context("a message came")??;
    Ok(vec![Figure::new("first message", begun.elapsed().as_secs_f64() * 1e3, "ms")])
}

/// What three vertices take while next to nothing happens.
pub(super) fn idle(lab: &Lab) -> Result<Vec<Figure>> {
    let run = Run::start(lab, &pipeline("{rpu: 1, duration: 1s}", "log"), &["--quiet"])?;
    std::thread::sleep(INTERVAL);
    let status = fs::read_to_string(format!("/proc/{}/status", run.child.id()))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("the process has a size")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(vec![Figure::new("resident", kilobytes / 1024.0, "MiB")])
}

fn mono_vertex(spec: &str) -> String {
    format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: MonoVertex\nmetadata: {{name: mono}}\nspec:\n{spec}"
    )
}

fn pipeline(generator: &str, sink: &str) -> String {
    format!(
        "apiVersion: numaflow.numaproj.io/v1alpha1\nkind: Pipeline\nmetadata: {{name: bench}}\nspec:\n  vertices:\n\
         \x20 - name: in\n    source: {{generator: {generator}}}\n\
         \x20 - name: cat\n    udf: {{container: {{image: quay.io/numaio/numaflow-go/map-cat:stable}}}}\n\
         \x20 - name: out\n    sink: {{{sink}: {{}}}}\n\
         \x20 edges:\n  - {{from: in, to: cat}}\n  - {{from: cat, to: out}}\n"
    )
}

/// Bytes that are all zero, three at a time, as base64 has them.
fn base64_of_zeros(size: usize) -> String {
    let mut text = "AAAA".repeat(size / 3);
    text.push_str(match size % 3 {
        1 => "AA==",
        2 => "AAA=",
        _ => "",
    });
    text
}

/// Messages a second that the last vertex has written.
fn rate(lab: &Lab, manifest: &str, arguments: &[&str], counter: &str) -> Result<f64> {
    let run = Running::start_counted(lab, manifest, arguments, counter)?;
    let (begun, before) = (Instant::now(), run.written(counter)?);
    std::thread::sleep(INTERVAL);
    let (seconds, after) = (begun.elapsed().as_secs_f64(), run.written(counter)?);
    Ok((after - before) / seconds)
}

/// A run whose counters can be read, and which has been at work for [`WARM_UP`].
pub(super) struct Running {
    run: Run,
    metrics: SocketAddr,
}

impl Running {
    /// A pipeline.
    pub(super) fn start(lab: &Lab, manifest: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_counted(lab, manifest, arguments, SINK_WRITTEN)
    }

    fn start_counted(lab: &Lab, manifest: &str, arguments: &[&str], counter: &str) -> Result<Self> {
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let address = metrics.to_string();
        let mut all = vec!["--quiet", "--metrics", &address];
        all.extend(arguments);
        let mut run = Run::start(lab, manifest, &all)?;
        let deadline = Instant::now() + PATIENCE;
        while written(metrics, counter).unwrap_or(0.0) == 0.0 {
            ensure!(Instant::now() < deadline, "nothing came out within {PATIENCE:?}");
            if let Some(status) = run.child.try_wait()? {
                bail!("the run ended with {status}");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        std::thread::sleep(WARM_UP);
        Ok(Self { run, metrics })
    }

    /// Messages that the last vertex has written.
    pub(super) fn written(&self, counter: &str) -> Result<f64> {
        written(self.metrics, counter)
    }

    /// Its process.
    pub(super) fn process(&self) -> u32 {
        self.run.child.id()
    }
}

/// The counter's value: of a sink vertex or mono vertex, whichever is in the text.
fn written(address: SocketAddr, counter: &str) -> Result<f64> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let is_last = |line: &&str| {
        line.starts_with(counter) && !line.contains("\"Source\"") && !line.contains("\"MapUDF\"")
    };
    let values = text.lines().filter(is_last).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

/// A run of the release binary; killed when dropped.
struct Run {
    child: Child,
    state: PathBuf,
}

impl Run {
    fn start(lab: &Lab, manifest: &str, arguments: &[&str]) -> Result<Self> {
        let file = lab.scratch.join("bench.yaml");
        fs::write(&file, manifest)?;
        let state = lab.scratch.join("state");
        let child = Command::new(lab.program("tidegate"))
            .arg("run")
            .arg(&file)
            .arg("--state-dir")
            .arg(&state)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the release binary")?;
        Ok(Self { child, state })
    }

    fn lines(&mut self) -> Result<impl Iterator<Item = std::io::Result<String>>> {
        Ok(BufReader::new(self.child.stdout.take().context("the output is read once")?).lines())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What is left is thrown away with the scratch directory; errors here have nobody to go to.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.state));
    }
}
