//! What the reference's public demo images do, made with the Rust SDK: examples run with it on clusters that cannot pull
//! the images. Its argument is the name of an image's repository.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use clap::{Parser, ValueEnum};
use numaflow::map::{self, MapRequest, Message};
use serde_json::Value;

/// Does what a demo image does.
#[derive(Parser)]
struct Arguments {
    image: Image,
}

#[derive(Clone, Copy, ValueEnum)]
enum Image {
    /// Passes everything on.
    #[value(name = "map-cat")]
    Cat,
    /// Keys and tags numbers by whether they are even, and drops the rest.
    #[value(name = "map-even-odd")]
    EvenOdd,
    /// Makes a message of each part of a text, which ends at commas.
    #[value(name = "map-flatmap")]
    Flatmap,
    /// Passes JSON objects with an `id` below 100.
    #[value(name = "map-filter-id")]
    FilterId,
    /// Tags a text `retry` the first and the second time it comes.
    #[value(name = "map-retry")]
    Retry,
}

struct Demo {
    image: Image,
    /// How often each text has come.
    seen: Mutex<HashMap<Vec<u8>, u8>>,
}

fn even_or_odd(value: Vec<u8>) -> Message {
    let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i64>().ok());
    let (key, tag) = match number.map(|number| number % 2 == 0) {
        Some(true) => ("even", "even-tag"),
        Some(false) => ("odd", "odd-tag"),
        None => return Message::message_to_drop(),
    };
    Message::new(value).with_keys(vec![key.to_owned()]).with_tags(vec![tag.to_owned()])
}

fn small_id(value: Vec<u8>) -> Message {
    let object: Value = serde_json::from_slice(&value).unwrap_or_default();
    if object["id"].as_i64().is_some_and(|id| id < 100) {
        Message::new(value)
    } else {
        Message::message_to_drop()
    }
}

impl Demo {
    fn retry(&self, value: Vec<u8>) -> Message {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let times = seen.entry(value.clone()).or_default();
        *times += 1;
        if *times > 2 {
            seen.remove(&value);
            return Message::new(value);
        }
        Message::new(value).with_tags(vec!["retry".to_owned()])
    }
}

#[tonic::async_trait]
impl map::Mapper for Demo {
    async fn map(&self, input: MapRequest) -> Vec<Message> {
        let MapRequest { keys, value, .. } = input;
        match self.image {
            Image::Cat => vec![Message::new(value).with_keys(keys)],
            Image::EvenOdd => vec![even_or_odd(value)],
            Image::Flatmap => {
                value.split(|byte| *byte == b',').map(|part| Message::new(part.to_vec())).collect()
            }
            Image::FilterId => vec![small_id(value)],
            Image::Retry => vec![self.retry(value)],
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let demo = Demo { image: Arguments::parse().image, seen: Mutex::default() };
    map::Server::new(demo).start().await
}
