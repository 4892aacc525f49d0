//! The one bidirectional session with user code: handshake, answers matched to requests, ends of batches, and going
//! on after whatever happened to the other side.
//!
//! A [`Session`] is a loop that owns one stream at a time; callers have a [`Handle`]. It decides nothing about the
//! order of messages (that is the [`book`]) and nothing about the bytes (that is the [`Dialect`]). When a stream
//! breaks, for whatever reason, an incident says why and which messages were there, a stream of the next generation
//! is opened, and what was not answered is given out again.
//!
//! Invariant: a call is answered once, completely, or its caller left.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use model::door::{Class, Error};
use model::{Message, Time};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) mod book;
pub(crate) mod dialect;
pub(crate) mod trouble;

use book::{Aftermath, Book, Call, Limits, Loss, Stray};
use dialect::{Dialect, Flow, Part};
use trouble::Trouble;

use super::info::Info;
use super::peer::{PAUSE_MAX, Pause, Peer};
use super::stream::{self, Line, PARTING_WAIT};

/// Calls that wait to be taken in; each holds its caller up.
const CALLS_MAX: usize = 64;
/// Responses taken before other things get their turn.
const TAKEN_MAX: usize = 256;
/// What callers of a session hold. Dropping it ends the session.
pub(crate) struct Handle<D: Dialect> {
    calls: Option<mpsc::Sender<Call<D::Answer>>>,
    reached: watch::Receiver<Option<Channel>>,
    peer: Peer,
    tasks: JoinSet<()>,
}

impl<D: Dialect> Handle<D> {
    /// Starts a session; it looks for user code at once.
    pub(crate) fn start(dialect: D, peer: Peer) -> Self {
        let (calls, incoming) = mpsc::channel(CALLS_MAX);
        let (publish, reached) = watch::channel(None);
        let settings = &peer.settings;
        let limits = Limits {
            concurrency: settings.concurrency.get(),
            batch_max: settings.batch_max.get(),
            batch_wait: settings.batch_wait,
            patience_max: settings.unresponsive_after,
            poison_attempts: settings.poison_attempts,
        };
        let session = Session {
            book: Book::new(limits, dialect.naming()),
            dialect,
            peer: peer.clone(),
            calls: incoming,
            publish,
            parts: Vec::new(),
            generation: 0,
            answered: false,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(session.run());
        Self { calls: Some(calls), reached, peer, tasks }
    }

    /// Gives messages to user code and waits for all answers, in the order of the messages.
    pub(crate) async fn call(
        &self,
        messages: Arc<Vec<Message>>,
        watermark: Time,
    ) -> Result<Vec<D::Answer>, Error> {
        let over = || Error::new(Class::Fatal, "speak to user code: its session is over");
        let (reply, answers) = oneshot::channel();
        let calls = self.calls.as_ref().ok_or_else(over)?;
        calls.send(Call { messages, watermark, reply }).await.map_err(|_| over())?;
        answers.await.map_err(|_| over())?
    }

    /// Whether user code answers at this moment.
    pub(crate) async fn ready(&self) -> bool {
        self.peer.ready(&self.reached).await
    }

    /// Says goodbye to user code and waits until it has heard it, for a limited time.
    pub(crate) async fn close(&mut self) {
        self.calls = None;
        let parted = tokio::time::timeout(PARTING_WAIT * 2, self.tasks.join_next()).await;
        if parted.is_err() {
            tracing::debug!(container = self.peer.component.container(), "user code did not end its stream");
            self.tasks.shutdown().await;
        }
    }
}

/// One stream.
struct Link<D: Dialect> {
    line: Line<D::Request, D::Response>,
    channel: Channel,
    flow: Flow,
    /// Set when the other side stopped listening: until when it may say why.
    parting: Option<Instant>,
}

/// Why a stream is not served any more.
enum End {
    Closed,
    Trouble(Trouble),
}

struct Session<D: Dialect> {
    dialect: D,
    peer: Peer,
    book: Book<D::Answer>,
    calls: mpsc::Receiver<Call<D::Answer>>,
    publish: watch::Sender<Option<Channel>>,
    parts: Vec<Part<D::Piece>>,
    generation: u64,
    /// Something was answered in this generation.
    answered: bool,
}

impl<D: Dialect> Session<D> {
    async fn run(mut self) {
        let mut pause = Pause::between_streams();
        while let Some(mut link) = self.link().await {
            self.generation += 1;
            let container = self.peer.component.container();
            tracing::info!(container, generation = self.generation, flow = ?link.flow, "session with user code open");
            self.publish.send_replace(Some(link.channel.clone()));
            let opened = Instant::now();
            self.answered = false;
            let end = self.serve(&mut link).await;
            let process_gone = matches!(end, End::Trouble(Trouble::Crashed { .. } | Trouble::Left));
            if opened.elapsed() > PAUSE_MAX || (process_gone && self.answered) {
                pause.reset();
            }
            self.publish.send_replace(None);
            match end {
                End::Closed => return link.line.part().await,
                End::Trouble(trouble) => self.recover(trouble),
            }
            drop(link);
            if !self.wait(pause.grow()).await {
                return;
            }
        }
    }

