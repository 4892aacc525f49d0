//! A site in a process of its own that dies at a given step to disk, for the tests of this crate.
//!
//! `mortal DIRECTORY STEP whole|torn`; step 0 is never reached. It takes a command in each line of its input and gives
//! an answer, as JSON, in each line of its output. Invariant: nothing of the process runs after the step: it is killed
//! from inside, by a signal that nobody can catch.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use serde_json::{Value, json};
use tidegate_platform::local::disk::{Disk, FileSystem};
use tidegate_platform::local::engine::Storage;
use tidegate_platform::local::process::environment::Machine;
use tidegate_platform::local::process::{Host, Starter};
use tidegate_platform::local::site::{Config, Site};
use tidegate_platform::place::{Apply, ManifestFile, Place, Refusal, Wish};
use tokio::task::JoinSet;

/// How long a look at what has changed may take.
const LOOK: Duration = Duration::from_millis(100);

/// A disk under which the process dies.
struct Mortal {
    steps: AtomicU64,
    last: u64,
    /// Die in the middle of the last step, in place of after it.
    torn: bool,
}

impl Mortal {
    fn step(
        &self,
        halfway: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        if step != self.last {
            return whole();
        }
        if self.torn { halfway() } else { whole() }?;
        kill(getpid(), Signal::SIGKILL)?;
        Err(io::Error::other("the process is dead"))
    }
}

impl Disk for Mortal {
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = || std::fs::write(FileSystem::beside(path), &bytes[..bytes.len() / 2]);
        self.step(half, || FileSystem.replace(path, bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| Ok(()), || FileSystem.rename(from, to))
    }

    fn remove(&self, directory: &Path) -> io::Result<()> {
        let some = || match std::fs::read_dir(directory)?.next() {
            Some(entry) if entry.as_ref().is_ok_and(|entry| entry.path().is_dir()) => {
                std::fs::remove_dir_all(entry?.path())
            }
            Some(entry) => std::fs::remove_file(entry?.path()),
            None => Ok(()),
        };
        self.step(some, || FileSystem.remove(directory))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, last, how] = words.as_slice() else {
        return Err("give DIRECTORY STEP whole|torn".into());
    };
    let directory = PathBuf::from(directory);
    let disk = Arc::new(Mortal { steps: AtomicU64::new(0), last: last.parse()?, torn: how == "torn" });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let entered = runtime.enter();
    let host = Host { launcher: None, starter: Starter::new()?, echo: Arc::new(|_, _| {}) };
    let config = Config {
        directory: directory.join("site"),
        run_dir: directory.join("run"),
        host,
        machine: Machine { processors: 1, memory_bytes: 1 << 30 },
        http_bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        storage: Storage::Journal(journal::Durability::Os),
    };
    let (site, loops) = Site::open_on(disk.clone(), config)?;
    let mut running = JoinSet::new();
    running.spawn(loops.run());
    for line in io::stdin().lock().lines() {
        let answer = match line?.split_once(' ') {
            Some((command, about)) => runtime
                .block_on(obey(&site, command, about))
                .unwrap_or_else(|refusal| json!({"refused": refusal})),
            None => json!(disk.steps.load(Ordering::SeqCst)),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    runtime.block_on(async {
        site.shut_down().await;
        while running.join_next().await.is_some() {}
    });
    drop(entered);
    Ok(())
}

async fn obey(site: &Site, command: &str, about: &str) -> Result<Value, Refusal> {
    let wish = match command {
        "apply" => {
            let text = std::fs::read_to_string(about).unwrap_or_default();
            let file = ManifestFile { name: about.to_owned(), text, image_map: None };
            let apply = Apply { files: vec![file], working_dir: "/".to_owned(), ..Apply::default() };
            return site.apply(apply).await.map(|applied| json!(applied));
        }
        "look" => {
            // The version is asked for first, so that what changes in between ends the wait.
            let version = about.parse().unwrap_or(0);
            let changed = tokio::time::timeout(LOOK, site.changed(version)).await;
            let (object, history) = (site.object("flow").await, site.history("flow").await);
            return Ok(json!({
                "version": changed.unwrap_or(version),
                "object": object.ok(),
                "history": history.ok(),
            }));
        }
        "events" => return site.events(None, 0, usize::MAX).await.map(|events| json!(events)),
        "pause" => Wish::Pause,
        "resume" => Wish::Resume,
        _ => Wish::Delete { force: false },
    };
    site.ask(about, wish).await.map(|object| json!(object))
}
