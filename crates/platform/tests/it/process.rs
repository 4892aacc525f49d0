//! Supervision of real programs: output, restarts, stopping, and what happens when we are killed.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connect::incident::Incidents;
use tempfile::TempDir;
use tidegate_platform::local::namespace::{Launcher, Request};
use tidegate_platform::local::process::{
    Container, Directories, Error, Exit, Handle, Host, Line, Name, Starter, State, Status, Stream, Supervisor,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take; reached only when a test fails.
const LIMIT: Duration = Duration::from_secs(30);

fn launcher() -> Launcher {
    Launcher::new(Path::new(env!("CARGO_BIN_EXE_tidegate-test-launcher")))
}

/// A supervised script.
struct Run {
    dir: TempDir,
    handle: Handle,
    stop: CancellationToken,
    incidents: Incidents,
    lines: watch::Receiver<Vec<Line>>,
    task: JoinSet<Result<(), Error>>,
}

impl Run {
    fn start(script: &str, change: impl FnOnce(&mut Container, &mut Host)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories::below(&dir.path().join("run"), 0);
        fs::create_dir_all(&directories.sockets).unwrap();
        drop(UnixListener::bind(directories.sockets.join("stale.sock")).unwrap());
        let mut container = Container {
            name: Name { vertex: "cat".to_owned(), replica: 2, container: "udf".to_owned() },
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            working_dir: dir.path().to_owned(),
            env: vec![("GREETING".to_owned(), "hello".to_owned())],
            directories,
            mounts: Vec::new(),
            log: dir.path().join("logs/cat-2/udf.log"),
            grace: Duration::from_millis(300),
        };
        let (sender, lines) = watch::channel(Vec::new());
        let sender = Mutex::new(sender);
        let echo = move |name: &Name, line: &Line| {
            assert_eq!(name.to_string(), "cat[2]/udf");
            sender.lock().unwrap().send_modify(|lines| lines.push(line.clone()));
        };
        let mut host =
            Host { launcher: Some(launcher()), starter: Starter::new().unwrap(), echo: Arc::new(echo) };
        change(&mut container, &mut host);
        let incidents = Incidents::new(model::Name::new("cat"), 2);
        let (supervisor, handle) = Supervisor::new(container, host, incidents.clone());
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(supervisor.run(stop.clone()));
        Self { dir, handle, stop, incidents, lines, task }
    }

    async fn line(&mut self, wanted: &str) -> Line {
        let is_wanted = |line: &&Line| line.text == wanted;
        let lines = self.lines.wait_for(|lines| lines.iter().any(|line| is_wanted(&line)));
        let lines = tokio::time::timeout(LIMIT, lines).await.expect("the line comes in time").unwrap();
        lines.iter().find(is_wanted).unwrap().clone()
    }

    async fn status(&mut self, is_wanted: impl Fn(&Status) -> bool) -> Status {
        let status = self.handle.status.wait_for(is_wanted);
        tokio::time::timeout(LIMIT, status).await.expect("the state comes in time").unwrap().clone()
    }

    async fn end(mut self) -> (TempDir, Incidents, Vec<Line>) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LIMIT, self.task.join_next()).await.expect("it stops in time");
        ended.unwrap().unwrap().unwrap();
        assert_eq!(self.handle.status.borrow().state, State::Stopped);
        let lines = self.lines.borrow().clone();
        (self.dir, self.incidents, lines)
    }
}

