//! `tidegate processor`: one worker of one vertex of a pipeline, in a process of its own, as pods and `--isolate` run it.
//!
//! Everything it has to know is in its environment ([`settings`]). What it owns is not its own to decide: orders come as
//! notes over the broker, reports go the same way. Invariant: it ends only when it was told to and holds nothing, or with
//! an error that says why.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use connect::buffer::broker::{self, Opened};
use connect::incident::Incidents;
use connect::open::{Context, Limits};
use connect::source::Inputs;
use model::Name;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use worker::link::{Post, Standing};
use worker::wire::{Surroundings, wire};
use worker::{Ended, Families, Graph, Hand, Handle, Watermark, Who, Worker};

use crate::args::LogFormat;
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome};
use crate::logging;
use crate::run::Signals;
use crate::screen::Screen;

mod settings;

use settings::Settings;

/// How long what is in hand may take after the process was told to end.
const GRACE: Duration = Duration::from_secs(20);
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
    let mut signals = Signals::catch().context("listen for signals")?;
    let pipeline = settings.object.settings();
    let vertex = pipeline.vertices.iter().find(|vertex| vertex.name == settings.vertex);
    let vertex = vertex.ok_or_else(|| {
        Failure::usage(anyhow!("find vertex {} in the pipeline of the environment", settings.vertex))
    })?;
    let graph = Graph::of(&pipeline);
    let shape = broker::Pipeline {
        prefix: broker::prefix(&pipeline.namespace, &pipeline.name),
        process: format!("{}-{}", settings.vertex, settings.worker),
        vertices: worker::wire::buffers(&pipeline, &graph),
    };
    let opened = broker::open(&settings.broker, shape).await.map_err(Failure::from)?;
    let Opened { buffer, mail, driver, lanes: _ } = opened;
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    let mut registry = Registry::default();
    let families = Families::register(&mut registry);
    let who = Who::Vertex {
        pipeline: pipeline.name.clone(),
        vertex: vertex.name.clone(),
        kind: vertex.kind.as_str(),
    };
    let incidents = Incidents::new(Name::new(&vertex.name), settings.replica);
    let context = Context {
        pipeline: Name::new(&pipeline.name),
        vertex: Name::new(&vertex.name),
        replica: settings.replica,
        user_code_directory: settings.sockets_default.clone(),
        secrets: settings.values.secrets().clone(),
        incidents: incidents.clone(),
        http_bind: settings.http_bind,
        inputs: Inputs::default(),
        limits: Limits::of(vertex),
    };
    let surroundings = Surroundings {
        context,
        directories: &settings.sockets,
        graph: &graph,
        buffer: Some(buffer),
        incarnation: settings.incarnation,
        watermark: Watermark::default(),
        metrics: families.resolve(&who, settings.replica),
        stand_ins: &settings.stand_ins,
    };
    let wired = tokio::select! {
        wired = wire(settings.object.part(vertex), surroundings) => wired?,
        () = signals.next() => return Ok(Exit::Done),
    };
    let (worker, handle) = Worker::new(wired.setup);
    let standing = Standing { urls: wired.urls, is_ready: true, ..Standing::default() };
    let notices = || worker::wire::notices(&incidents);
    let post = Post {
        mail: mail.as_ref(),
        vertex: &settings.vertex,
        worker: &settings.worker,
        incarnation: settings.incarnation,
        handle,
        notices: &notices,
    };
    serve(worker, &post, standing, &mut signals).await
}

/// From the first word of the worker to its last.
async fn serve(worker: Worker, post: &Post<'_>, standing: Standing, signals: &mut Signals) -> Outcome {
    let (tell, told) = watch::channel(standing);
    let mut running = JoinSet::new();
    running.spawn(worker.run());
    let notes = post.serve(told);
    let ending = end(&post.handle, signals);
    tokio::pin!(notes, ending);
    let mut worker_ended = None;
    let outcome = loop {
        tokio::select! {
            () = &mut notes => unreachable!("notes are passed for as long as somebody waits for them"),
            () = &mut ending => {
                break match worker_ended {
                    Some(()) => Ok(Exit::Done),
                    None => Err(anyhow!("finish what is in hand within {GRACE:?}: it is left to the next worker").into()),
                };
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

/// Returns when the process should end whatever is in hand: some time after it was told to stop.
async fn end(handle: &Handle, signals: &mut Signals) {
    tokio::select! {
        () = handle.stopping() => {}
        () = signals.next() => handle.stop(),
    }
    tokio::select! {
        () = tokio::time::sleep(GRACE) => {}
        () = signals.next() => {
            handle.cut();
            tokio::time::sleep(GRACE).await;
        }
    }
}
