//! Native stand-ins for the reference's public demo images, so that its example manifests run with no image at all.
//!
//! A stand-in does what the image does, in this process. It is chosen by the image's repository name, whatever registry
//! and tag stand around it, and whoever chooses one says so ([`StandIn::what`]). The local platform decides whether one
//! is used at all. Only images whose behaviour is public and stable are here; what an image does by crashing, a
//! stand-in does by dropping the message, and says that too.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::door::Error;
use model::door::map::Map;
use model::door::sink::Sink;
use model::verdict::{DROP, Reply};
use model::{Groups, Message, Name, Time};
use smol_str::SmolStr;

mod demo;
#[cfg(test)]
mod tests;

/// Code of this process that answers for a user container.
#[derive(Clone, Copy)]
pub struct StandIn {
    /// What it does, in a few words.
    pub what: &'static str,
    /// How it is made.
    pub code: Code,
}

/// Makes a map for the vertex with this name.
pub type Make = fn(Name) -> Arc<dyn Map>;

/// What a stand-in stands in for.
#[derive(Clone, Copy)]
pub enum Code {
    /// A map or a source transformer.
    Map(Make),
    /// A sink.
    Sink(fn() -> Box<dyn Sink>),
}

/// The stand-in for an image, if there is one.
pub fn stand_in(image: &str) -> Option<StandIn> {
    let (path, repository) = image.rsplit_once('/').unwrap_or(("", image));
    let name = repository.split([':', '@']).next()?;
    let rust = path.ends_with("numaflow-rs");
    // Python images of these names do other things with the payload.
    let python = path.ends_with("numaflow-python");
    let (what, code): (_, Make) = match name {
        "map-cat" | "map-forward-message" => {
            ("passes every message on as it is", |vertex| each(vertex, demo::cat))
        }
        "map-even-odd" | "even-odd" if rust => {
            ("keys integers `even` or `odd`; other payloads count as 0", |vertex| {
                each(vertex, demo::even_odd_keys)
            })
        }
        "map-even-odd" | "even-odd" if !python => (
            "keys integers `even` or `odd` and tags them `even-tag` or `odd-tag`; drops other payloads",
            |vertex| each(vertex, demo::even_odd_tags),
        ),
        "map-flatmap" | "map-flatmap-stream" | "batch-map-flatmap" if !rust && !python => {
            ("cuts payloads at commas; the parts have no keys", |vertex| each(vertex, demo::flat_map))
        }
        "batchmap-flatmap" if rust => {
            ("cuts payloads at commas; the parts keep the keys", |vertex| each(vertex, demo::flat_map_keys))
        }
        "map-filter-id" => {
            ("passes JSON objects with an `id` below 100, without keys; drops everything else", |vertex| {
                each(vertex, demo::filter_id)
            })
        }
        "map-filter" => (
            "passes JSON objects with an `id` below 100, a `msg` of hello and a `desc` with good in it, without keys; \
             drops everything else",
            |vertex| each(vertex, demo::filter),
        ),
        "map-tickgen" => (
            "turns the generator's payload into its `Value` and `Time` (UTC); nothing comes of other payloads",
            |vertex| each(vertex, demo::tickgen),
        ),
        "map-retry" => (
            "tags a payload `retry` the first and second time it comes, and lets it go the third",
            |vertex| Arc::new(Native { vertex, code: demo::Retry::default() }),
        ),
        "source-transformer-now" | "mapt-assign-event-time" => {
            ("sets the event time to the time of the clock", |vertex| each(vertex, demo::now))
        }
        "mapt-event-time-filter"
        | "mapt-event-time-filter-function"
        | "source-transformer-event-time-filter" => (
            "drops what happened before 2022; sets the rest to the start of 2022, tagged `within_year_2022`, or of \
             2023, tagged `after_year_2022`; without keys",
            |vertex| each(vertex, demo::event_time_filter),
        ),
        "sink-log" => {
            return Some(StandIn { what: "logs every message", code: Code::Sink(crate::sink::log::open) });
        }
        _ => return None,
    };
    Some(StandIn { what, code: Code::Map(code) })
}

/// One result of a stand-in.
struct Made {
    keys: Vec<SmolStr>,
    value: Bytes,
    tags: Vec<SmolStr>,
    /// Another event time than the message's; only transformers set one.
    event_time: Option<Time>,
}

impl Made {
    fn plain(value: Bytes) -> Self {
        Self { keys: Vec::new(), value, tags: Vec::new(), event_time: None }
    }

    fn drop() -> Self {
        Self { tags: vec![SmolStr::new_static(DROP)], ..Self::plain(Bytes::new()) }
    }
}

/// What a stand-in does with a message.
trait Demo: Send + Sync + 'static {
    fn act(&self, message: &Message) -> Vec<Made>;
}

/// A stand-in that remembers nothing.
struct Each(fn(&Message) -> Vec<Made>);

impl Demo for Each {
    fn act(&self, message: &Message) -> Vec<Made> {
        (self.0)(message)
    }
}

fn each(vertex: Name, act: fn(&Message) -> Vec<Made>) -> Arc<dyn Map> {
    Arc::new(Native { vertex, code: Each(act) })
}

struct Native<D> {
    vertex: Name,
    code: D,
}

impl<D: Demo> Native<D> {
    fn reply(&self, message: &Message) -> Reply {
        let output = |(index, made): (usize, Made)| {
            let Made { keys, value, tags, event_time } = made;
            let mut output = match event_time {
                Some(event_time) => message.transformed(index as u32, value, event_time),
                None => message.child(&self.vertex, index as u32, value),
            };
            output.keys = keys;
            output.tags = tags;
            // As with any user code, metadata that is not returned is gone.
            output.attributes = output.attributes.with_user(Groups::new());
            output
        };
        Reply { outputs: self.code.act(message).into_iter().enumerate().map(output).collect(), nack: None }
    }
}

#[async_trait]
impl<D: Demo> Map for Native<D> {
    async fn map(&self, messages: Arc<Vec<Message>>, _watermark: Time) -> Result<Vec<Reply>, Error> {
        Ok(messages.iter().map(|message| self.reply(message)).collect())
    }

    async fn ready(&self) -> bool {
        true
    }
}