/// Whether a process exists; the dead that nobody has collected do not count.
fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits for a process to be gone by looking again and again.
fn wait_until_gone(pid: &str) {
    let started = std::time::Instant::now();
    while is_alive(pid) {
        assert!(started.elapsed() < LIMIT, "process {pid} is still there");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn output_is_shown_and_kept_and_the_sockets_are_clean() {
    let script =
        "ls -A /var/run/numaflow; echo $GREETING $TIDEGATE_RUN_DIR; pwd; echo oops >&2; exec sleep 1000";
    let mut run = Run::start(script, |_, _| {});
    assert_eq!(run.line("oops").await.stream, Stream::Err);
    run.line("hello /var/run/numaflow").await;
    let (dir, incidents, lines) = run.end().await;
    let mut texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    texts.sort_unstable();
    let mut expected = vec![dir.path().to_str().unwrap(), "hello /var/run/numaflow", "oops"];
    expected.sort_unstable();
    assert_eq!(texts, expected);
    let kept = fs::read_to_string(dir.path().join("logs/cat-2/udf.log")).unwrap();
    assert!(kept.lines().any(|line| line.ends_with("Z stderr F oops")), "{kept}");
    assert_eq!(kept.lines().count(), 3);
    assert_eq!(incidents.total(), 0);
}

#[tokio::test]
async fn a_crash_is_reported_and_the_program_started_again() {
    let mut run = Run::start("echo why >&2; exit 3", |_, _| {});
    let status = run.status(|status| status.restarts == 2).await;
    assert_eq!(status.state, State::BackOff { wait: Duration::from_millis(400), exit: Exit::Code(3) });
    let (_dir, incidents, _) = run.end().await;
    let recent = incidents.recent();
    assert_eq!(recent[0].code, "crashed");
    assert_eq!(recent[0].message, "cat[2]/udf ended with exit code 3; it is started again in 200ms");
    assert_eq!(recent[0].details, "why");
}

#[tokio::test]
async fn a_signal_and_a_missing_program_are_told_apart() {
    let mut run = Run::start("kill -KILL $$", |_, _| {});
    run.status(|status| status.restarts == 1).await;
    let (_dir, incidents, _) = run.end().await;
    assert!(incidents.recent()[0].message.starts_with("cat[2]/udf was ended by SIGKILL; "));
    let mut run = Run::start("", |container, _| container.command = vec!["/no/such".to_owned()]);
    run.status(|status| status.restarts == 1).await;
    let (_dir, incidents, _) = run.end().await;
    let recent = &incidents.recent()[0];
    assert_eq!(recent.code, "not-started");
    assert!(
        recent
            .message
            .starts_with("cat[2]/udf could not be started: failed to start \"/no/such\": No such file"),
        "{}",
        recent.message
    );
}

#[tokio::test]
async fn a_program_that_handles_sigterm_ends_by_itself() {
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let mut run = Run::start(script, |container, _| container.grace = LIMIT);
    run.line("up").await;
    let (_dir, incidents, lines) = run.end().await;
    assert!(lines.iter().any(|line| line.text == "bye"), "{lines:?}");
    assert_eq!(incidents.total(), 0);
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_with_its_children() {
    let script = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1; done";
    let mut run = Run::start(script, |_, _| {});
    let first = run.lines.wait_for(|lines| !lines.is_empty());
    let pid = tokio::time::timeout(LIMIT, first).await.unwrap().unwrap()[0].text.clone();
    assert!(is_alive(&pid));
    run.end().await;
    wait_until_gone(&pid);
}

#[tokio::test]
async fn children_do_not_outlive_a_program_that_crashed() {
    let mut run = Run::start("sleep 1000 & echo $!; exit 1", |_, _| {});
    run.status(|status| status.restarts == 1).await;
    let pid = run.lines.borrow()[0].text.clone();
    wait_until_gone(&pid);
    run.end().await;
}

#[tokio::test]
async fn a_restart_can_be_asked_for() {
    let mut run = Run::start("echo up; exec sleep 1000", |_, _| {});
    run.line("up").await;
    run.handle.restart();
    run.status(|status| status.restarts == 1 && matches!(status.state, State::Running { .. })).await;
    let (_dir, incidents, _) = run.end().await;
    assert_eq!(incidents.recent()[0].code, "restarted");
}

#[tokio::test]
async fn a_long_line_is_cut_into_pieces() {
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end; exec sleep 1000";
    let mut run = Run::start(script, |_, _| {});
    run.line("end").await;
    let (_dir, _, lines) = run.end().await;
    let sizes: Vec<(usize, bool)> = lines.iter().map(|line| (line.text.len(), line.is_partial)).collect();
    assert_eq!(sizes, [(16384, true), (16384, true), (7232, false), (3, false)]);
}

#[tokio::test]
async fn without_a_launcher_the_program_is_told_its_directory() {
    let mut run = Run::start("echo $TIDEGATE_RUN_DIR; exec sleep 1000", |_, host| host.launcher = None);
    let sockets = run.dir.path().join("run/0");
    run.line(sockets.to_str().unwrap()).await;
    run.end().await;
}

#[tokio::test]
async fn dropping_the_supervisor_kills_the_program() {
    let mut run = Run::start("echo $$; exec sleep 1000", |_, _| {});
    let first = run.lines.wait_for(|lines| !lines.is_empty());
    let pid = tokio::time::timeout(LIMIT, first).await.unwrap().unwrap()[0].text.clone();
    run.task.shutdown().await;
    wait_until_gone(&pid);
}

/// A shell plays our process and is killed; as the user who runs the tests and as one without rights.
#[test]
fn nothing_outlives_a_process_that_is_killed() {
    outlive(&[]);
    let as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    if Command::new("setpriv").args(&as_nobody[1..]).arg("true").status().is_ok_and(|status| status.success())
    {
        outlive(&as_nobody);
    }
}

fn outlive(prefix: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_tidegate-test-launcher");
    let request = Request {
        parent: 0,
        stage: dir.path().join("stage"),
        mounts: Vec::new(),
        command: ["sh", "-c", "sleep 1000 & echo $! $$; wait"].map(OsString::from).to_vec(),
    };
    let args = request.to_args();
    // The shell tells the launcher its own number instead of the first two arguments, and starts it in the background.
    let args = args.iter().skip(2).map(|arg| arg.to_str().unwrap());
    let script = format!("setsid {binary} user-code-launcher --parent $$ \"$@\" & wait");
    let mut words = prefix.to_vec();
    words.extend(["sh", "-c", &script, "sh"]);
    words.extend(args);
    let mut command = Command::new(words[0]);
    let mut parent = command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(pids.len(), 2, "{line:?}");
    assert!(pids.iter().all(|pid| is_alive(pid)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    for pid in pids {
        wait_until_gone(pid);
    }
}
