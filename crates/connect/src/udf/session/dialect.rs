//! What differs between the services of user code that answer messages over one stream: maps, transformers, sinks.

use model::{Message, Time};
use tonic::transport::Channel;

use super::book::Naming;
use crate::udf::info::Info;
use crate::udf::stream::{Opening, Requests};

/// How messages and answers alternate on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Each request has one response, in any order.
    Each,
    /// Each request has any number of responses, the last of which is marked.
    Streamed,
    /// Requests, an end; responses, an end; and again.
    Batch,
}

/// What a response says about one request.
pub(crate) struct Part<P> {
    /// The name of the request.
    pub name: String,
    /// What it says.
    pub piece: P,
    /// Whether the request is answered with it.
    pub last: bool,
}

/// One service.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// What is sent.
    type Request: Send + 'static;
    /// What is received.
    type Response: Send + 'static;
    /// What a response says about one request.
    type Piece: Send + 'static;
    /// All that user code says about one message.
    type Answer: Default + Send + 'static;

    /// How requests are named.
    fn naming(&self) -> Naming;
    /// How the service that says `info` of itself wants its messages.
    fn flow(&self, info: &Info) -> Flow;
    /// Opens the stream. Returns when the first response is there, which the handshake among `requests` brings about.
    fn open(&self, channel: Channel, requests: Requests<Self::Request>) -> Opening<Self::Response>;
    /// The first request.
    fn handshake(&self) -> Self::Request;
    /// Whether this is what the first response has to be.
    fn is_handshake(&self, response: &Self::Response) -> bool;
    /// The request for a message.
    fn request(&self, name: &str, message: &Message, watermark: Time) -> Self::Request;
    /// The end of a batch of requests; none for services without batches.
    fn end(&self) -> Option<Self::Request>;
    /// Takes a response apart; true when it ends a batch.
    fn take_apart(&self, flow: Flow, response: Self::Response, parts: &mut Vec<Part<Self::Piece>>) -> bool;
    /// Adds a piece to the answer for `message`, or says why it cannot be an answer.
    fn fold(&self, message: &Message, piece: Self::Piece, answer: &mut Self::Answer) -> Result<(), String>;
    /// The answer for a message that is given up after it made user code crash so often.
    fn refuse(&self, message: &Message, crashes: u32) -> Self::Answer;
}
