//! A place to run `tidegate` in: a directory of its own, the release or test binary, the programs that serve user code.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::nats::Nats;
use crate::wait;

/// The variable that asks for a broker under every pipeline.
const OVER: &str = "TIDEGATE_TEST_OVER";

/// A directory of one test.
pub struct Lab {
    /// What all pipelines of this place run over when the test command asks for that; started when first needed, and
    /// ended before its store goes.
    broker: OnceLock<Option<Nats>>,
    directory: tempfile::TempDir,
}

/// A run of `tidegate`; killed when dropped.
pub struct Run {
    child: Child,
    log: PathBuf,
    state: PathBuf,
}

/// The path that an environment variable of the test command gives, or the program beside this one.
fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("a running program has a path");
    let build = own.ancestors().nth(2).expect("test programs lie two levels below the build directory");
    build.join(name)
}

impl Lab {
    /// A fresh directory that only its owner can enter.
    pub fn new() -> Result<Self> {
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir();
        let directory = directory.context("make a directory for the test")?;
        Ok(Self { broker: OnceLock::new(), directory })
    }

    /// The flags for a run: those that are asked for, and `--isb` when the test command wants everything over a broker.
    pub(crate) fn flags(&self, asked: &[&str]) -> Vec<String> {
        let mut flags: Vec<String> = asked.iter().map(|flag| (*flag).to_owned()).collect();
        let over = std::env::var(OVER).unwrap_or_default();
        assert!(over.is_empty() || over == "jetstream", "{OVER} is jetstream or not there, not {over:?}");
        if over.is_empty() || asked.contains(&"--isb") {
            return flags;
        }
        let broker = self.broker.get_or_init(|| Nats::start(OVER, self).expect("a NATS server starts"));
        // Without a server the test is noted as skipped, and runs as it does without a broker.
        if let Some(broker) = broker {
            flags.extend(["--isb".to_owned(), broker.url()]);
        }
        flags
    }

    /// The processes that run with something of this place, such as user code; not the broker.
    pub fn processes(&self) -> Vec<u32> {
        let broker = self.broker.get().and_then(Option::as_ref).map(Nats::pid);
        let all = processes_with(&self.root().display().to_string());
        all.into_iter().filter(|pid| Some(*pid) != broker).collect()
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A path within it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// The lines of a file; none when it does not exist.
    pub fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// How often each line is in a file.
    pub fn counts(&self, name: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in self.lines(name) {
            *counts.entry(line).or_default() += 1;
        }
        counts
    }

    /// The numbers that the lines of a file begin with, sorted, each as often as it is there.
    pub fn numbers(&self, name: &str) -> Vec<u64> {
        let lines = self.lines(name);
        let number = |line: &String| line.split(' ').next().and_then(|word| word.parse().ok());
        let mut numbers: Vec<u64> = lines.iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Starts `tidegate run` on a manifest, with the state directory `state` of this place.
    pub fn run(&self, manifest: &Path, arguments: &[&str]) -> Result<Run> {
        let state = self.path("state");
        let log = self.path("run.log");
        let mut note = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        writeln!(note, "--- run")?;
        let child = tidegate()
            .arg("run")
            .arg(manifest)
            .arg("--state-dir")
            .arg(&state)
            .args(self.flags(arguments))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(note.try_clone()?)
            .stderr(note)
            .process_group(0)
            .spawn()
            .context("start tidegate")?;
        Ok(Run { child, log, state })
    }

    /// Everything that the runs of this place have printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("run.log")).unwrap_or_default()
    }
}

/// Whether the long forms of tests are asked for.
pub fn is_long() -> bool {
    std::env::var_os("TIDEGATE_LONG").is_some()
}

/// The `tidegate` under test.
pub fn tidegate() -> Command {
    Command::new(program("TIDEGATE_BIN", "tidegate"))
}

/// One of this crate's own programs.
pub fn own_program(name: &str) -> String {
    program(&format!("TIDEGATE_E2E_{}", name.to_uppercase()), name).display().to_string()
}

/// A Python with the SDK, or none; then the test is noted as skipped under `name`.
pub fn python(name: &str) -> Option<String> {
    if let Some(python) = std::env::var_os("TIDEGATE_TEST_PYTHON") {
        return Some(python.to_string_lossy().into_owned());
    }
    skipped(name, "no Python with pynumaflow (TIDEGATE_TEST_PYTHON); run the tests with `cargo xtask test`");
    None
}

/// The checker of Prometheus' rules, or none; then the test is noted as skipped under `name`.
pub fn promtool(name: &str) -> Option<Command> {
    if let Some(promtool) = std::env::var_os("TIDEGATE_TEST_PROMTOOL") {
        return Some(Command::new(promtool));
    }
    skipped(name, "no promtool (TIDEGATE_TEST_PROMTOOL); run the tests with `cargo xtask test`");
    None
}

/// Redis' server, or none; then the test is noted as skipped under `name`.
pub fn redis(name: &str) -> Option<Command> {
    if let Some(redis) = std::env::var_os("TIDEGATE_TEST_REDIS") {
        return Some(Command::new(redis));
    }
    skipped(name, "no redis-server (TIDEGATE_TEST_REDIS); run the tests with `cargo xtask test`");
    None
}

/// The NATS server, or none; then the test is noted as skipped under `name`.
pub fn nats(name: &str) -> Option<Command> {
    if let Some(nats) = std::env::var_os("TIDEGATE_TEST_NATS") {
        return Some(Command::new(nats));
    }
    skipped(name, "no nats-server (TIDEGATE_TEST_NATS); run the tests with `cargo xtask test`");
    None
}

/// Processes that a process has started and whose command line ends with this word.
pub fn children_of(parent: u32, word: &str) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name of the program, in parentheses, may hold anything.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    processes_with(word).into_iter().filter(is_child).collect()
}

