//! How many messages a second pass through a Rust SDK map server in another process on the same machine.
//!
//! `map_throughput [seconds] [concurrency] [callers] [bytes]`; the same program with `serve DIRECTORY` is the server.
//! Prints messages per second and the processor time that each side used for one message.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::door::map::Map;
use model::{Message, Name, Origin, Time};
use numaflow::map;
use numaflow::shared::ServerExtras;
use tidegate_connect::incident::Incidents;
use tidegate_connect::udf::Settings;
use tidegate_connect::udf::map::UserMap;

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Cat;

#[tonic::async_trait]
impl map::Mapper for Cat {
    async fn map(&self, input: map::MapRequest) -> Vec<map::Message> {
        vec![map::Message::new(input.value).with_keys(input.keys)]
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, directory] = arguments.as_slice()
        && word == "serve"
    {
        return serve(Path::new(directory)).await;
    }
    let number = |place: usize, default: usize| -> Result<usize, Failure> {
        Ok(arguments.get(place).map_or(Ok(default), |text| text.parse())?)
    };
    let load = Load {
        seconds: number(0, 10)?,
        concurrency: number(1, 500)?,
        callers: number(2, 8)?,
        bytes: number(3, 100)?,
    };
    measure(&load).await
}

async fn serve(directory: &Path) -> Result<(), Failure> {
    map::Server::new(Cat)
        .with_socket_file(directory.join("map.sock"))
        .with_server_info_file(directory.join("mapper-server-info"))
        .start()
        .await
}

struct Load {
    seconds: usize,
    concurrency: usize,
    callers: usize,
    bytes: usize,
}

async fn measure(load: &Load) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let mut server =
        std::process::Command::new(std::env::current_exe()?).arg("serve").arg(directory.path()).spawn()?;
    let outcome = flood(load, directory.path(), server.id()).await;
    server.kill()?;
    server.wait()?;
    outcome
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
async fn flood(load: &Load, directory: &Path, server: u32) -> Result<(), Failure> {
    let vertex = Name::new_static("cat");
    let mut settings = Settings::new(directory, vertex.clone());
    settings.concurrency = load.concurrency.try_into()?;
    let map = Arc::new(UserMap::open(settings, Incidents::new(vertex.clone(), 0)));
    let value = bytes::Bytes::from(vec![b'x'; load.bytes]);
    let batch = |start: u64| -> Arc<Vec<Message>> {
        let origin = |number| Origin::Buffered {
            sequence: number / 500,
            position: (number % 500) as u32,
            partition: 0,
        };
        let message = |number| {
            Message::from_source(Name::new_static("in"), origin(number), value.clone(), Time::UNKNOWN)
        };
        Arc::new((start..start + 500).map(message).collect())
    };
    map.map(batch(0), Time::UNKNOWN).await?;
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..load.callers {
        let (map, done, stop) = (Arc::clone(&map), Arc::clone(&done), Arc::clone(&stop));
        let batch = batch(caller as u64 * 500);
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let replies = map.map(Arc::clone(&batch), Time::UNKNOWN).await?;
                assert!(replies.iter().all(|reply| reply.outputs.len() == 1), "each message has one result");
                done.fetch_add(replies.len() as u64, Ordering::Relaxed);
            }
            Ok::<_, model::door::Error>(())
        });
    }
    let own = std::process::id();
    let (began, before) = (Instant::now(), (processor_time(own)?, processor_time(server)?));
    let first = done.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(load.seconds as u64)).await;
    let count = (done.load(Ordering::Relaxed) - first) as f64;
    let (elapsed, after) = (began.elapsed().as_secs_f64(), (processor_time(own)?, processor_time(server)?));
    stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    let each = |before: f64, after: f64| (after - before) * 1e6 / count;
    println!(
        "{:.0} messages/s of {} bytes; processor time for each: client {:.2} us, server {:.2} us",
        count / elapsed,
        load.bytes,
        each(before.0, after.0),
        each(before.1, after.1)
    );
    Ok(())
}

/// Seconds of processor time a process has used, from its ticks of 10 ms.
fn processor_time(process: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{process}/stat")))?;
    let after_name = stat.rsplit(')').next().ok_or("a stat line has a name")?;
    let ticks = |place: usize| after_name.split_whitespace().nth(place).ok_or("a stat line has 52 fields");
    Ok((ticks(11)?.parse::<f64>()? + ticks(12)?.parse::<f64>()?) / 100.0)
}
