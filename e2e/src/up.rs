//! A control plane on this machine, as a person and a program use it: `tidegate up`, the commands, the API on its socket.
//! Killed when dropped, and the user code with it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::lab::{Lab, children_of, tidegate, variable_of};
use crate::object::Object;
use crate::wait;

/// How long a control plane may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// A control plane.
pub struct Up<'a> {
    lab: &'a Lab,
    child: Child,
}

/// What a command came to.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

/// The API of a control plane.
pub struct Api {
    socket: PathBuf,
    client: Option<Client>,
}

impl Api {
    /// Asks for a path below `/api/v2`; none while nobody answers.
    pub fn get(&mut self, path: &str) -> Option<(u16, Value)> {
        let answer = self.answer(|client| client.get(&format!("/api/v2{path}")))?;
        Some((answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null)))
    }

    /// Posts to a path below `/api/v2`; none while nobody answers.
    pub fn post(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = body.to_string();
        let headers = [("Content-Type", "application/json")];
        let answer =
            self.answer(|client| client.post(&format!("/api/v2{path}"), &headers, body.as_bytes()))?;
        Some((answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null)))
    }

    /// The metrics page; none while nobody answers.
    pub fn metrics(&mut self) -> Option<String> {
        Some(self.answer(|client| client.get("/metrics"))?.body)
    }

    fn answer(&mut self, ask: impl FnOnce(&mut Client) -> io::Result<Answer>) -> Option<Answer> {
        if self.client.is_none() {
            self.client = Client::connect_to_file(&self.socket).ok();
        }
        let answer = ask(self.client.as_mut()?);
        if answer.is_err() {
            self.client = None;
        }
        answer.ok()
    }

    /// An object; none while nobody answers or there is none.
    pub fn object(&mut self, name: &str) -> Option<Object> {
        let (status, value) = self.get(&format!("/objects/{name}"))?;
        (status == 200).then_some(Object(value))
    }
}

impl<'a> Up<'a> {
    /// Starts one in a lab and waits until it answers.
    pub fn start(lab: &'a Lab) -> Result<Self> {
        Self::start_with(lab, &[])
    }

    /// The same with more flags.
    pub fn start_with(lab: &'a Lab, flags: &[&str]) -> Result<Self> {
        let log = lab.path("up.log");
        let mut note = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        writeln!(note, "--- up")?;
        let child = tidegate()
            .args(["up", "--state-dir"])
            .arg(lab.path("state"))
            .arg("--socket")
            .arg(lab.path("api.sock"))
            .args(lab.flags(flags))
            .current_dir(lab.root())
            .stdin(Stdio::null())
            .stdout(note.try_clone()?)
            .stderr(note)
            .process_group(0)
            .spawn()
            .context("start tidegate up")?;
        let mut up = Self { lab, child };
        let mut api = up.api();
        wait::within(START, "the control plane answers", || {
            if let Some(status) = up.child.try_wait().expect("its child can be asked") {
                panic!("tidegate up ended with {status}: {}", up.log());
            }
            api.get("/objects")
        });
        Ok(up)
    }

    /// The API.
    pub fn api(&self) -> Api {
        Api { socket: self.lab.path("api.sock"), client: None }
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.lab.path("up.log")).unwrap_or_default()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes of its workers of a vertex, when each has one of its own.
    pub fn processors(&self, vertex: &str) -> Vec<u32> {
        let is_of = |pid: &u32| variable_of(*pid, "NUMAFLOW_VERTEX_NAME").as_deref() == Some(vertex);
        children_of(self.child.id(), "processor").into_iter().filter(is_of).collect()
    }

    /// Asks something of an object: a word of the API, with its fields.
    pub fn ask(&self, name: &str, wish: &Value) -> Result<()> {
        let (status, answer) =
            self.api().post(&format!("/objects/{name}/wishes"), wish).context("nobody answers")?;
        if status != 200 {
            bail!("{wish} of {name} was answered with {status}: {answer}");
        }
        Ok(())
    }

    /// Asks for a pause.
    pub fn pause(&self, name: &str) -> Result<()> {
        self.ask(name, &json!({ "wish": "pause" }))
    }

    /// Asks it to go on.
    pub fn resume(&self, name: &str) -> Result<()> {
        self.ask(name, &json!({ "wish": "resume" }))
    }

    /// Asks for another command in the container of a vertex.
    pub fn set_exec(&self, name: &str, vertex: &str, command: &str) -> Result<()> {
        self.ask(name, &json!({ "wish": "set", "vertex": vertex, "exec": command }))
    }

