//! Redis servers and sentinels of a test, on a socket or a free port, with nothing kept on a disk that outlives them.
//!
//! The program is the one that `TIDEGATE_TEST_REDIS` names; a test that has none says that it was skipped.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Client, IntoConnectionInfo};
use tempfile::TempDir;

use super::wait::a_moment;

/// How long a server may take to answer. Far longer than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program; none when there is none, which is said and noted for `test`.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(super) fn program(test: &str) -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("TIDEGATE_TEST_REDIS") {
        return Some(program.into());
    }
    let why = "no redis-server (TIDEGATE_TEST_REDIS); run the tests with `cargo xtask test`";
    println!("SKIPPED {test}: {why}");
    if let Some(file) = std::env::var_os("TIDEGATE_SKIPPED") {
        let mut skipped = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(skipped, "stores::{test}: {why}").unwrap();
    }
    None
}

/// A server that is killed when it is dropped.
pub(super) struct Server {
    program: PathBuf,
    directory: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A server that listens on a socket only.
    pub(super) fn on_socket(program: &Path) -> Self {
        Self::start(program, |directory| {
            let socket = directory.join("redis.sock").display().to_string();
            ["--port", "0", "--unixsocket", &socket].map(str::to_owned).to_vec()
        })
    }

    /// A server with arguments of its own, which may name its directory.
    pub(super) fn start(program: &Path, arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments = arguments(directory.path());
        let mut server = Self { program: program.to_owned(), directory, arguments, child: None };
        server.revive();
        server
    }

    /// Starts it again, empty.
    pub(super) fn revive(&mut self) {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if !self.arguments.iter().any(|argument| argument == "--sentinel") {
            command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]);
        }
        command.arg("--dir").arg(self.directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            child.wait().unwrap();
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The address of its socket.
    pub(super) fn url(&self) -> String {
        format!("unix://{}", self.path("redis.sock").display())
    }

    /// A connection to an address of it, as soon as it answers.
    pub(super) async fn connect(&self, info: impl IntoConnectionInfo) -> redis::aio::MultiplexedConnection {
        let client = Client::open(info).unwrap();
        let connect = async {
            loop {
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                    && redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
                {
                    return connection;
                }
                a_moment().await;
            }
        };
        match tokio::time::timeout(PATIENCE, connect).await {
            Ok(connection) => connection,
            Err(tokio::time::error::Elapsed { .. }) => {
                panic!("no answer; {}", std::fs::read_to_string(self.path("log")).unwrap())
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub(super) fn port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
