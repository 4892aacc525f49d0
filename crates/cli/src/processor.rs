//! `tidegate processor`: one worker of one vertex of a pipeline, in a process of its own, as pods and `--isolate` run it.
//!
//! Everything it has to know is in its environment ([`settings`]). What it owns is not its own to decide: orders come as
//! notes over the broker, reports go the same way. Invariant: it ends only when it was told to and holds nothing, or with
//! an error that says why.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use api::resolve::VertexSettings;
use connect::buffer::broker::{self, Opened};
use connect::incident::Incidents;
use connect::open::{Context, Limits};
use connect::source::Inputs;
use connect::udf::Component;
use model::Name;
use model::door::buffer::Buffer;
use model::door::mail::Mail;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::link::{Post, Standing};
use worker::wire::{Surroundings, wire};
use worker::{Ended, Families, Graph, Hand, Handle, Watermark, Who, Worker};

use crate::args::LogFormat;
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome};
use crate::logging;
use crate::run::Signals;
use crate::screen::Screen;

mod pod;
mod settings;
pub(crate) mod subject;
mod user_code;

use pod::{Serving, Station, Watermarks};
use settings::{Reach, Settings};
use user_code::UserCode;

/// How long the last word may take.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);

/// Runs the worker that the environment describes.
pub(crate) fn processor(environment: &Environment) -> Outcome {
    let settings = Settings::read(environment).map_err(Failure::usage)?;
    let screen = Screen::new(true, LogFormat::Text);
    logging::start(&screen, (false, LogFormat::Text), environment).map_err(Failure::usage)?;
    if let Some(parent) = settings.parent {
        end_with(parent)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let outcome = runtime.block_on(run(settings));
    runtime.shutdown_background();
    outcome
}

/// Has this process ended when the one that started it ends, however that happens.
fn end_with(parent: u32) -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).context("be ended with the parent")?;
    let now = nix::unistd::getppid().as_raw().unsigned_abs();
    if now == parent {
        Ok(())
    } else {
        Err(anyhow!("find process {parent}, which started this one: it has ended"))
    }
}

async fn run(settings: Settings) -> Outcome {
    let signals = match settings.parent {
        Some(_) => Signals::catch_below_another(),
        None => Signals::catch(),
    };
    let mut signals = signals.context("listen for signals")?;
    let Settings { pipeline, subject, .. } = &settings;
    let vertex = pipeline.vertices.iter().find(|vertex| vertex.name == settings.vertex);
    let vertex = vertex.expect("the vertex was looked up when the settings were read");
    let mut registry = Registry::default();
    let families = Families::register(&mut registry);
    let who = who(&settings, vertex);
    let incidents = Incidents::new(Name::new(&vertex.name), settings.replica);
    let watermark = Watermark::default();
    // Whoever watches user code is ended with this.
    let mut watching = JoinSet::new();
    let user_code = UserCode::watch(containers(&settings), &mut watching);
    let (opened, is_open) = watch::channel(false);
    let station = Station {
        registry,
        user_code: user_code.clone(),
        is_open,
        is_trusted: settings.is_trusted,
        watermarks: watermarks(&settings, vertex, &watermark),
    };
    let serving = Serving::open(settings.ports.as_ref(), station, &incidents).await?;
    let graph = if subject.is_mono() { Graph::default() } else { Graph::of(pipeline) };
    let mut background = JoinSet::new();
    let outcome = async {
        let Reached { buffer, mail, lease } = tokio::select! {
            reached = reach(&settings, &graph, &mut background) => reached?,
            () = signals.next() => return Ok(Exit::Done),
        };
        let surroundings = Surroundings {
            context: context(&settings, vertex, &incidents),
            directories: &settings.sockets,
            graph: &graph,
            buffer,
            incarnation: settings.incarnation,
            watermark: watermark.clone(),
            metrics: families.resolve(&who, settings.replica),
            stand_ins: &settings.stand_ins,
            lease,
        };
        let wired = tokio::select! {
            wired = wire(subject.part(vertex), surroundings) => wired?,
            () = signals.next() => return Ok(Exit::Done),
        };
        opened.send_replace(true);
        let (worker, handle) = Worker::new(wired.setup);
        let is_ready = user_code.answers().is_ok();
        let standing = Standing { urls: wired.urls, is_ready, ..Standing::default() };
        let notices = || worker::wire::notices(&incidents);
        let post = Post {
            mail: mail.as_ref(),
            vertex: &settings.vertex,
            worker: &settings.worker,
            incarnation: settings.incarnation,
            handle,
            notices: &notices,
        };
        let mut ends = Ends { signals: &mut signals, grace: settings.grace };
        serve(worker, &post, (standing, user_code.clone()), &mut ends).await
    };
    let outcome = outcome.await;
    serving.close().await;
    outcome
}

/// What connectors have to know.
fn context(settings: &Settings, vertex: &VertexSettings, incidents: &Incidents) -> Context {
    Context {
        pipeline: Name::new(&settings.pipeline.name),
        vertex: Name::new(&vertex.name),
        replica: settings.replica,
        user_code_directory: settings.sockets_default.clone(),
        secrets: settings.values.secrets().clone(),
        incidents: incidents.clone(),
        http_bind: settings.http_bind,
        inputs: Inputs::default(),
        limits: Limits::of(vertex),
    }
}

