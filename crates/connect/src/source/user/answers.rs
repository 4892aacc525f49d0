//! The answering half of a user-defined source: acknowledgements over a stream of their own, messages sent back, and
//! what a source can say about itself.
//!
//! Invariant: an acknowledgement counts only when its response has come, and responses are counted, so that one whose
//! wait was given up is not taken for the next.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use model::door::source::{Answer, Answers, Receipt};
use model::door::{Class, Error};
use proto::source::{AckRequest, AckResponse, Handshake, NackRequest, Offset, ack_request, nack_request};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::client;
use crate::udf::info::Info;
use crate::udf::peer::Peer;
use crate::udf::probe::ANSWER_WAIT;
use crate::udf::session::trouble;
use crate::udf::stream::{self, Line, PARTING_WAIT};
use crate::udf::{convert, version};

/// How long one answer waits for user code that is not there before its caller may think again.
const REACH_WAIT: Duration = Duration::from_secs(20);

/// The partitions of a user-defined source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Those that this replica reads.
    pub own: Vec<i32>,
    /// How many the whole source has, when it says so.
    pub total: Option<u32>,
}

/// A look at a user-defined source, beside its door.
pub struct UserSourceView {
    pub(super) peer: Peer,
    pub(super) reached: watch::Receiver<Option<Channel>>,
}

impl UserSourceView {
    /// Whether user code answers at this moment.
    pub async fn ready(&self) -> bool {
        self.peer.ready(&self.reached).await
    }

    /// The partitions as user code counts them; `Retry` when it does not answer.
    pub async fn partitions(&self) -> Result<Partitions, Error> {
        let away = || Error::new(Class::Retry, "ask for partitions: user code is not there");
        let channel = self.reached.borrow().clone().ok_or_else(away)?;
        let response =
            limited("ask for partitions", async { client(channel).partitions_fn(()).await }).await?;
        let result = response.into_inner().result.unwrap_or_default();
        let total = result.total_partitions.and_then(|total| u32::try_from(total).ok());
        Ok(Partitions { own: result.partitions, total })
    }
}

struct Link {
    line: Line<AckRequest, AckResponse>,
    channel: Channel,
    takes_nacks: bool,
    /// Acknowledgements sent and not answered.
    owed: usize,
}

/// The answering half.
pub(super) struct UserAnswers {
    peer: Peer,
    link: Option<Link>,
    /// The task that reads, and what ends it.
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl UserAnswers {
    pub(super) fn new(peer: Peer, tasks: JoinSet<()>, stop: CancellationToken) -> Self {
        Self { peer, link: None, tasks, stop }
    }

    async fn link(&mut self) -> Result<&mut Link, Error> {
        if self.link.is_none() {
            let away = |_| Error::new(Class::Retry, "answer messages: user code is not there");
            let link = tokio::time::timeout(REACH_WAIT, establish(&self.peer)).await.map_err(away)?;
            self.link = Some(link);
        }
        Ok(self.link.as_mut().expect("it was just made"))
    }

    /// Forgets the stream and says why.
    fn broken(&mut self, message: &str, details: String) -> Error {
        self.link = None;
        let told = format!("user code crashed while messages were acknowledged: {message}");
        self.peer.report("crashed", told, details, Vec::new());
        Error::new(Class::Retry, format!("acknowledge messages: {message}"))
    }

    async fn acknowledge(&mut self, offsets: Vec<Offset>) -> Result<(), Error> {
        let after = self.peer.settings.unresponsive_after;
        let count = offsets.len();
        let link = self.link().await?;
        let request = AckRequest { request: Some(ack_request::Request { offsets }), handshake: None };
        let sending = link.line.requests.send(vec![request]).await;
        // When nobody takes it, the stream says why.
        let limit = if sending.is_ok() { after } else { PARTING_WAIT };
        link.owed += 1;
        loop {
            let link = self.link.as_mut().expect("it is only forgotten on the way out");
            match tokio::time::timeout(limit, link.line.responses.message()).await {
                Ok(Ok(Some(_))) => {
                    link.owed -= 1;
                    if link.owed == 0 {
                        return Ok(());
                    }
                }
                Ok(Ok(None)) => return Err(self.broken("it ended its stream", String::new())),
                Ok(Err(status)) => {
                    let (message, details) = (trouble::describe(&status), trouble::details(&status));
                    return Err(self.broken(&message, details));
                }
                Err(_) if sending.is_err() => return Err(self.broken("it stopped listening", String::new())),
                Err(_) => {
                    let seconds = after.as_secs_f32();
                    let message = format!("user code has not acknowledged {count} messages for {seconds} s");
                    self.peer.report("unresponsive", message, String::new(), Vec::new());
                }
            }
        }
    }

    async fn send_back(&mut self, request: Vec<nack_request::Request>) -> Result<(), Error> {
        let link = self.link().await?;
        if !link.takes_nacks {
            let offsets = request.into_iter().flat_map(|request| request.offsets).collect();
            tracing::warn!("user code cannot take messages back; they are acknowledged");
            return self.acknowledge(offsets).await;
        }
        let channel = link.channel.clone();
        let after = self.peer.settings.unresponsive_after;
        let sending = async { client(channel).nack_fn(NackRequest { request }).await };
        match tokio::time::timeout(after, sending).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => {
                let (message, details) = (trouble::describe(&status), trouble::details(&status));
                Err(self.broken(&message, details))
            }
            Err(_) => {
                let seconds = after.as_secs_f32();
                let message = format!("user code has not taken messages back for {seconds} s");
                self.peer.report("unresponsive", message, String::new(), Vec::new());
                Err(Error::new(Class::Retry, "send messages back: user code does not answer"))
            }
        }
    }
}

