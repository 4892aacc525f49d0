//! The task that owns the reading stream of a user-defined source: one request at a time, answered until its end.
//!
//! Invariant: what has been received is passed on, whatever happens to the stream afterwards, and every request that
//! was taken ends in exactly one [`Event::End`].

use std::time::Duration;

use futures::FutureExt;
use model::door::source::Receipt;
use model::{Message, Name};
use proto::source::{Handshake, ReadRequest, ReadResponse, read_request};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use super::client;
use crate::udf::info::Info;
use crate::udf::peer::{PAUSE_MAX, Pause, Peer};
use crate::udf::session::trouble::Trouble;
use crate::udf::stream::{self, Line};

/// Messages passed on at once, at most.
const HANDFUL_MESSAGES: usize = 256;

/// A read request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub messages_max: usize,
    pub wait: Duration,
}

/// What a read request brings.
pub(super) enum Event {
    /// Messages, in order.
    Read(Vec<(Message, Receipt)>),
    /// It is over.
    End,
}

/// Why a stream is not read any more.
enum End {
    /// Nobody reads.
    Closed,
    Trouble(Trouble),
}

pub(super) struct Reader {
    pub peer: Peer,
    pub vertex: Name,
    pub asks: mpsc::Receiver<Ask>,
    pub events: mpsc::Sender<Event>,
    pub publish: watch::Sender<Option<Channel>>,
    /// Ends the task even while somebody may still read.
    pub stop: CancellationToken,
}

impl Reader {
    pub(super) async fn run(mut self) {
        let mut pause = Pause::between_streams();
        loop {
            let (mut line, channel) = tokio::select! {
                reached = establish(&self.peer) => reached,
                () = self.unwanted() => return,
            };
            tracing::info!(container = self.peer.component.container(), "stream from user code open");
            self.publish.send_replace(Some(channel));
            let opened = Instant::now();
            let (end, request_open) = self.serve(&mut line).await;
            self.publish.send_replace(None);
            let trouble = match end {
                End::Closed => return line.part().await,
                End::Trouble(trouble) => trouble,
            };
            drop(line);
            self.tell(trouble, request_open);
            if request_open && self.events.send(Event::End).await.is_err() {
                return;
            }
            if opened.elapsed() > PAUSE_MAX {
                pause.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(pause.grow()) => {}
                () = self.unwanted() => return,
            }
        }
    }

    /// Waits until nobody reads any more.
    async fn unwanted(&self) {
        tokio::select! {
            () = self.events.closed() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Serves requests until the stream or the demand ends; also says whether a request was open then.
    async fn serve(&mut self, line: &mut Line<ReadRequest, ReadResponse>) -> (End, bool) {
        loop {
            let ask = tokio::select! {
                ask = self.asks.recv() => ask,
                () = self.stop.cancelled() => None,
                response = line.responses.message() => return (End::Trouble(uncalled(response)), false),
            };
            let Some(ask) = ask else { return (End::Closed, false) };
            let request = read_request::Request {
                num_records: ask.messages_max as u64,
                timeout_in_ms: u32::try_from(ask.wait.as_millis()).unwrap_or(u32::MAX).max(1),
            };
            // When nobody takes it, the stream says why.
            let sent = line.requests.try_send(vec![ReadRequest { request: Some(request), handshake: None }]);
            if let Err(end) = self.collect(line, ask, sent.is_ok()).await {
                return (end, true);
            }
            if self.events.send(Event::End).await.is_err() {
                return (End::Closed, false);
            }
        }
    }

    /// Passes on what one request brings.
    async fn collect(
        &mut self,
        line: &mut Line<ReadRequest, ReadResponse>,
        ask: Ask,
        sent: bool,
    ) -> Result<(), End> {
        let after = if sent { self.peer.settings.unresponsive_after } else { stream::PARTING_WAIT };
        let mut missed = Instant::now() + ask.wait + after;
        loop {
            let first = tokio::select! {
                response = line.responses.message() => response,
                () = self.unwanted() => return Err(End::Closed),
                () = tokio::time::sleep_until(missed) => {
                    if !sent {
                        let status = Status::unavailable("it stopped listening");
                        return Err(End::Trouble(Trouble::from_status(&status)));
                    }
                    missed += after;
                    let seconds = (ask.wait + after).as_secs_f32();
                    let message = format!("user code has not ended a read after {seconds} s or more");
                    self.peer.report("unresponsive", message, String::new(), Vec::new());
                    continue;
                }
            };
            let mut handful = Vec::new();
            let more = self.gather(line, first, &mut handful);
            if !handful.is_empty() && self.events.send(Event::Read(handful)).await.is_err() {
                return Err(End::Closed);
            }
            match more {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(trouble) => return Err(End::Trouble(trouble)),
            }
        }
    }

    /// Takes a response and those that are there already; false when the request is over.
    fn gather(
        &self,
        line: &mut Line<ReadRequest, ReadResponse>,
        first: Result<Option<ReadResponse>, Status>,
        handful: &mut Vec<(Message, Receipt)>,
    ) -> Result<bool, Trouble> {
        let mut next = Some(first);
        while let Some(response) = next {
            let response = response.map_err(|status| Trouble::from_status(&status))?;
            let response = response.ok_or(Trouble::Left)?;
            if response.status.is_some_and(|status| status.eot) {
                return Ok(false);
            }
            let result = response.result.ok_or_else(|| Trouble::protocol("a response has no result"))?;
            handful.push(super::message(&self.vertex, result).map_err(Trouble::protocol)?);
            if handful.len() == HANDFUL_MESSAGES {
                break;
            }
            next = line.responses.message().now_or_never();
        }
        Ok(true)
    }

    fn tell(&self, trouble: Trouble, request_open: bool) {
        let (code, message, details) = match trouble {
            Trouble::Crashed { message, details } => {
                ("crashed", format!("user code crashed while it was read: {message}"), details)
            }
            Trouble::Protocol { message, .. } => (
                "protocol",
                format!("user code broke the protocol while it was read: {message}"),
                String::new(),
            ),
            Trouble::Left if request_open => {
                ("crashed", "user code ended its stream in the middle of a read".to_owned(), String::new())
            }
            Trouble::Left => {
                tracing::info!(container = self.peer.component.container(), "user code ended its stream");
                return;
            }
        };
        self.peer.report(code, message, details, Vec::new());
    }
}

/// What came while nothing was asked for.
fn uncalled(response: Result<Option<ReadResponse>, Status>) -> Trouble {
    match response {
        Ok(Some(_)) => Trouble::protocol("it sent a response that nobody asked for"),
        Ok(None) => Trouble::Left,
        Err(status) => Trouble::from_status(&status),
    }
}

async fn establish(peer: &Peer) -> (Line<ReadRequest, ReadResponse>, Channel) {
    let open = |channel: Channel, _: Info| {
        async move {
            let handshake = ReadRequest { request: None, handshake: Some(Handshake { sot: true }) };
            let read = channel.clone();
            let reading = |requests| {
                async move { client(read).read_fn(requests).await.map(tonic::Response::into_inner) }.boxed()
            };
            // One request at a time.
            let line = stream::shake_hands(1, handshake, reading, |first: &ReadResponse| {
                first.handshake.is_some_and(|handshake| handshake.sot)
            })
            .await?;
            Ok((line, channel))
        }
        .boxed()
    };
    peer.establish(open).await
}