/// The buffer of the pipeline, and the place for notes.
async fn reach(settings: &Settings, graph: &Graph, background: &mut JoinSet<()>) -> anyhow::Result<Reached> {
    let Settings { pipeline, subject, .. } = settings;
    let server = match &settings.reach {
        Reach::Broker(server) => server,
        Reach::Daemon(mail) => return Ok(Reached { buffer: None, mail: mail.clone(), lease: None }),
    };
    let shape = broker::Pipeline {
        prefix: broker::prefix(&pipeline.namespace, &pipeline.name),
        process: format!("{}-{}", settings.vertex, settings.worker),
        vertices: worker::wire::buffers(pipeline, graph),
    };
    let opened = if subject.is_whole() {
        broker::open(server, shape).await?
    } else {
        broker::join(server, shape).await?
    };
    let Opened { buffer, mail, driver, lease, lanes: _ } = opened;
    background.spawn(driver);
    Ok(Reached { buffer: Some(buffer), mail, lease: Some(lease) })
}

/// Where orders come from, and where messages lie.
struct Reached {
    buffer: Option<Arc<dyn Buffer>>,
    mail: Arc<dyn Mail>,
    lease: Option<broker::Lease>,
}

/// What the vertex is called in metrics.
fn who(settings: &Settings, vertex: &VertexSettings) -> Who {
    if settings.subject.is_mono() {
        return Who::Mono(vertex.name.clone());
    }
    Who::Vertex {
        pipeline: settings.pipeline.name.clone(),
        vertex: vertex.name.clone(),
        kind: vertex.kind.as_str(),
    }
}

/// The containers that have user code which is spoken to, each with the directory of its socket.
fn containers(settings: &Settings) -> Vec<(Component, PathBuf)> {
    let all = settings.subject.containers(&settings.vertex).into_iter().map(|container| container.name);
    let own = all.filter(|name| !settings.stand_ins.contains_key(name));
    let found = own.filter_map(|name| {
        let directory = settings.sockets.get(&name).unwrap_or(&settings.sockets_default);
        Some((Component::of_container(&name)?, directory.clone()))
    });
    found.collect()
}

/// What can be said of the watermarks of a vertex.
fn watermarks(settings: &Settings, vertex: &VertexSettings, watermark: &Watermark) -> Watermarks {
    let Settings { subject, pipeline, .. } = settings;
    if subject.is_mono() {
        return Watermarks::Mono;
    }
    if !pipeline.watermark.enabled {
        return Watermarks::Disabled;
    }
    let before = pipeline.edges.iter().filter(|edge| edge.to == vertex.name);
    let from = before.map(|edge| edge.from.clone()).collect();
    Watermarks::Of { watermark: watermark.clone(), partitions: vertex.partitions, from }
}

/// What ends a processor.
struct Ends<'a> {
    signals: &'a mut Signals,
    grace: Duration,
}

/// From the first word of the worker to its last.
async fn serve(
    worker: Worker,
    post: &Post<'_>,
    (standing, mut user_code): (Standing, UserCode),
    ends: &mut Ends<'_>,
) -> Outcome {
    let (tell, told) = watch::channel(standing);
    let mut running = JoinSet::new();
    running.spawn(worker.run());
    let grace = ends.grace;
    let notes = post.serve(told);
    let stopping = CancellationToken::new();
    let ending = ends.end(&post.handle, &stopping);
    tokio::pin!(notes, ending);
    let mut worker_ended = None;
    let outcome = loop {
        tokio::select! {
            () = &mut notes => unreachable!("notes are passed for as long as somebody waits for them"),
            () = &mut ending => {
                break match worker_ended {
                    Some(()) => Ok(Exit::Done),
                    None => Err(anyhow!("finish what is in hand within {grace:?}: it is left to the next worker").into()),
                };
            }
            () = stopping.cancelled(), if tell.borrow().is_ready => {
                // What is released can go to others while the rest is finished.
                tell.send_modify(|standing| standing.is_ready = false);
            }
            () = user_code.changed() => {
                let is_ready = user_code.answers().is_ok() && !stopping.is_cancelled();
                tell.send_if_modified(|standing| std::mem::replace(&mut standing.is_ready, is_ready) != is_ready);
            }
            Some(joined) = running.join_next() => match joined.context("keep the worker running")? {
                Ok(Ended::Stopped) => break Ok(Exit::Done),
                Ok(Ended::Exhausted) => {
                    worker_ended = Some(());
                    tell.send_modify(|standing| standing.is_exhausted = true);
                }
                Err(error) => break Err(error.into()),
            },
        }
    };
    // Whoever waits for the units need not wait until this process counts as silent.
    let standing = tell.borrow().clone();
    let last_word = tokio::time::timeout(LAST_WORD_WITHIN, post.last_word(&standing));
    if let Ok(Err(error)) = last_word.await {
        tracing::debug!(error = error.chain(), "the last word was not heard");
    }
    outcome
}

impl Ends<'_> {
    /// Returns when the process should end whatever is in hand: some time after it was told to stop, which cancels
    /// `stopping`.
    async fn end(&mut self, handle: &Handle, stopping: &CancellationToken) {
        tokio::select! {
            () = handle.stopping() => {}
            () = self.signals.next() => handle.stop(),
        }
        stopping.cancel();
        tokio::select! {
            () = tokio::time::sleep(self.grace) => {}
            () = self.signals.next() => {
                handle.cut();
                tokio::time::sleep(self.grace).await;
            }
        }
    }
}
