//! A site: everything that runs on this machine under one control plane. Each object has a directory with its record, its
//! journal and its logs, and a control loop of its own; what can be asked of a site is [`Place`]. Invariant: what was
//! accepted survives a crash at any moment, and one bad object never stops another one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use model::door::chain;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::disk::{Disk, FileSystem};
use super::engine::Storage;
use super::process::Host;
use super::process::environment::Machine;
use super::state;
use crate::place::{Apply, Place, Refusal, RefusalKind, Wish};
use crate::view::{Applied, Event, Finding, History, Incident, Object};

mod apply;
mod edit;
mod events;
mod lock;
mod material;
mod queries;
mod record;
mod runner;
mod show;
mod wishes;

pub(crate) use edit::{container_of, set_image};
use events::Events;
use material::Material;
pub(crate) use material::object_of;
use record::{FORMAT_VERSION, Record};
use runner::{COMMANDS_MAX, Command, Runner, now};
use show::View;
pub(crate) use show::{role as role_of, rollout_in_a_line};

/// Objects of one site.
const OBJECTS_MAX: usize = 256;

/// Everything a site needs.
pub struct Config {
    /// Where everything is kept. One process at a time uses it.
    pub directory: PathBuf,
    /// Where sockets are; its path is short.
    pub run_dir: PathBuf,
    /// What starts user code.
    pub host: Host,
    /// The size of the machine, for user code that asks.
    pub machine: Machine,
    /// The address HTTP sources listen on.
    pub http_bind: IpAddr,
    /// Where frames and positions of objects are kept.
    pub storage: Storage,
}

