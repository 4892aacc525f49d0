//! User code in a process of its own: this test program, started again as a server. What only a process shows is
//! tested with it: stack traces of a panic, and SIGKILL.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use model::Time;
use model::door::map::Map;
use numaflow::map;
use numaflow::shared::ServerExtras;
use tidegate_connect::udf::map::UserMap;

use crate::standstill::{go_on, stand_still};
use crate::udf_sdk::files;
use crate::udf_server::{Place, messages, until};

/// Where the started process serves.
const DIRECTORY: &str = "TIDEGATE_TEST_SERVE_IN";

/// Echoes; panics for 13 unless a file says that it has.
struct Touchy {
    directory: PathBuf,
}

#[tonic::async_trait]
impl map::Mapper for Touchy {
    async fn map(&self, input: map::MapRequest) -> Vec<map::Message> {
        let scars = ["first", "second"].map(|name| self.directory.join(name));
        if input.value == b"13"
            && let Some(scar) = scars.iter().find(|scar| !scar.exists())
        {
            std::fs::write(scar, b"").unwrap();
            panic!("thirteen is too much");
        }
        vec![map::Message::new(input.value)]
    }
}

/// Not a test of anything by itself: serves until killed when the environment says so.
#[test]
fn a_started_process_is_a_map_server() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = PathBuf::from(directory);
    let (socket, info) = files(&directory, "map.sock", "mapper");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = map::Server::new(Touchy { directory });
    runtime.block_on(server.with_socket_file(socket).with_server_info_file(info).start()).unwrap();
}

/// A process that is started again whenever it ends, as a platform does with a container.
pub(crate) struct Process {
    running: Arc<Mutex<Child>>,
    stopping: Arc<AtomicBool>,
    starts: Arc<AtomicU32>,
    keeper: Option<JoinHandle<()>>,
}

impl Process {
    /// This test program as a map server.
    fn start(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self::keep(move || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "udf_process::a_started_process_is_a_map_server"]);
            command.env(DIRECTORY, &directory).env("RUST_BACKTRACE", "1");
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
    }

    pub(crate) fn keep(spawn: impl Fn() -> Child + Send + 'static) -> Self {
        let running = Arc::new(Mutex::new(spawn()));
        let (stopping, starts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(1)));
        let keeper = std::thread::spawn({
            let (running, stopping, starts) =
                (Arc::clone(&running), Arc::clone(&stopping), Arc::clone(&starts));
            move || {
                while !stopping.load(Ordering::SeqCst) {
                    let mut child = running.lock().unwrap();
                    if child.try_wait().unwrap().is_some() {
                        *child = spawn();
                        starts.fetch_add(1, Ordering::SeqCst);
                    }
                    drop(child);
                    std::thread::park_timeout(std::time::Duration::from_millis(5));
                }
            }
        });
        Self { running, stopping, starts, keeper: Some(keeper) }
    }

    fn id(&self) -> u32 {
        self.running.lock().unwrap().id()
    }

    fn kill(&self) {
        self.running.lock().unwrap().kill().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(keeper) = self.keeper.take() {
            keeper.join().unwrap();
        }
        let mut child = self.running.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_panic_comes_with_its_stack_trace_and_costs_no_message() {
    let place = Place::new();
    let process = Process::start(&place.path());
    let map = UserMap::open(place.settings.clone(), place.incidents.clone());
    let sent = messages(0..500);
    let replies = map.map(Arc::clone(&sent), Time::MIN).await.unwrap();
    assert!(sent.iter().zip(&replies).all(|(sent, reply)| reply.outputs[0].value == sent.value));
    let incidents = place.incidents("crashed");
    assert!(incidents[0].message.contains("thirteen is too much"), "{incidents:?}");
    assert!(incidents[0].details.len() > 4000, "a stack trace is longer than {:?}", incidents[0].details);
    // The second time it crashed with the message alone, so the message is named.
    assert!(incidents.iter().any(|incident| incident.messages == ["in-13-0-0"]), "{incidents:?}");
    assert!(process.starts.load(Ordering::SeqCst) >= 3);
}

#[tokio::test]
async fn a_process_that_stands_still_is_told_apart_from_a_slow_handler() {
    let mut place = Place::new();
    place.settings.unresponsive_after = std::time::Duration::from_millis(300);
    let process = Process::start(&place.path());
    let map = UserMap::open(place.settings.clone(), place.incidents.clone());
    map.map(messages(0..10), Time::UNKNOWN).await.unwrap();
    stand_still(process.id()).await;
    let sent = messages(100..110);
    let call = map.map(Arc::clone(&sent), Time::UNKNOWN);
    let rest = async {
        let incident = place.incident("unresponsive").await;
        assert!(incident.message.contains("process does not answer either"), "{}", incident.message);
        assert_eq!(incident.messages[0], "in-100-0-0");
        assert!(!map.ready().await);
        go_on(process.id());
    };
    let (replies, ()) = futures::future::join(call, rest).await;
    assert!(sent.iter().zip(&replies.unwrap()).all(|(sent, reply)| reply.outputs[0].value == sent.value));
    assert_eq!(process.starts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn ten_kills_in_a_flood_cost_no_message() {
    let place = Place::new();
    std::fs::write(place.path().join("first"), b"").unwrap();
    std::fs::write(place.path().join("second"), b"").unwrap();
    let process = Process::start(&place.path());
    let map = UserMap::open(place.settings.clone(), place.incidents.clone());
    let (done, killed) = (AtomicU32::new(0), AtomicBool::new(false));
    let flood = async {
        let mut start = 0;
        while !killed.load(Ordering::SeqCst) {
            let sent = messages(start..start + 500);
            let replies = map.map(Arc::clone(&sent), Time::UNKNOWN).await.unwrap();
            assert_eq!(replies.len(), sent.len());
            for (message, reply) in sent.iter().zip(&replies) {
                assert_eq!(reply.outputs.len(), 1);
                assert_eq!(reply.outputs[0].value, message.value);
            }
            done.fetch_add(500, Ordering::SeqCst);
            start += 500;
        }
    };
    let kills = async {
        for _ in 0..10 {
            let before = done.load(Ordering::SeqCst);
            until("messages to flow", || done.load(Ordering::SeqCst) > before + 2000).await;
            process.kill();
        }
        killed.store(true, Ordering::SeqCst);
    };
    futures::future::join(flood, kills).await;
}
