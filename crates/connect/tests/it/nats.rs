//! A real NATS server for tests: on a free port of the loopback, with a store of its own, ended with the test program.
//!
//! A small shell holds the server: it ends it when its standard input is closed, which the end of this program does
//! however it comes about. Without a server (`TIDEGATE_TEST_NATS`, the path, `~/go/bin`) a test says that it was
//! skipped.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidegate_connect::buffer::jetstream::{Nats, Settings};

/// How long a server may take until it stores. Far longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What runs the server in the foreground, says its process id first, and ends it when standard input ends.
const HOLDER: &str =
    r#""$@" & server=$!; echo "$server"; cat > /dev/null; kill -9 "$server" 2> /dev/null; wait"#;

/// The server's program; none when there is none.
pub(crate) fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("TIDEGATE_TEST_NATS") {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin"));
    std::env::split_paths(&path)
        .chain(home)
        .map(|directory| directory.join("nats-server"))
        .find(|program| program.is_file())
}

/// As [`program`]; none, and noted, when there is none.
pub(crate) fn program_for(test: &str) -> Option<PathBuf> {
    let program = program();
    if program.is_none() {
        skipped(test, "no nats-server; `go install github.com/nats-io/nats-server/v2@v2.15.2`");
    }
    program
}

/// Notes that a test was skipped, for the end of the run.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn skipped(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
    if let Some(file) = std::env::var_os("TIDEGATE_SKIPPED") {
        let mut list = fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(list, "{test}: {why}").unwrap();
    }
}

/// The server that most tests share; none, and noted, when there is no program. Streams have names of their own.
pub(crate) fn shared(test: &str) -> Option<&'static Server> {
    static SHARED: OnceLock<Server> = OnceLock::new();
    let program = program_for(test)?;
    Some(SHARED.get_or_init(|| Server::start(&program, &Options::default())))
}

/// As [`shared`], and what is acknowledged is on the disk.
pub(crate) fn shared_that_syncs(test: &str) -> Option<&'static Server> {
    static SHARED: OnceLock<Server> = OnceLock::new();
    let program = program_for(test)?;
    Some(SHARED.get_or_init(|| Server::start(&program, &Options::that_syncs())))
}

/// A server of the test's own; none, and noted, when there is no program.
pub(crate) fn own(test: &str, options: &Options) -> Option<Server> {
    Some(Server::start(&program_for(test)?, options))
}

/// A name that no other stream of this program has.
pub(crate) fn unique(name: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// Runs a test on threads of its own.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test)
}

/// What a server is told beyond its port and its store.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Lines of the configuration.
    pub(crate) lines: String,
    /// Whether it stores anything.
    pub(crate) jetstream: bool,
    /// What stands in the block `jetstream`.
    pub(crate) jetstream_lines: String,
    /// The port; any free one when it is 0.
    pub(crate) port: u16,
}

impl Options {
    /// What is acknowledged is on the disk.
    pub(crate) fn that_syncs() -> Self {
        Self { jetstream_lines: "sync_interval: always".to_owned(), ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { lines: String::new(), jetstream: true, jetstream_lines: String::new(), port: 0 }
    }
}

/// Servers that keep copies of each other's streams and sync what they write.
pub(crate) fn cluster(program: &Path, count: usize) -> Vec<Server> {
    let routes: Vec<String> = (0..count).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let all: Vec<String> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
    let start = |(number, route): (usize, &String)| {
        let all = all.join(", ");
        let lines =
            format!("server_name: s{number}\ncluster {{ name: c, listen: {route:?}, routes: [{all}] }}");
        Server::start(program, &Options { lines, ..Options::that_syncs() })
    };
    routes.iter().enumerate().map(start).collect()
}

/// Returns once each of these servers answers and stores.
pub(crate) async fn until_all_store(urls: &[String]) {
    for url in urls {
        let connected = Nats::connect_within(&Settings::to(url), PATIENCE).await;
        drop(connected.unwrap_or_else(|error| panic!("{url}: {error}")));
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running server.
pub(crate) struct Server {
    program: PathBuf,
    home: TempDir,
    pub(crate) port: u16,
    running: Option<Running>,
}

struct Running {
    holder: Child,
    server: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The holder ends the server when it has nothing more to read.
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }
}

impl Server {
    pub(crate) fn start(program: &Path, options: &Options) -> Self {
        let home = TempDir::new().unwrap();
        let port = if options.port == 0 { free_port() } else { options.port };
        let store = home.path().join("store");
        let jetstream = if options.jetstream {
            format!("jetstream {{\n store_dir: {:?}\n {}\n}}\n", store.display(), options.jetstream_lines)
        } else {
            String::new()
        };
        let text = format!("host: 127.0.0.1\nport: {port}\n{}\n{jetstream}", options.lines);
        fs::write(home.path().join("server.conf"), text).unwrap();
        let mut server = Self { program: program.to_owned(), home, port, running: None };
        server.run();
        server
    }

    /// Starts it again over the same store and on the same port.
    pub(crate) fn run(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut holder = Command::new("sh");
        holder
            .args(["-c", HOLDER, "sh"])
            .arg(&self.program)
            .arg("-c")
            .arg(self.home.path().join("server.conf"));
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut holder = holder.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.running = Some(Running { server: line.trim().parse().unwrap(), holder });
    }

    /// Ends it as SIGKILL does.
    pub(crate) fn kill(&mut self) {
        drop(self.running.take().expect("it runs"));
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.running.as_ref().expect("it runs").server
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A connection to it, once it stores.
    pub(crate) async fn connect(&self) -> Nats {
        self.connect_as(&Settings::to(&self.url())).await
    }

    pub(crate) async fn connect_as(&self, settings: &Settings) -> Nats {
        match Nats::connect_within(settings, PATIENCE).await {
            Ok(nats) => nats,
            Err(error) => panic!("{error}: {}", fs::read_to_string(self.log()).unwrap_or_default()),
        }
    }
}
