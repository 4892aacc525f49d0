//! NATS JetStream as the broker of the protocol of lanes: what [`lane::broker::Broker`] asks, said in JetStream's own
//! words over two connections. What lies in the streams is the protocol's affair. The one invariant: an answer is what
//! the stream's leader said; what it did not say is [`Failure::Unanswered`], and no request is sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lane::broker::{Broker, Consume, Consumer, Failure, Limits, Message, Publish, StreamName, StreamState};
use model::Time;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod api;
pub mod config;
mod error;
mod follow;
mod headers;
mod link;
mod pull;
pub mod service;
mod settings;
pub mod streams;
mod version;

use api::{Get, Refusal, StreamInfo};
pub use error::ConnectError;
use follow::{Follower, Word};
use link::{Link, NOBODY, Question};
use pull::PullConsumer;
pub use settings::{Login, Settings, Tls, Trust};
pub use streams::StreamPlan;
pub use version::{OLDEST, Version};

/// How long a message may take to be stored before it is unanswered. While a stream has no leader nothing is answered,
/// and the sooner that is noticed the sooner the next leader is asked.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(4);
/// How long any other request may take.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// A NATS server, or a cluster of them, that stores streams. Cheap to share; dropping it ends the connections.
pub struct Nats {
    link: Arc<Link>,
    /// What consumers read comes over a connection of its own, so that no answer waits behind a flood of frames.
    reading: Arc<Link>,
    /// The latest time that was told.
    told: AtomicI64,
}

impl Nats {
    /// One attempt to reach the server and to see that it will do. Once it has succeeded the connection is made again
    /// whenever it is lost, for ever.
    pub async fn connect(settings: &Settings) -> Result<Self, ConnectError> {
        let (link, reading) = tokio::try_join!(Link::connect(settings), Link::connect(settings))?;
        let (link, reading) = (Arc::new(link), Arc::new(reading));
        let nats = Self { link, reading, told: AtomicI64::new(i64::MIN) };
        nats.check(settings).await?;
        Ok(nats)
    }

    /// As [`Nats::connect`], again and again until `patience` has passed, for a server that is still starting.
    pub async fn connect_within(settings: &Settings, patience: Duration) -> Result<Self, ConnectError> {
        let give_up = tokio::time::Instant::now() + patience;
        let mut pause = CONNECT_PAUSE;
        loop {
            match Self::connect(settings).await {
                Err(error) if error.may_pass() && tokio::time::Instant::now() + pause < give_up => {
                    tracing::info!(error = %error, "waiting for the broker");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(CONNECT_PAUSE_MAX);
                }
                other => return other,
            }
        }
    }

    /// What the server says its version is.
    pub fn version(&self) -> String {
        self.link.client().server_info().version
    }

    async fn check(&self, settings: &Settings) -> Result<(), ConnectError> {
        let urls = settings.shown();
        let found = self.version();
        if Version::read(&found).is_none_or(|version| version < OLDEST) {
            return Err(ConnectError::TooOld { urls, found, needed: OLDEST });
        }
        let subject = api::INFO.to_owned();
        let refusal = match self.ask::<api::Account>(subject, &serde_json::json!({})).await {
            Ok(Ok(api::Account {})) => return Ok(()),
            Ok(Err(refusal)) => refusal,
            Err(Failure::Denied(reason)) => return Err(ConnectError::NotAllowed { urls, reason }),
            Err(Failure::Unavailable(reason)) if reason == NOBODY => {
                return Err(ConnectError::NoJetStream { urls, reason: "it is off".to_owned() });
            }
            Err(failure) => return Err(ConnectError::NoAnswer { urls, reason: failure.to_string() }),
        };
        let reason = refusal.text();
        if refusal.is_not_enabled() {
            return Err(ConnectError::NoJetStream { urls, reason });
        }
        Err(ConnectError::NoAnswer { urls, reason })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        wish: &impl Serialize,
    ) -> Result<Result<T, Refusal>, Failure> {
        self.link.inquire(subject, wish, REQUEST_PATIENCE).await
    }

    fn refused(&self, refusal: &Refusal, stream: &str) -> Failure {
        refusal.failure(stream, self.limits().message_bytes_max)
    }

