//! `tidegate daemon`: keeps the units of one pipeline or mono vertex whose workers somebody else starts, and answers what
//! can be asked about it.
//!
//! Everything it has to know is in its environment; what is wished comes over its port ([`platform::exchange`]). It keeps
//! nothing of its own: whatever it knows it learns from its workers and the buffers. Invariant: its end changes nothing
//! for anybody; the next one goes on where it was.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use connect::mail::HostedMail;
use model::door::chain;
use platform::exchange::Wishes;
use platform::local::engine::{self, Engine, Meeting, Object};
use server::daemon::notes::Notes;
use server::daemon::owner::Owner;
use server::daemon::{PORT, serve_owned};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::LogFormat;
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome};
use crate::processor::subject::read_whole;
use crate::run::Signals;
use crate::screen::Screen;
use crate::{isb, logging, ports};

mod desk;
mod figures;
mod notes;

use desk::{Ask, Desk};
use figures::Figures;
use notes::Hosted;

/// Wishes that may wait to be taken in.
const ASKS_MAX: usize = 16;
/// How long after it could not be opened an object is opened again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// Everything a daemon has to know.
struct Settings {
    object: Object,
    meeting: Meeting,
    /// The notes that workers without a broker leave here.
    hosted: Option<HostedMail>,
    token: Option<String>,
    address: Option<IpAddr>,
    port: u16,
}

impl Settings {
    fn read(environment: &Environment) -> Result<Self> {
        let get = |name: &str| environment.variable(name);
        let (mono, pipeline) = ("NUMAFLOW_MONO_VERTEX_OBJECT", "NUMAFLOW_PIPELINE_OBJECT");
        let object = match (get(mono), get(pipeline)) {
            (Some(text), _) => read_whole(mono, &text)?,
            (None, Some(text)) => read_whole(pipeline, &text)?,
            (None, None) => {
                bail!("find {pipeline} or {mono} in the environment: a daemon is started by a controller")
            }
        };
        let hosted = matches!(object, Object::Mono(_)).then(HostedMail::default);
        let meeting = match &hosted {
            None => Meeting::Broker(Arc::new(isb::from_environment(environment)?)),
            Some(mail) => Meeting::Mail(Arc::new(mail.clone())),
        };
        let port = match get("TIDEGATE_PORT") {
            Some(text) => {
                text.parse().map_err(|_| anyhow!("understand TIDEGATE_PORT={text}: it is a port"))?
            }
            None => PORT,
        };
        let address = ports::bind_address(environment)?;
        Ok(Self { object, meeting, hosted, token: get("TIDEGATE_DAEMON_TOKEN"), address, port })
    }
}

/// Keeps the object that the environment describes, until it is told to end.
pub(crate) fn daemon(environment: &Environment) -> Outcome {
    let settings = Settings::read(environment).map_err(Failure::usage)?;
    let screen = Screen::new(true, LogFormat::Text);
    logging::start(&screen, (false, LogFormat::Text), environment).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let outcome = runtime.block_on(run(settings));
    runtime.shutdown_background();
    outcome
}

async fn run(settings: Settings) -> Outcome {
    let mut signals = Signals::catch().context("listen for signals")?;
    let Settings { object, meeting, hosted, token, address, port } = settings;
    let port = ports::listen(address, port).await.context("serve the daemon")?;
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let (desk, show) = Desk::open(&object, asks);
    let desk = Arc::new(desk);
    let (mut serving, shutdown) = (JoinSet::new(), CancellationToken::new());
    let notes = hosted.map(|mail| Arc::new(Hosted(mail)) as Arc<dyn Notes>);
    let owner = Owner { token, wishing: desk.clone(), notes };
    serving.spawn(serve_owned(desk, owner, port, shutdown.clone()));
    let keeping = Keeping { figures: Figures::new(&object), object, show, asked, manifest: None };
    let outcome = tokio::select! {
        outcome = keeping.run(meeting) => outcome.map(|()| Exit::Done),
        () = signals.next() => Ok(Exit::Done),
    };
    shutdown.cancel();
    while serving.join_next().await.is_some() {}
    Ok(outcome?)
}

/// The loop that keeps the object.
struct Keeping {
    object: Object,
    figures: Figures,
    show: desk::Show,
    asked: mpsc::Receiver<Ask>,
    /// What was wished last that the engine was told.
    manifest: Option<serde_json::Value>,
}

impl Keeping {
    /// Keeps the object for ever; ends only with what nothing can be done about.
    async fn run(mut self, meeting: Meeting) -> Result<()> {
        let mut engine = self.open(meeting).await?;
        let mut wants_cuts = false;
        loop {
            let failure = match engine.turn().await {
                Ok(()) => None,
                Err(error @ engine::Error::Task { .. }) => return Err(error.into()),
                Err(error) => Some(chain(&error)),
            };
            if let Some(why) = &failure {
                self.show.fail(why);
            }
            if wants_cuts && let Err(error) = engine.look_up_cuts().await {
                tracing::warn!(error = chain(&error), "what is left cannot be looked at");
            }
            let mut look = engine.look();
            look.failure.clone_from(&failure);
            self.show.look(look);
            if failure.is_none()
                && let Some(known) = self.figures.sample(&mut engine)
            {
                self.show.known(known);
            }
            tokio::select! {
                () = engine.changed() => {}
                Some(Ask { wishes, answer }) = self.asked.recv() => {
                    wants_cuts = wishes.cuts;
                    self.wish(&mut engine, &wishes)?;
                    // Whoever asked may not wait any more.
                    drop(answer.send(engine.look()));
                }
            }
        }
    }

    /// Opens the object; tries again for as long as the broker cannot be used.
    async fn open(&mut self, meeting: Meeting) -> Result<Engine> {
        let mut wait = AGAIN_FIRST;
        loop {
            let opening = Box::pin(Engine::open_away(self.object.clone(), meeting.clone()));
            match opening.await {
                Ok(engine) => return Ok(engine),
                Err(error @ engine::Error::Unsupported { .. }) => return Err(error.into()),
                Err(error) => {
                    let why = chain(&error);
                    tracing::warn!(error = why, again_in = ?wait, "the object cannot be kept yet");
                    self.show.fail(&why);
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    fn wish(&mut self, engine: &mut Engine, wishes: &Wishes) -> Result<()> {
        if !engine.wish(wishes)? {
            tracing::debug!(
                number = wishes.number,
                "wishes that are older than those that count are passed over"
            );
            return Ok(());
        }
        let Some(manifest) =
            wishes.manifest.as_ref().filter(|manifest| self.manifest.as_ref() != Some(manifest))
        else {
            return Ok(());
        };
        match crate::processor::subject::read_json("the manifest of the wishes", manifest) {
            Ok(object) => engine.set_watermark(object.settings().watermark),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a manifest that is wished for is passed over");
            }
        }
        self.manifest = Some(manifest.clone());
        Ok(())
    }
}