    /// Runs a command against it.
    pub fn tidegate(&self, arguments: &[&str]) -> Result<Outcome> {
        let output = tidegate()
            .args(arguments)
            .arg("--local")
            .arg(self.lab.path("api.sock"))
            .current_dir(self.lab.root())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run tidegate {}", arguments.join(" ")))?;
        Ok(Outcome {
            code: output.status.code().context("the command was ended by a signal")?,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that has to succeed; gives what it printed.
    pub fn must(&self, arguments: &[&str]) -> Result<String> {
        let Outcome { code, out, err } = self.tidegate(arguments)?;
        if code != 0 {
            bail!("tidegate {} ended with {code}: {out}{err}\n{}", arguments.join(" "), self.log());
        }
        Ok(out)
    }

    /// Runs a command that prints JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.must(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} prints JSON: {text}"))
    }

    /// Applies a manifest with these commands for its containers.
    pub fn apply(&self, manifest: &Path, exec: &[String]) -> Result<String> {
        let manifest = manifest.display().to_string();
        let mut arguments = vec!["apply", manifest.as_str()];
        for command in exec {
            arguments.extend(["--exec", command.as_str()]);
        }
        self.must(&arguments)
    }

    /// Waits until an object gives a value, and says what it looked like when it never does.
    pub fn until<T>(&self, name: &str, what: &str, look: impl FnMut(&Object) -> Option<T>) -> T {
        self.within(wait::LIMIT, name, what, look)
    }

    /// Waits for so long until an object gives a value.
    pub fn within<T>(
        &self,
        limit: Duration,
        name: &str,
        what: &str,
        mut look: impl FnMut(&Object) -> Option<T>,
    ) -> T {
        let mut api = self.api();
        let mut last = Object::default();
        let mut tries = || {
            last = api.object(name)?;
            look(&last)
        };
        let deadline = std::time::Instant::now() + limit;
        let found = wait::until("it is, or the time is over", || {
            tries().map(Some).or_else(|| (std::time::Instant::now() >= deadline).then_some(None))
        });
        found.unwrap_or_else(|| {
            panic!("waited {limit:?} in vain until {name} {what}; it is {last}\n{}", self.log())
        })
    }

    /// Waits until all of an object's workers are there and ready.
    pub fn steady(&self, name: &str) -> Object {
        self.until(name, "is steady", |object| object.is_steady().then(|| object.clone()))
    }

    /// What became of the versions of a vertex, the oldest first: number, state and reason.
    pub fn history(&self, name: &str, vertex: &str) -> Vec<(u64, String, String)> {
        let Some((200, history)) = self.api().get(&format!("/objects/{name}/history")) else {
            return Vec::new();
        };
        let entries = history[vertex].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |entry: &Value| {
            (entry["number"].as_u64().unwrap_or(0), text(&entry["state"]), text(&entry["reason"]))
        };
        entries.iter().map(of).collect()
    }

    /// Waits until the first versions of an object have proved themselves: what comes before is no update.
    pub fn proved(&self, name: &str) -> Object {
        self.until(name, "has proved itself", |object| {
            let serves =
                |vertex: &String| self.history(name, vertex).iter().any(|(_, state, _)| state == "Serving");
            let all = object.is_steady() && object.vertices().iter().all(serves);
            all.then(|| object.clone())
        })
    }

    /// The events of an object so far, each as `Severity Reason: message`.
    pub fn events(&self, name: &str) -> Result<Vec<String>> {
        let events = self.json(&["events", name])?;
        let all = events.as_array().context("events are a list")?;
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        Ok(all
            .iter()
            .map(|event| {
                format!("{} {}: {}", text(event, "severity"), text(event, "reason"), text(event, "message"))
            })
            .collect())
    }

    /// Kills it, with nothing finished, and gives the lab back for another one.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill tidegate up")?;
        self.child.wait().context("wait for tidegate up")?;
        Ok(())
    }

    /// Ends it in order.
    pub fn down(mut self) -> Result<()> {
        // Whoever started a process has to take note of its end, and `down` waits for that.
        let mut command = tidegate();
        let mut asked =
            command.arg("down").arg("--local").arg(self.lab.path("api.sock")).spawn().context("run down")?;
        let child = &mut self.child;
        let status = wait::until("tidegate up ends", || child.try_wait().ok().flatten());
        let answer = asked.wait().context("wait for tidegate down")?;
        if !status.success() || !answer.success() {
            bail!("tidegate up ended with {status} and down with {answer}: {}", self.log());
        }
        Ok(())
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        // Already gone in some tests; a failed test must not leave it behind.
        if self.child.try_wait().ok().flatten().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