    /// Opens a stream, taking in calls meanwhile; none when the handle is gone.
    async fn link(&mut self) -> Option<Link<D>> {
        let Self { dialect, peer, book, calls, .. } = self;
        let mut establishing = pin!(establish(&*dialect, &*peer));
        loop {
            tokio::select! {
                link = &mut establishing => return Some(link),
                call = calls.recv(), if book.has_room() => book.admit(call?, Instant::now()),
            }
        }
    }

    /// Waits, taking in calls meanwhile; false when the handle is gone.
    async fn wait(&mut self, wait: Duration) -> bool {
        let mut over = pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                () = &mut over => return true,
                call = self.calls.recv(), if self.book.has_room() => match call {
                    Some(call) => self.book.admit(call, Instant::now()),
                    None => return false,
                },
            }
        }
    }

    async fn serve(&mut self, link: &mut Link<D>) -> End {
        let after = self.peer.settings.unresponsive_after;
        let look = (after / 8).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let mut next_look = Instant::now() + look;
        let mut timer = pin!(tokio::time::sleep_until(next_look));
        let mut question: Option<BoxFuture<'static, bool>> = None;
        let mut missed: (usize, Vec<String>) = (0, Vec::new());
        let mut open = true;
        loop {
            let now = Instant::now();
            if let Err(trouble) = self.give_out(link, now) {
                return End::Trouble(trouble);
            }
            if !open && self.book.is_empty() {
                return End::Closed;
            }
            let wake =
                [self.book.deadline(now), link.parting].into_iter().flatten().fold(next_look, Instant::min);
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                response = link.line.responses.message() => {
                    if let Err(trouble) = self.take(link, response) {
                        return End::Trouble(trouble);
                    }
                }
                call = self.calls.recv(), if open && self.book.has_room() => match call {
                    Some(call) => self.admit(call, now),
                    None => open = false,
                },
                answers = async { question.as_mut().expect("guarded").await }, if question.is_some() => {
                    question = None;
                    self.tell_unresponsive(&missed, answers);
                }
                () = &mut timer => {
                    if link.parting.is_some_and(|until| Instant::now() >= until) {
                        return End::Trouble(Trouble::from_status(&Status::unavailable("it stopped listening")));
                    }
                    if Instant::now() >= next_look {
                        next_look = Instant::now() + look;
                        if self.book.end_overdue(Instant::now(), after) {
                            self.tell_endless();
                        }
                        let (count, ids) = self.book.overdue(Instant::now(), after);
                        if count > 0 && question.is_none() {
                            missed = (count, ids);
                            let (peer, channel) = (self.peer.clone(), link.channel.clone());
                            question = Some(async move { peer.answers(channel).await }.boxed());
                        }
                    }
                }
            }
        }
    }

    /// Takes in a call and all others that wait, as far as there is room.
    fn admit(&mut self, call: Call<D::Answer>, now: Instant) {
        self.book.admit(call, now);
        while self.book.has_room() {
            let Ok(call) = self.calls.try_recv() else { break };
            self.book.admit(call, now);
        }
    }

    fn give_out(&mut self, link: &mut Link<D>, now: Instant) -> Result<(), Trouble> {
        if link.parting.is_some() {
            return Ok(());
        }
        let dialect = &self.dialect;
        let make = |name: &str, message: &Message, watermark| dialect.request(name, message, watermark);
        let mut requests = match link.flow {
            Flow::Each | Flow::Streamed => self.book.give_out(now, make),
            Flow::Batch => self.book.give_out_batch(now, make),
        };
        if requests.is_empty() {
            return Ok(());
        }
        if link.flow == Flow::Batch {
            requests.extend(self.dialect.end());
        }
        match link.line.requests.try_send(requests) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => link.parting = Some(now + PARTING_WAIT),
            Err(TrySendError::Full(_)) => {
                return Err(Trouble::protocol("it answers requests that it cannot have read"));
            }
        }
        Ok(())
    }

    /// Takes a response and all others that are there already.
    fn take(
        &mut self,
        link: &mut Link<D>,
        first: Result<Option<D::Response>, Status>,
    ) -> Result<(), Trouble> {
        let mut next = Some(first);
        for _ in 0..TAKEN_MAX {
            let Some(response) = next else { break };
            match response {
                Ok(Some(response)) => self.take_one(link.flow, response)?,
                Ok(None) if self.book.in_flight() == 0 => return Err(Trouble::Left),
                Ok(None) => return Err(Trouble::from_status(&Status::unavailable("it ended its stream"))),
                Err(status) => return Err(Trouble::from_status(&status)),
            }
            next = link.line.responses.message().now_or_never();
        }
        match next {
            Some(Err(status)) => Err(Trouble::from_status(&status)),
            Some(Ok(Some(response))) => self.take_one(link.flow, response),
            // The end of a stream is seen again by whoever asks again.
            Some(Ok(None)) | None => Ok(()),
        }
    }

    fn take_one(&mut self, flow: Flow, response: D::Response) -> Result<(), Trouble> {
        let ended = self.dialect.take_apart(flow, response, &mut self.parts);
        for part in self.parts.drain(..) {
            let key = match self.book.find(&part.name) {
                Ok(key) => key,
                Err(stray) => return Err(astray(&part.name, stray)),
            };
            let (message, answer) = self.book.open(key);
            if let Err(wrong) = self.dialect.fold(message, part.piece, answer) {
                return Err(Trouble::Protocol {
                    message: wrong,
                    culprit: Some(key),
                    messages: vec![self.book.id(key)],
                });
            }
            if part.last {
                self.book.finish(key);
                self.answered = true;
            }
        }
        if ended {
            self.book.end_batch().map_err(|messages| Trouble::Protocol {
                message: "it ended a batch without an answer for every message".to_owned(),
                culprit: None,
                messages,
            })?;
        }
        Ok(())
    }

    fn tell_endless(&self) {
        let seconds = self.peer.settings.unresponsive_after.as_secs_f32();
        let message =
            format!("user code has answered every message of a batch and not ended it for {seconds} s");
        self.peer.report("unresponsive", message, String::new(), Vec::new());
    }

    fn tell_unresponsive(&self, (count, ids): &(usize, Vec<String>), answers: bool) {
        if self.book.in_flight() == 0 {
            return;
        }
        let process = if answers {
            "its process answers, so the handler is slow or stuck"
        } else {
            "its process does not answer either"
        };
        let seconds = self.peer.settings.unresponsive_after.as_secs_f32();
        let message = format!("user code has not answered {count} messages for {seconds} s; {process}");
        self.peer.report("unresponsive", message, String::new(), ids.clone());
    }

    /// Sorts what was with user code and says what happened.
    fn recover(&mut self, trouble: Trouble) {
        let loss = match &trouble {
            Trouble::Crashed { .. } => Loss::Crash,
            Trouble::Protocol { culprit: Some(key), .. } => Loss::Culprit(*key),
            Trouble::Protocol { culprit: None, .. } | Trouble::Left => Loss::Innocent,
        };
        self.parts.clear();
        let dialect = &self.dialect;
        let after = self.book.lost(Instant::now(), loss, |message, crashes| dialect.refuse(message, crashes));
        let (code, what, details, mut messages) = match trouble {
            Trouble::Crashed { message, details } => ("crashed", message, details, Vec::new()),
            Trouble::Protocol { message, messages, .. } => ("protocol", message, String::new(), messages),
            Trouble::Left => {
                tracing::info!(container = self.peer.component.container(), "user code ended its session");
                return;
            }
        };
        let Aftermath { lost, ids, culprit, given_up } = after;
        let fate = match (&culprit, given_up, lost) {
            (Some((_, crashes)), true, _) => format!("its message did so {crashes} times and is given up"),
            (Some((_, crashes)), false, _) => {
                format!("it had one message, time {crashes} for it, which is tried again by itself")
            }
            (None, _, 0) => "it had no message".to_owned(),
            (None, _, _) if loss == Loss::Crash => {
                format!("it had {lost} messages, which are tried again one at a time")
            }
            (None, _, _) => format!("it had {lost} messages, which are given to it again"),
        };
        if messages.is_empty() {
            messages = culprit.map_or(ids, |(id, _)| vec![id]);
        }
        let verb = if code == "crashed" { "crashed" } else { "broke the protocol" };
        self.peer.report(code, format!("user code {verb}: {what}; {fate}"), details, messages);
    }
}

fn astray(name: &str, stray: Stray) -> Trouble {
    match stray {
        Stray::Again(id) => Trouble::Protocol {
            message: "it answered a message twice".to_owned(),
            culprit: None,
            messages: id.into_iter().collect(),
        },
        Stray::Unknown => Trouble::protocol(format!("it answered request {name:?}, which was never made")),
    }
}

/// Reaches user code and shakes hands, for as long as it takes.
async fn establish<D: Dialect>(dialect: &D, peer: &Peer) -> Link<D> {
    // A handful for every message that may be under way, and one for good measure.
    let handfuls = peer.settings.concurrency.max(peer.settings.batch_max).get() + 1;
    let open = |channel: Channel, info: Info| {
        async move {
            let requests = |requests| dialect.open(channel.clone(), requests);
            let shaken = stream::shake_hands(handfuls, dialect.handshake(), requests, |first| {
                dialect.is_handshake(first)
            });
            let line = shaken.await?;
            Ok(Link { line, channel, flow: dialect.flow(&info), parting: None })
        }
        .boxed()
    };
    peer.establish(open).await
}
