//! The door to a transformer in a source vertex: as a map, but results carry their own event time, there is at least
//! one for every message, and requests are named by where the message was read.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use model::door::Error;
use model::door::map::Map;
use model::verdict::Reply;
use model::{Message, Time};
use proto::source_transform::source_transform_client::SourceTransformClient;
use proto::source_transform::{
    Handshake, SourceTransformRequest, SourceTransformResponse, source_transform_request,
    source_transform_response,
};
use tonic::transport::Channel;

use super::channel::MESSAGE_MAX_BYTES;
use super::info::Info;
use super::map::give_up;
use super::peer::Peer;
use super::session::Handle;
use super::session::book::Naming;
use super::session::dialect::{Dialect, Flow, Part};
use super::stream::{Opening, Requests};
use super::{Component, Settings, convert};
use crate::incident::Incidents;

/// User code that transforms what a source read.
pub struct UserTransformer {
    session: Handle<Transforming>,
}

impl UserTransformer {
    /// Starts looking for user code. Has to be called within a runtime; never fails, since user code may come later.
    pub fn open(settings: Settings, incidents: Incidents) -> Self {
        let peer = Peer { component: Component::Transformer, settings, incidents };
        Self { session: Handle::start(Transforming, peer) }
    }

    /// Ends the stream in peace; calls that are under way are answered first, for a limited time.
    pub async fn close(mut self) {
        self.session.close().await;
    }
}

#[async_trait]
impl Map for UserTransformer {
    async fn map(&self, messages: Arc<Vec<Message>>, watermark: Time) -> Result<Vec<Reply>, Error> {
        self.session.call(messages, watermark).await
    }

    async fn ready(&self) -> bool {
        self.session.ready().await
    }
}

fn client(channel: Channel) -> SourceTransformClient<Channel> {
    SourceTransformClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES)
}

struct Transforming;

impl Dialect for Transforming {
    type Request = SourceTransformRequest;
    type Response = SourceTransformResponse;
    type Piece = Vec<source_transform_response::Result>;
    type Answer = Reply;

    fn naming(&self) -> Naming {
        Naming::Documented(|message| message.offset.to_string())
    }

    fn flow(&self, _: &Info) -> Flow {
        Flow::Each
    }

    fn open(
        &self,
        channel: Channel,
        requests: Requests<SourceTransformRequest>,
    ) -> Opening<SourceTransformResponse> {
        async move { client(channel).source_transform_fn(requests).await.map(tonic::Response::into_inner) }
            .boxed()
    }

    fn handshake(&self) -> SourceTransformRequest {
        SourceTransformRequest { request: None, handshake: Some(Handshake { sot: true }) }
    }

    fn is_handshake(&self, response: &SourceTransformResponse) -> bool {
        response.handshake.is_some_and(|handshake| handshake.sot)
    }

    fn request(&self, name: &str, message: &Message, watermark: Time) -> SourceTransformRequest {
        SourceTransformRequest {
            request: Some(source_transform_request::Request {
                keys: convert::keys(message),
                value: message.value.clone(),
                event_time: Some(convert::timestamp(message.event_time)),
                watermark: Some(convert::watermark(watermark)),
                headers: message.attributes.parts().headers.clone(),
                id: name.to_owned(),
                metadata: Some(convert::metadata(message)),
            }),
            handshake: None,
        }
    }

    fn end(&self) -> Option<SourceTransformRequest> {
        None
    }

    fn take_apart(
        &self,
        _: Flow,
        response: SourceTransformResponse,
        parts: &mut Vec<Part<Self::Piece>>,
    ) -> bool {
        parts.push(Part { name: response.id, piece: response.results, last: true });
        false
    }

    fn fold(&self, message: &Message, piece: Self::Piece, answer: &mut Reply) -> Result<(), String> {
        if piece.is_empty() {
            return Err(
                "its answer has no result; one with the drop tag is how a message is dropped".to_owned()
            );
        }
        for (index, result) in piece.into_iter().enumerate() {
            let source_transform_response::Result { keys, value, event_time, tags, metadata, nack_options } =
                result;
            let Some(event_time) = event_time else {
                return Err("its answer has a result without an event time".to_owned());
            };
            let mut output = message.transformed(index as u32, value, convert::time(event_time));
            output.keys = convert::names(keys);
            output.tags = convert::names(tags);
            output.attributes = output.attributes.with_user(convert::user_groups(metadata));
            if let Some(options) = nack_options.filter(|_| answer.nack.is_none()) {
                answer.nack = Some(Box::new(convert::nack(options)));
            }
            answer.outputs.push(output);
        }
        Ok(())
    }

    fn refuse(&self, message: &Message, crashes: u32) -> Reply {
        give_up(message.transformed(0, bytes::Bytes::new(), message.event_time), crashes)
    }
}