    async fn info(&self, stream: &str) -> Result<StreamInfo, Failure> {
        streams::info(&self.link, stream, self.limits().message_bytes_max).await
    }

    async fn message(&self, stream: &str, get: Get<'_>) -> Result<Option<Message>, Failure> {
        let got: api::Got = match self.ask(api::stream("MSG.GET", stream), &get).await? {
            Ok(got) => got,
            Err(refusal) if refusal.is_no_message() => return Ok(None),
            Err(refusal) => return Err(self.refused(&refusal, stream)),
        };
        let decode = |text: &str| {
            let bytes = STANDARD.decode(text);
            bytes.map_err(|error| Failure::Unanswered(format!("the answer cannot be read: {error}")))
        };
        let api::GotMessage { subject, seq: sequence, hdrs, data } = got.message;
        let meta = headers::meta_in_block(&decode(&hdrs)?)?;
        Ok(Some(Message { sequence, subject, meta, payload: Bytes::from(decode(&data)?) }))
    }

    /// Nobody answers to the subjects of a stream that does not exist, nor to those of one without a leader.
    async fn why_nobody(&self, stream: &str) -> Failure {
        match self.info(stream).await {
            Err(failure @ Failure::NoStream(_)) => failure,
            Ok(_) | Err(_) => Failure::Unavailable(format!("stream {stream} has no leader")),
        }
    }
}

/// The first pause between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to connect.
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

#[async_trait]
impl Broker for Nats {
    fn limits(&self) -> Limits {
        let limit = self.link.client().max_payload();
        Limits { message_bytes_max: limit.saturating_sub(headers::OVERHEAD_BYTES_MAX) }
    }

    fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let before = self.told.fetch_max(nanos, Ordering::Relaxed);
        Time::from_nanos(nanos.max(before))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn publish(&self, publish: Publish) -> Result<u64, Failure> {
        let Publish { stream, subject, expect, meta, payload } = publish;
        let limit = self.limits().message_bytes_max;
        if meta.len() > headers::META_BYTES_MAX || meta.len() + payload.len() > limit {
            return Err(Failure::TooLarge { limit });
        }
        let headers = headers::of_publish(expect.as_ref(), &meta);
        let question =
            Question { subject: subject.as_str().into(), headers, payload, patience: PUBLISH_PATIENCE };
        let answer = match self.link.ask(question).await {
            Err(Failure::Unavailable(reason)) if reason == NOBODY => {
                return Err(self.why_nobody(&stream).await);
            }
            other => other?,
        };
        let stored: api::Stored =
            api::read(&answer.payload)?.map_err(|refusal| self.refused(&refusal, &stream))?;
        if stored.duplicate {
            return Err(Failure::Unanswered(format!("{stream} has taken it for a repetition")));
        }
        let word = Word::encode(stored.seq, &subject, &meta);
        // Whoever does not hear it reads the stream.
        drop(self.link.client().publish(follow::subject(&stream), word).await);
        Ok(stored.seq)
    }

    async fn last(&self, stream: &StreamName, filter: &str) -> Result<Option<Message>, Failure> {
        self.message(stream, Get::Last { last_by_subj: filter }).await
    }

    async fn get(&self, stream: &StreamName, sequence: u64) -> Result<Option<Message>, Failure> {
        self.message(stream, Get::Sequence { seq: sequence }).await
    }

    async fn purge(&self, stream: &StreamName, filter: &str, through: u64) -> Result<(), Failure> {
        let purge = api::Purge { filter, seq: through.saturating_add(1) };
        let done = self.ask::<api::Done>(api::stream("PURGE", stream), &purge).await?;
        done.map(|api::Done {}| ()).map_err(|refusal| self.refused(&refusal, stream))
    }

    async fn state(&self, stream: &StreamName) -> Result<StreamState, Failure> {
        self.info(stream).await?.state()
    }

    async fn consume(&self, consume: Consume) -> Result<Box<dyn Consumer>, Failure> {
        let limit = self.limits().message_bytes_max;
        let link = Arc::clone(&self.reading);
        if consume.headers_only && !consume.last_per_subject {
            return Ok(Box::new(Follower::open(link, consume, limit).await?));
        }
        Ok(Box::new(PullConsumer::open(link, consume, limit).await?))
    }
}