/// A process and everything that it has started.
pub fn family_of(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(children_of(parent, ""));
        at += 1;
    }
    family
}

/// A variable in the environment that a process was started with.
pub fn variable_of(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut pairs = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    pairs.find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// Notes that a test was skipped, for the end of the run.
///
/// # Panics
/// When the list cannot be written.
pub fn skipped(name: &str, why: &str) {
    if let Some(file) = std::env::var_os("TIDEGATE_SKIPPED") {
        let list = fs::OpenOptions::new().create(true).append(true).open(file);
        let mut list = list.expect("the list of skipped tests can be written");
        writeln!(list, "{name}: {why}").expect("the list of skipped tests can be written");
    }
}

impl Run {
    /// Where its state is.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its output has this text.
    pub fn says(&self, text: &str) {
        wait::until(&format!("the output has {text:?}; it is {}", self.log.display()), || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            log.rsplit("--- run").next().is_some_and(|own| own.contains(text)).then_some(())
        });
    }

    /// Kills it, with nothing finished.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill tidegate")?;
        self.child.wait().context("wait for tidegate")?;
        Ok(())
    }

    /// Asks it to drain and waits for its end.
    pub fn interrupt(mut self) -> Result<ExitStatus> {
        self.ctrl_c()?;
        self.ends()
    }

    /// Asks it to stop at once and waits for its end.
    pub fn interrupt_twice(mut self) -> Result<ExitStatus> {
        self.ctrl_c()?;
        self.says("draining; Ctrl-C again");
        self.ctrl_c()?;
        self.ends()
    }

    /// What a terminal does: everybody in the foreground hears it.
    fn ctrl_c(&self) -> Result<()> {
        signal_group(self.child.id(), Signal::SIGINT)
    }

    /// Waits for its end.
    pub fn ends(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        Ok(wait::until("tidegate ends", || child.try_wait().ok().flatten()))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Already gone in most tests; a failed test must not leave it behind.
        if self.child.try_wait().ok().flatten().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Sends a signal to a process that the test has started.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).context("a process number")?;
    kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {pid}"))
}

/// Sends a signal to a process and everybody in its group.
pub fn signal_group(leader: u32, signal: Signal) -> Result<()> {
    let group = i32::try_from(leader).context("a process number")?;
    killpg(Pid::from_raw(group), signal).with_context(|| format!("send {signal} to group {group}"))
}

/// Processes whose command line has this text: user code that a run has started.
pub fn processes_with(text: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    };
    processes().filter(has).collect()
}

/// Processes that were started with this value of a variable.
pub fn processes_of(variable: &str, value: &str) -> Vec<u32> {
    processes().filter(|pid| variable_of(*pid, variable).as_deref() == Some(value)).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