#[async_trait]
impl Answers for UserAnswers {
    async fn answer(&mut self, answers: &[(Receipt, Answer)]) -> Result<(), Error> {
        let (mut done, mut back) = (Vec::new(), Vec::new());
        for (receipt, answer) in answers {
            let offset = Offset { offset: receipt.offset.clone(), partition_id: receipt.partition };
            match answer {
                Answer::Done | Answer::Repeated => done.push(offset),
                Answer::Nack(nack) => back.push(nack_request::Request {
                    offsets: vec![offset],
                    nack_options: Some(convert::nack_options(nack)),
                }),
            }
        }
        // When the second fails both are made again; an acknowledgement may be repeated.
        if !done.is_empty() {
            self.acknowledge(done).await?;
        }
        if !back.is_empty() {
            self.send_back(back).await?;
        }
        Ok(())
    }

    async fn pending(&mut self) -> Result<Option<u64>, Error> {
        let channel = self.link().await?.channel.clone();
        let response =
            limited("ask how much is pending", async { client(channel).pending_fn(()).await }).await?;
        Ok(response.into_inner().result.and_then(|result| u64::try_from(result.count).ok()))
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.stop.cancel();
        if let Some(link) = self.link.take() {
            link.line.part().await;
        }
        if tokio::time::timeout(PARTING_WAIT * 2, self.tasks.join_next()).await.is_err() {
            self.tasks.shutdown().await;
        }
        Ok(())
    }
}

/// A call that answers in time or not at all.
async fn limited<T>(
    attempted: &str,
    call: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_WAIT, call).await {
        Ok(answer) => answer.map_err(|status| Error::caused(Class::Retry, attempted, status)),
        Err(_) => Err(Error::new(Class::Retry, format!("{attempted}: user code does not answer"))),
    }
}

async fn establish(peer: &Peer) -> Link {
    let open = |channel: Channel, info: Info| {
        async move {
            let handshake = AckRequest { request: None, handshake: Some(Handshake { sot: true }) };
            let answering = channel.clone();
            let acknowledging = |requests| {
                async move { client(answering).ack_fn(requests).await.map(tonic::Response::into_inner) }
                    .boxed()
            };
            // Some servers say "success" along with the handshake; that is an answer to nothing. Two acknowledgements
            // wait at most: one whose caller gave up, and the next.
            let line = stream::shake_hands(2, handshake, acknowledging, |first: &AckResponse| {
                first.handshake.is_some_and(|handshake| handshake.sot)
            })
            .await?;
            Ok(Link { line, channel, takes_nacks: version::takes_nacks(&info), owed: 0 })
        }
        .boxed()
    };
    peer.establish(open).await
}
