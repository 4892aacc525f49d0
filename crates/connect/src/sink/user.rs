//! User-defined sinks: primary, fallback and on-success containers behind one door.
//!
//! A batch is written, then ended; every message has exactly one result before the batch is over. Whatever breaks on
//! the way, messages that have a result keep it and the others are written again, so a crash repeats at most what was
//! not answered.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use model::door::Error;
use model::door::sink::{Outcome, Replacement, Sink};
use model::verdict::Nack;
use model::{Message, Time};
use proto::sink::sink_client::SinkClient;
use proto::sink::{Handshake, SinkRequest, SinkResponse, Status as Code, TransmissionStatus};
use proto::sink::{sink_request, sink_response};
use tonic::transport::Channel;

use crate::incident::Incidents;
use crate::udf::channel::MESSAGE_MAX_BYTES;
use crate::udf::info::Info;
use crate::udf::peer::Peer;
use crate::udf::session::Handle;
use crate::udf::session::book::Naming;
use crate::udf::session::dialect::{Dialect, Flow, Part};
use crate::udf::stream::{Opening, Requests};
use crate::udf::{Component, Settings, convert};

/// Which of the sinks of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where messages go.
    Primary,
    /// Where they go when the primary sink hands them over.
    Fallback,
    /// Where they go after the primary sink has written them.
    OnSuccess,
}

impl Role {
    fn component(self) -> Component {
        match self {
            Self::Primary => Component::Sink,
            Self::Fallback => Component::FallbackSink,
            Self::OnSuccess => Component::OnSuccessSink,
        }
    }
}

/// User code that writes.
pub struct UserSink {
    session: Handle<Writing>,
}

impl UserSink {
    /// Starts looking for user code. Has to be called within a runtime; never fails, since user code may come later.
    pub fn open(role: Role, settings: Settings, incidents: Incidents) -> Self {
        let peer = Peer { component: role.component(), settings, incidents };
        Self { session: Handle::start(Writing, peer) }
    }
}

#[async_trait]
impl Sink for UserSink {
    async fn write(&mut self, messages: &[Message], watermark: Time) -> Result<Vec<Outcome>, Error> {
        let answers = self.session.call(Arc::new(messages.to_vec()), watermark).await?;
        Ok(answers.into_iter().map(|Written(outcome)| outcome).collect())
    }

    async fn ready(&self) -> bool {
        self.session.ready().await
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.session.close().await;
        Ok(())
    }
}

fn client(channel: Channel) -> SinkClient<Channel> {
    SinkClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES)
}

struct Writing;

struct Written(Outcome);

impl Default for Written {
    /// What stands there until user code has spoken; no caller sees it.
    fn default() -> Self {
        Self(Outcome::Failed(String::new()))
    }
}

impl Dialect for Writing {
    type Request = SinkRequest;
    type Response = SinkResponse;
    type Piece = sink_response::Result;
    type Answer = Written;

    fn naming(&self) -> Naming {
        Naming::Documented(|message| message.id.to_string())
    }

    fn flow(&self, _: &Info) -> Flow {
        Flow::Batch
    }

    fn open(&self, channel: Channel, requests: Requests<SinkRequest>) -> Opening<SinkResponse> {
        async move { client(channel).sink_fn(requests).await.map(tonic::Response::into_inner) }.boxed()
    }

    fn handshake(&self) -> SinkRequest {
        SinkRequest { handshake: Some(Handshake { sot: true }), ..SinkRequest::default() }
    }

    fn is_handshake(&self, response: &SinkResponse) -> bool {
        response.handshake.is_some_and(|handshake| handshake.sot)
    }

    fn request(&self, name: &str, message: &Message, watermark: Time) -> SinkRequest {
        let mut metadata = convert::metadata(message);
        // Whoever writes a message once more counts; on the first attempt nobody has counted yet.
        let count = metadata.sys_metadata.entry("sink".to_owned()).or_default();
        count.key_value.entry("retry_count".to_owned()).or_insert_with(|| Bytes::from_static(b"0"));
        SinkRequest {
            request: Some(sink_request::Request {
                keys: convert::keys(message),
                value: message.value.clone(),
                event_time: Some(convert::timestamp(message.event_time)),
                watermark: Some(convert::watermark(watermark)),
                id: name.to_owned(),
                headers: message.attributes.parts().headers.clone(),
                metadata: Some(metadata),
            }),
            status: None,
            handshake: None,
        }
    }

    fn end(&self) -> Option<SinkRequest> {
        Some(SinkRequest { status: Some(TransmissionStatus { eot: true }), ..SinkRequest::default() })
    }

    fn take_apart(&self, _: Flow, response: SinkResponse, parts: &mut Vec<Part<Self::Piece>>) -> bool {
        parts.extend(response.results.into_iter().map(|mut result| Part {
            name: std::mem::take(&mut result.id),
            piece: result,
            last: true,
        }));
        response.status.is_some_and(|status| status.eot)
    }

    fn fold(&self, _: &Message, piece: Self::Piece, answer: &mut Written) -> Result<(), String> {
        let sink_response::Result { id: _, status, err_msg, serve_response, on_success_msg, nack_options } =
            piece;
        let status =
            Code::try_from(status).map_err(|_| format!("its result has the unknown status {status}"))?;
        *answer = Written(match status {
            Code::Success => Outcome::Done,
            Code::Failure => Outcome::Failed(err_msg),
            Code::Fallback => Outcome::Fallback,
            Code::Serve => Outcome::Serve(serve_response),
            Code::OnSuccess => Outcome::OnSuccess(on_success_msg.map(|message| {
                let sink_response::result::Message { value, keys, metadata } = message;
                Box::new(Replacement {
                    value,
                    keys: convert::names(keys),
                    user: convert::user_groups(metadata),
                })
            })),
            Code::Nack => Outcome::Nack(nack_options.map(convert::nack).unwrap_or_default()),
        });
        Ok(())
    }

    fn refuse(&self, _: &Message, crashes: u32) -> Written {
        let reason = format!("user code crashed {crashes} times with nothing but this message");
        Written(Outcome::Nack(Nack { reason, deliveries_max: Some(1), ..Nack::default() }))
    }
}