/// Why a site cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory cannot be used.
    #[error(transparent)]
    Directory(#[from] state::Error),
    /// The directory with its objects cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An object's record cannot be used.
    #[error(transparent)]
    Record(#[from] record::Error),
}

/// What all objects of a site share.
pub(crate) struct Shared {
    run_dir: PathBuf,
    host: Host,
    machine: Machine,
    http_bind: IpAddr,
    storage: Storage,
    disk: Arc<dyn Disk>,
    events: Events,
    version: watch::Sender<u64>,
}

impl Shared {
    /// Something has changed.
    fn bump(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

/// One object, seen from outside of its loop.
#[derive(Clone)]
enum Entry {
    /// Its loop runs.
    Live { commands: mpsc::Sender<Command>, view: watch::Receiver<Arc<View>> },
    /// It cannot run here any more, a program is gone for example. It stays as it is until another manifest is applied.
    Broken { record: Box<Record>, view: Arc<View> },
}

impl Entry {
    fn view(&self) -> Arc<View> {
        match self {
            Self::Live { view, .. } => view.borrow().clone(),
            Self::Broken { view, .. } => view.clone(),
        }
    }
}

/// A loop that is to begin.
struct Start {
    runner: Runner,
    commands: mpsc::Receiver<Command>,
}

type Entries = Arc<Mutex<BTreeMap<String, Entry>>>;

/// What runs on this machine under one control plane.
pub struct Site {
    shared: Arc<Shared>,
    objects_dir: PathBuf,
    entries: Entries,
    starts: mpsc::Sender<Start>,
    ended: watch::Sender<bool>,
}

/// The control loops of a site. Whoever opens one has to run them.
pub struct Loops {
    shared: Arc<Shared>,
    entries: Entries,
    starts: mpsc::Receiver<Start>,
    ended: watch::Receiver<bool>,
    running: JoinSet<String>,
    _lock: lock::Lock,
}

impl Site {
    /// Opens a site. Everything in it goes on once its loops are run.
    pub fn open(config: Config) -> Result<(Arc<Self>, Loops), Error> {
        Self::open_on(Arc::new(FileSystem), config)
    }

    /// The same on a disk of the caller's: everything that the site writes of its own goes there.
    pub fn open_on(disk: Arc<dyn Disk>, config: Config) -> Result<(Arc<Self>, Loops), Error> {
        let Config { directory, run_dir, host, machine, http_bind, storage } = config;
        let lock = lock::Lock::take(&directory)?;
        state::make_private(&run_dir)?;
        let objects_dir = directory.join("objects");
        let listed = listed(disk.as_ref(), &objects_dir);
        let paths = listed.map_err(|source| Error::Read { path: objects_dir.clone(), source })?;
        let events = Events::default();
        let version = watch::channel(1).0;
        let shared = Arc::new(Shared { run_dir, host, machine, http_bind, storage, disk, events, version });
        let entries = Entries::default();
        let (starts, receiver) = mpsc::channel(OBJECTS_MAX);
        let (ended, is_ended) = watch::channel(false);
        let loops = Loops {
            shared: shared.clone(),
            entries: entries.clone(),
            starts: receiver,
            ended: is_ended,
            running: JoinSet::new(),
            _lock: lock,
        };
        let site = Self { shared, objects_dir, entries, starts, ended };
        for path in paths {
            // A directory without a record is what a crash left of an object that was never accepted.
            if let Some(record) = Record::load(&path)? {
                let kept = Box::new(record.clone());
                if let Err(refusal) = site.start(record, &path) {
                    let event = plan::Event::warning("", "Broken", refusal.message.clone());
                    site.shared.events.add(&kept.name, event, now());
                    let view = Arc::new(View::broken(&kept, &refusal.message));
                    let name = kept.name.clone();
                    site.entries().insert(name, Entry::Broken { record: kept, view });
                }
            }
        }
        Ok((Arc::new(site), loops))
    }

    /// Hands the loop of an object over to whoever runs them.
    fn start(&self, record: Record, directory: &Path) -> Result<(), Refusal> {
        let name = record.name.clone();
        let (runner, view) = Runner::new(self.shared.clone(), directory.to_owned(), record)?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let start = Start { runner, commands: receiver };
        self.starts.try_send(start).map_err(|_| {
            Refusal::new(
                RefusalKind::Failed,
                format!("start {name}: the site is ending or has too much to do"),
            )
        })?;
        self.entries().insert(name, Entry::Live { commands, view });
        self.shared.bump();
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        locked(&self.entries)
    }

    fn entry(&self, name: &str) -> Result<Entry, Refusal> {
        let entries = self.entries();
        entries.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = entries.keys().map(String::as_str).collect();
            let exist = if names.is_empty() { "nothing runs here".to_owned() } else { names.join(", ") };
            Refusal::new(RefusalKind::NotFound, format!("find the object {name}: there is {exist}"))
        })
    }

    /// Makes an object that does not exist.
    fn create(&self, wish: apply::Wish, dry_run: bool) -> Result<Applied, Refusal> {
        let apply::Wish { kind, name, manifest, ways, values, warnings } = wish;
        if self.entries().len() >= OBJECTS_MAX {
            let message = format!("make {kind} {name}: a site has at most {OBJECTS_MAX} objects");
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        let material = Material::of(&manifest, &ways, &values, &BTreeMap::new())?;
        let applied = Applied {
            kind: kind.to_owned(),
            name: name.clone(),
            outcome: "created".to_owned(),
            warnings,
            substitutes: material.substitutes.clone(),
            ..Applied::default()
        };
        if dry_run {
            return Ok(applied);
        }
        let record = Record {
            format_version: FORMAT_VERSION,
            name: name.clone(),
            created_at: now(),
            generation: 1,
            shape: manifest.clone(),
            manifest,
            ways,
            values,
            asked: BTreeMap::new(),
            words: 0,
            restarts: BTreeMap::new(),
            deletion: None,
            versions: BTreeMap::new(),
            memory: plan::Memory::default(),
        };
        let directory = self.objects_dir.join(&name);
        std::fs::create_dir_all(&directory).map_err(|error| failed(&error))?;
        record.save(self.shared.disk.as_ref(), &directory).map_err(|error| failed(&error))?;
        self.start(record, &directory)?;
        Ok(applied)
    }

    /// Applies a manifest to an object that could not run.
    fn mend(&self, record: &Record, wish: apply::Wish, dry_run: bool) -> Result<Applied, Refusal> {
        let (applied, mut next) = wishes::apply(record, wish)?;
        if dry_run {
            return Ok(applied);
        }
        if let Some(refusal) = wishes::refusal(&applied) {
            return Err(refusal);
        }
        let as_it_was = Material::of(&next.shape, &next.ways, &next.values, &next.restarts);
        if as_it_was.is_err() {
            // Its old shape cannot run any more, so nothing can be drained first. What lies in the journal stays there.
            next.shape = next.manifest.clone();
        }
        let directory = self.objects_dir.join(&next.name);
        next.save(self.shared.disk.as_ref(), &directory).map_err(|error| failed(&error))?;
        self.start(next, &directory)?;
        Ok(applied)
    }
}

/// What the directory of an object is called while it is being removed. No object has such a name.
const GONE: &str = ".gone-";

/// The directories of all objects, in order. What was being removed when a site ended is removed.
fn listed(disk: &dyn Disk, objects_dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(objects_dir)?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(objects_dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(GONE.as_bytes()) {
            disk.remove(&entry.path())?;
        } else {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Removes the directory of an object. Nobody who looks later finds a part of it: an object of the same name begins with
/// nothing.
fn remove(disk: &dyn Disk, directory: &Path) -> std::io::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let gone = directory.with_file_name(format!("{GONE}{name}"));
    disk.rename(directory, &gone)?;
    disk.remove(&gone)
}

fn locked(entries: &Entries) -> MutexGuard<'_, BTreeMap<String, Entry>> {
    entries.lock().expect("nothing panics while the objects are locked")
}

impl Loops {
    /// Runs until the site is shut down, then until every object has stopped.
    pub async fn run(self) {
        let Self { shared, entries, mut starts, mut ended, mut running, _lock } = self;
        let end = |joined: Result<String, JoinError>| {
            match joined {
                Ok(name) => {
                    locked(&entries).remove(&name);
                }
                Err(error) => tracing::error!(%error, "a control loop ended because of a defect"),
            }
            shared.bump();
        };
        loop {
            tokio::select! {
                // Nobody is left to shut the site down once its handle is gone.
                ended = ended.wait_for(|ended| *ended) => {
                    drop(ended);
                    break;
                }
                Some(Start { runner, commands }) = starts.recv() => {
                    running.spawn(run_one(runner, commands));
                }
                Some(joined) = running.join_next(), if !running.is_empty() => end(joined),
            }
        }
        // Without anybody to ask something of it, a loop ends.
        locked(&entries).clear();
        starts.close();
        while let Some(Start { runner, commands }) = starts.recv().await {
            drop((runner, commands));
        }
        while let Some(joined) = running.join_next().await {
            end(joined);
        }
    }
}

async fn run_one(runner: Runner, commands: mpsc::Receiver<Command>) -> String {
    let name = runner.record.name.clone();
    runner.run(commands).await;
    name
}

fn failed(error: &dyn std::error::Error) -> Refusal {
    Refusal::new(RefusalKind::Failed, chain(error))
}

/// Nobody answers: the loop has ended in between.
fn gone(name: &str) -> Refusal {
    Refusal::new(RefusalKind::NotFound, format!("find the object {name}: it is gone"))
}

#[async_trait]
impl Place for Site {
    async fn apply(&self, apply: Apply) -> Result<Vec<Applied>, Refusal> {
        let wishes = apply::wishes(&apply)?;
        // All or none: first everything is tried.
        let mut outcomes = Vec::new();
        for dry_run in [true, false] {
            if !dry_run && apply.dry_run {
                break;
            }
            outcomes.clear();
            for wish in wishes.clone() {
                let entry = self.entries().get(&wish.name).cloned();
                let outcome = match entry {
                    None => self.create(wish, dry_run)?,
                    Some(Entry::Broken { record, .. }) => self.mend(&record, wish, dry_run)?,
                    Some(Entry::Live { commands, .. }) => {
                        let name = wish.name.clone();
                        let (reply, answer) = oneshot::channel();
                        let command = Command::Apply(Box::new(wish), dry_run, reply);
                        commands.send(command).await.map_err(|_| gone(&name))?;
                        answer.await.map_err(|_| gone(&name))??
                    }
                };
                outcomes.push(outcome);
            }
        }
        self.shared.bump();
        Ok(outcomes)
    }

    async fn objects(&self) -> Result<Vec<Object>, Refusal> {
        Ok(self.entries().values().map(|entry| entry.view().object.clone()).collect())
    }

    async fn object(&self, name: &str) -> Result<Object, Refusal> {
        Ok(self.entry(name)?.view().object.clone())
    }

    async fn ask(&self, name: &str, wish: Wish) -> Result<Object, Refusal> {
        match self.entry(name)? {
            Entry::Live { commands, .. } => {
                let (reply, answer) = oneshot::channel();
                commands.send(Command::Ask(wish, reply)).await.map_err(|_| gone(name))?;
                answer.await.map_err(|_| gone(name))?
            }
            Entry::Broken { view, .. } => {
                if wish != (Wish::Delete { force: true }) {
                    let why = view.object.failure.clone().unwrap_or_default();
                    let message = format!(
                        "change {name}: it cannot run here ({why}); apply a manifest that can, or delete it with --force"
                    );
                    return Err(Refusal::new(RefusalKind::Conflict, message));
                }
                let directory = self.objects_dir.join(name);
                remove(self.shared.disk.as_ref(), &directory).map_err(|error| failed(&error))?;
                self.entries().remove(name);
                self.shared.bump();
                Ok(view.object.clone())
            }
        }
    }

    async fn events(&self, name: Option<&str>, after: u64, limit: usize) -> Result<Vec<Event>, Refusal> {
        Ok(self.shared.events.after(name, after, limit))
    }

    async fn incidents(&self, name: &str) -> Result<Vec<Incident>, Refusal> {
        Ok(self.entry(name)?.view().incidents.clone())
    }

    async fn why(&self, name: &str) -> Result<Vec<Finding>, Refusal> {
        Ok(self.entry(name)?.view().findings.clone())
    }

    async fn history(&self, name: &str) -> Result<History, Refusal> {
        Ok(self.entry(name)?.view().history.clone())
    }

    async fn metrics(&self) -> Result<String, Refusal> {
        let views: Vec<Arc<View>> = self.entries().values().map(Entry::view).collect();
        Ok(show::metrics(&views))
    }

    async fn changed(&self, after: u64) -> u64 {
        let mut version = self.shared.version.subscribe();
        // The sender lives in this very value.
        let changed = version.wait_for(|version| *version > after).await;
        changed.map_or(after, |version| *version)
    }

    async fn shut_down(&self) {
        self.ended.send_replace(true);
        self.shared.bump();
    }
}
