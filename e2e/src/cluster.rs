//! A test as the kubelet and the controller of one object: it starts a daemon, and workers with their user code as pods
//! have them, and posts wishes. Every process is ended with the test.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::http::{Answer, Client, free_address};
use crate::lab::{Lab, signal, signal_group, tidegate};
use crate::manifest::Pipeline;
use crate::wait;

/// What the owner of the daemon shows.
const TOKEN: &str = "the token of a test";
/// Containers that a pod may have; all find their sockets in one directory.
const CONTAINERS: [&str; 4] = ["udsource", "transformer", "udf", "udsink"];

/// See the head of this file.
pub struct Cluster<'a> {
    lab: &'a Lab,
    pipeline: Pipeline,
    /// Where the broker is; none for a mono vertex.
    broker: Option<String>,
    daemon: Option<Child>,
    address: SocketAddr,
    pods: BTreeMap<(String, String), Pod>,
    /// What is wished of each vertex.
    wishes: BTreeMap<String, Value>,
    number: u64,
}

/// A worker with its user code.
struct Pod {
    processor: Child,
    user_code: Vec<Child>,
    metrics: SocketAddr,
    errors: SocketAddr,
}

impl Pod {
    fn end(mut self) {
        drop(self.processor.kill());
        drop(self.processor.wait());
        self.end_user_code();
    }

    fn end_user_code(&mut self) {
        for mut child in self.user_code.drain(..) {
            // The program and whatever has started it; all of it may have ended already.
            drop(signal_group(child.id(), Signal::SIGKILL));
            drop(child.wait());
        }
    }
}

impl<'a> Cluster<'a> {
    /// A cluster in which nothing runs yet.
    pub fn new(lab: &'a Lab, pipeline: Pipeline, broker: Option<String>) -> Self {
        let (wishes, pods) = (BTreeMap::new(), BTreeMap::new());
        Self { lab, pipeline, broker, daemon: None, address: free_address(), pods, wishes, number: 0 }
    }

    /// What runs.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Where the daemon answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the daemon, and waits until it answers that it is ready.
    pub fn start_daemon(&mut self) -> Result<()> {
        let log = self.log("daemon")?;
        let mut command = tidegate();
        command.arg("daemon").env("TIDEGATE_DAEMON_TOKEN", TOKEN);
        command.env("TIDEGATE_PORT", self.address.port().to_string());
        self.common(&mut command);
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("start the daemon")?;
        self.daemon = Some(child);
        wait::until("the daemon is ready", || {
            let answer = Client::connect_securely(self.address).ok()?.get("/readyz").ok()?;
            (answer.status == 204).then_some(())
        });
        Ok(())
    }

    /// Kills the daemon.
    pub fn kill_daemon(&mut self) -> Result<()> {
        let mut child = self.daemon.take().context("find the daemon")?;
        child.kill().context("kill the daemon")?;
        child.wait()?;
        Ok(())
    }

    /// Ends the daemon as a kubelet does; gives its exit code.
    pub fn stop_daemon(&mut self) -> Result<Option<i32>> {
        let mut child = self.daemon.take().context("find the daemon")?;
        signal(child.id(), Signal::SIGTERM)?;
        Ok(wait::until("the daemon ends", || child.try_wait().ok().flatten()).code())
    }

    /// Starts a worker `REVISION-REPLICA` of a vertex with its user code, whose command may be another than the manifest's.
    pub fn start_pod(&mut self, vertex: &str, worker: &str, command: Option<&str>) -> Result<()> {
        let name = format!("{vertex}-{worker}");
        let directory = self.lab.path(&format!("pods/{name}"));
        let sockets = directory.join("s");
        fs::create_dir_all(&sockets)?;
        let of_vertex = |exec: &String| {
            let (address, command) = exec.split_once('=')?;
            (address.split('/').next() == Some(vertex)).then(|| command.to_owned())
        };
        let command = command.map(str::to_owned).or_else(|| self.pipeline.exec.iter().find_map(of_vertex));
        let user_code = command.map(|command| self.start_user_code(&name, &command)).transpose()?;
        let (metrics, errors) = (free_address(), free_address());
        let log = self.log(&name)?;
        let mut processor = tidegate();
        self.common(&mut processor);
        let replica = worker.rsplit_once('-').map_or("0", |(_, replica)| replica);
        let sockets = CONTAINERS.map(|container| format!("{container}={}", sockets.display())).join(",");
        processor
            .arg("processor")
            .env("NUMAFLOW_VERTEX_NAME", vertex)
            .env("NUMAFLOW_REPLICA", replica)
            .env("TIDEGATE_WORKER", worker)
            .env("TIDEGATE_SOCKETS", sockets)
            .env("TIDEGATE_DAEMON_URL", format!("https://{}", self.address))
            .env("TIDEGATE_DAEMON_TOKEN", TOKEN)
            .env("TIDEGATE_PORTS", format!("{},{}", metrics.port(), errors.port()))
            .env("TIDEGATE_ERRORS_DIR", directory.join("errors"))
            .stdout(log.try_clone()?)
            .stderr(log);
        let processor = processor.spawn().context("start a processor")?;
        let pod = Pod { processor, user_code: user_code.into_iter().collect(), metrics, errors };
        self.pods.insert((vertex.to_owned(), worker.to_owned()), pod);
        Ok(())
    }

