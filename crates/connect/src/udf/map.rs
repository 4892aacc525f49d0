//! The door to user code that maps: unary, batch and stream mode behind one type.
//!
//! Which mode it is stands in the info file and may differ after a restart of user code. Request ids are numbers of
//! our own, since handlers do not see them. Tags, also those that ask for a retry, stay on the results; what they
//! mean is for `model::verdict` to say.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use model::door::Error;
use model::door::map::Map;
use model::verdict::{NACK, Nack, Reply};
use model::{Message, Name, Time};
use proto::map::map_client::MapClient;
use proto::map::{Handshake, MapRequest, MapResponse, TransmissionStatus, map_request, map_response};
use smol_str::SmolStr;
use tonic::transport::Channel;

use super::channel::MESSAGE_MAX_BYTES;
use super::info::{Info, MapMode};
use super::peer::Peer;
use super::session::Handle;
use super::session::book::Naming;
use super::session::dialect::{Dialect, Flow, Part};
use super::stream::{Opening, Requests};
use super::{Component, Settings, convert};
use crate::incident::Incidents;

/// User code that maps, over one stream for all callers.
pub struct UserMap {
    session: Handle<Mapping>,
}

impl UserMap {
    /// Starts looking for user code. Has to be called within a runtime; never fails, since user code may come later.
    pub fn open(settings: Settings, incidents: Incidents) -> Self {
        let dialect = Mapping { vertex: settings.vertex.clone() };
        let peer = Peer { component: Component::Map, settings, incidents };
        Self { session: Handle::start(dialect, peer) }
    }

    /// Ends the stream in peace; calls that are under way are answered first, for a limited time.
    pub async fn close(mut self) {
        self.session.close().await;
    }
}

#[async_trait]
impl Map for UserMap {
    async fn map(&self, messages: Arc<Vec<Message>>, watermark: Time) -> Result<Vec<Reply>, Error> {
        self.session.call(messages, watermark).await
    }

    async fn ready(&self) -> bool {
        self.session.ready().await
    }
}

fn client(channel: Channel) -> MapClient<Channel> {
    MapClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES)
}

struct Mapping {
    vertex: Name,
}

impl Dialect for Mapping {
    type Request = MapRequest;
    type Response = MapResponse;
    type Piece = Vec<map_response::Result>;
    type Answer = Reply;

    fn naming(&self) -> Naming {
        Naming::Compact
    }

    fn flow(&self, info: &Info) -> Flow {
        match info.map_mode {
            MapMode::Unary => Flow::Each,
            MapMode::Batch => Flow::Batch,
            MapMode::Stream => Flow::Streamed,
        }
    }

    fn open(&self, channel: Channel, requests: Requests<MapRequest>) -> Opening<MapResponse> {
        async move { client(channel).map_fn(requests).await.map(tonic::Response::into_inner) }.boxed()
    }

    fn handshake(&self) -> MapRequest {
        MapRequest { handshake: Some(Handshake { sot: true }), ..MapRequest::default() }
    }

    fn is_handshake(&self, response: &MapResponse) -> bool {
        response.handshake.is_some_and(|handshake| handshake.sot)
    }

    fn request(&self, name: &str, message: &Message, watermark: Time) -> MapRequest {
        MapRequest {
            request: Some(map_request::Request {
                keys: convert::keys(message),
                value: message.value.clone(),
                event_time: Some(convert::timestamp(message.event_time)),
                watermark: Some(convert::watermark(watermark)),
                headers: message.attributes.parts().headers.clone(),
                metadata: Some(convert::metadata(message)),
            }),
            id: name.to_owned(),
            handshake: None,
            status: None,
        }
    }

    fn end(&self) -> Option<MapRequest> {
        Some(MapRequest { status: Some(TransmissionStatus { eot: true }), ..MapRequest::default() })
    }

    fn take_apart(&self, flow: Flow, response: MapResponse, parts: &mut Vec<Part<Self::Piece>>) -> bool {
        let MapResponse { results, id, handshake: _, status } = response;
        let marked = status.is_some_and(|status| status.eot);
        if flow == Flow::Batch && marked {
            return true;
        }
        parts.push(Part { name: id, piece: results, last: flow != Flow::Streamed || marked });
        false
    }

    fn fold(&self, message: &Message, piece: Self::Piece, answer: &mut Reply) -> Result<(), String> {
        answer.outputs.reserve_exact(piece.len());
        for result in piece {
            let map_response::Result { keys, value, tags, metadata, nack_options } = result;
            let index = answer.outputs.len() as u32;
            let mut output = message.child(&self.vertex, index, value);
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
        give_up(message.child(&self.vertex, 0, bytes::Bytes::new()), crashes)
    }
}

/// The reply for a message that made user code crash so often: it goes back, and does not come again.
pub(crate) fn give_up(mut output: Message, crashes: u32) -> Reply {
    output.tags = vec![SmolStr::new_static(NACK)];
    let reason = format!("user code crashed {crashes} times with nothing but this message");
    let nack = Nack { reason, deliveries_max: Some(1), ..Nack::default() };
    Reply { outputs: vec![output], nack: Some(Box::new(nack)) }
}
