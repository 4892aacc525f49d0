//! The sink `log`: one line in the log for each message.
//!
//! The text of the line is a contract with those who grep for it; a golden test holds it.

use std::fmt::{self, Display};

use async_trait::async_trait;
use model::door::Error;
use model::door::sink::{Outcome, Sink};
use model::{Message, Time};

/// The target of the lines, by which a reader of logs can tell them from everything else.
pub const TARGET: &str = "sink::log";

/// A sink that logs at level info.
pub fn open() -> Box<dyn Sink> {
    Box::new(Log)
}

struct Log;

/// A message as the line shows it.
struct Line<'a>(&'a Message);

struct Joined<I>(I);

impl<T: Display, I: Iterator<Item = T> + Clone> Display for Joined<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.clone().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { id, keys, value, event_time, attributes, .. } = self.0;
        write!(f, "Payload - {} ", String::from_utf8_lossy(value))?;
        write!(f, "Keys - {} ", Joined(keys.iter()))?;
        write!(f, "EventTime - {} ", event_time.millis())?;
        f.write_str("Headers - ")?;
        for (index, (name, value)) in attributes.parts().headers.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}: {value}")?;
        }
        write!(f, " ID - {id}")
    }
}

#[async_trait]
impl Sink for Log {
    async fn write(&mut self, messages: &[Message], _: Time) -> Result<Vec<Outcome>, Error> {
        let outcomes = messages.iter().map(|message| {
            tracing::info!(target: TARGET, "{}", Line(message));
            Outcome::Done
        });
        Ok(outcomes.collect())
    }

    async fn ready(&self) -> bool {
        true
    }

    async fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use model::{Attributes, Origin, Parts};

    use super::*;

    #[test]
    fn a_line_shows_everything_in_the_agreed_shape() {
        let offset = Origin::Numbered { number: 7, partition: 0 };
        let value = Bytes::from_static(b"caf\xc3\xa9 \xff");
        let mut message =
            Message::from_source("in".into(), offset, value, Time::from_millis(1_700_000_000_123));
        let bare = Line(&message).to_string();
        assert_eq!(
            bare,
            "Payload - caf\u{e9} \u{fffd} Keys -  EventTime - 1700000000123 Headers -  ID - in-7-0-0"
        );

        message.keys = vec!["a".into(), "b".into()];
        let headers = BTreeMap::from([("x".to_owned(), "1".to_owned()), ("y".to_owned(), "2".to_owned())]);
        message.attributes = Attributes::new(Parts { headers, ..Parts::default() });
        let full = Line(&message).to_string();
        assert_eq!(
            full,
            "Payload - caf\u{e9} \u{fffd} Keys - a,b EventTime - 1700000000123 Headers - x: 1, y: 2 ID - in-7-0-0"
        );
    }
}