    fn start_user_code(&self, name: &str, command: &str) -> Result<Child> {
        let directory = self.lab.path(&format!("pods/{name}"));
        let log = self.log(&format!("{name}-user-code"))?;
        let mut launcher = tidegate();
        launcher
            .arg("user-code-launcher")
            .arg("--parent")
            .arg(std::process::id().to_string())
            .arg("--stage")
            .arg(directory.join("stage"))
            .arg("--bind")
            .arg(directory.join("s"))
            .arg("/var/run/numaflow")
            .arg("--")
            .args(command.split_whitespace())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        launcher.spawn().context("start user code")
    }

    /// Kills user code of a pod and starts it again.
    pub fn restart_user_code(&mut self, vertex: &str, worker: &str, command: &str) -> Result<()> {
        let name = (vertex.to_owned(), worker.to_owned());
        self.pods.get_mut(&name).context("find the pod")?.end_user_code();
        let child = self.start_user_code(&format!("{vertex}-{worker}"), command)?;
        self.pods.get_mut(&name).context("find the pod")?.user_code.push(child);
        Ok(())
    }

    /// Ends a pod as a kubelet does; gives the exit code of its processor.
    pub fn stop_pod(&mut self, vertex: &str, worker: &str) -> Result<Option<i32>> {
        let pod = self.pods.remove(&(vertex.to_owned(), worker.to_owned())).context("find the pod")?;
        let mut pod = pod;
        signal(pod.processor.id(), Signal::SIGTERM)?;
        let status = wait::until("the processor ends", || pod.processor.try_wait().ok().flatten());
        pod.end();
        Ok(status.code())
    }

    /// Kills a pod.
    pub fn kill_pod(&mut self, vertex: &str, worker: &str) -> Result<()> {
        let pod = self.pods.remove(&(vertex.to_owned(), worker.to_owned())).context("find the pod")?;
        pod.end();
        Ok(())
    }

    /// Asks a pod at its port of metrics and probes.
    pub fn ask_pod(&self, vertex: &str, worker: &str, path: &str) -> Result<Answer> {
        let pod = self.pods.get(&(vertex.to_owned(), worker.to_owned())).context("find the pod")?;
        let port = if path == "/runtime/errors" { pod.errors } else { pod.metrics };
        Ok(Client::connect_securely(port)?.get(path)?)
    }

    /// Wishes this of a vertex from here on: whether it reads, its shares, and its workers with what is wished of each.
    /// Nothing is posted yet.
    pub fn want(&mut self, vertex: &str, reading: bool, shares: &[(&str, u32)], workers: &[(&str, &str)]) {
        let shares: BTreeMap<_, _> = shares.iter().copied().collect();
        let workers: BTreeMap<_, _> = workers.iter().copied().collect();
        let keep: Vec<_> = shares.keys().copied().collect();
        let wish = json!({"reading": reading, "shares": shares, "keep": keep, "workers": workers});
        self.wishes.insert(vertex.to_owned(), wish);
        self.number += 1;
    }

    /// Posts all that is wished; gives what the daemon sees.
    pub fn post(&self) -> Result<Value> {
        let wishes = json!({"number": self.number, "vertices": self.wishes});
        let answer = self.post_with(TOKEN, &wishes)?;
        ensure!(answer.status == 200, "wishes were refused: {answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Posts wishes with some token.
    pub fn post_with(&self, token: &str, wishes: &Value) -> Result<Answer> {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let mut client = Client::connect_securely(self.address)?;
        Ok(client.post("/tidegate/v1/wishes", &headers, wishes.to_string().as_bytes())?)
    }

    /// What the daemon sees.
    pub fn look(&self) -> Result<Value> {
        let authorization = format!("Bearer {TOKEN}");
        let mut client = Client::connect_securely(self.address)?;
        let answer = client.get_with("/tidegate/v1/look", &[("Authorization", authorization.as_str())])?;
        ensure!(answer.status == 200, "a look was refused: {answer:?}");
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Waits until the daemon sees something, under the wishes that were posted last.
    pub fn until<T>(&self, what: &str, mut condition: impl FnMut(&Value) -> Option<T>) -> T {
        let mut last = Value::Null;
        wait::until(&format!("the daemon sees that {what}"), || {
            last = self.look().ok()?;
            (last["number"] == json!(self.number)).then_some(())?;
            condition(&last)
        })
    }

    /// What the daemon answers to others.
    pub fn ask(&self, path: &str) -> Result<(u16, Value)> {
        let Answer { status, body } = Client::connect_securely(self.address)?.get(path)?;
        Ok((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }

    /// What every process of the object has to know.
    fn common(&self, command: &mut Command) {
        let object = STANDARD.encode(self.pipeline.text());
        let variable =
            if self.pipeline.is_mono { "NUMAFLOW_MONO_VERTEX_OBJECT" } else { "NUMAFLOW_PIPELINE_OBJECT" };
        command
            .env(variable, object)
            .env("TIDEGATE_BIND", "127.0.0.1")
            .env("TIDEGATE_HTTP_BIND", "127.0.0.1");
        command.envs(self.broker.iter().map(|url| ("NUMAFLOW_ISBSVC_JETSTREAM_URL", url)));
        command.stdin(Stdio::null());
    }

    fn log(&self, name: &str) -> Result<File> {
        let path: PathBuf = self.lab.path(&format!("{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("open {}", path.display()))
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for pod in std::mem::take(&mut self.pods).into_values() {
            pod.end();
        }
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }
}
