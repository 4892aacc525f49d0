//! Standard input, played by a pipe.

use std::io::{PipeReader, PipeWriter, Write};
use std::time::Duration;

use async_trait::async_trait;
use model::conformance::source::Bench;
use model::door::source::Opened;
use model::{Message, Position, source_conformance};
use tidegate_connect::source::stdin::{Input, Settings, open};

struct Pipe {
    reader: Option<PipeReader>,
    writer: Option<PipeWriter>,
    offered: u64,
}

impl Pipe {
    fn new() -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        Self { reader: Some(reader), writer: Some(writer), offered: 0 }
    }
}

#[async_trait]
impl Bench for Pipe {
    async fn open(&mut self) -> Opened {
        let reader = self.reader.take().expect("standard input has one life");
        open(Settings { vertex: "in".into(), replica: 0 }, &Input::of(reader).unwrap()).unwrap()
    }

    async fn offer(&mut self, count: u64) {
        for number in self.offered..self.offered + count {
            writeln!(self.writer.as_ref().unwrap(), "{number}").unwrap();
        }
        self.offered += count;
    }

    async fn end(&mut self) {
        self.writer = None;
    }

    fn number(&self, message: &Message) -> u64 {
        std::str::from_utf8(&message.value).unwrap().parse().unwrap()
    }
}

fn run(case: impl AsyncFn(&mut dyn Bench)) {
    super::run(Pipe::new, case);
}

source_conformance! { run: every, fed, ends }

#[tokio::test]
async fn numbers_go_on_and_nothing_is_skipped() {
    let settings = Settings { vertex: "in".into(), replica: 0 };
    let mut opened = open(settings, &Input::of(&b"a\nb\nlast"[..]).unwrap()).unwrap();
    opened.source.resume(Position { sequence: 40, index: 0 }).await.unwrap();
    let mut seen = Vec::new();
    let mut end = None;
    while let Some(batch) = opened.source.read(2, Duration::from_secs(30)).await.unwrap() {
        seen.extend(batch.messages.into_iter().map(|message| (message.offset.to_string(), message.value)));
        end = batch.end.or(end);
    }
    let expected = [("40-0", "a"), ("41-0", "b"), ("42-0", "last")];
    assert_eq!(seen, expected.map(|(offset, value)| (offset.to_owned(), value.into())));
    assert_eq!(end, Some(Position { sequence: 43, index: 0 }));
}

#[tokio::test]
async fn what_one_source_has_not_given_the_next_one_gives() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let input = Input::of(reader).unwrap();
    let settings = || Settings { vertex: "in".into(), replica: 0 };
    let wait = Duration::from_secs(30);
    let values = |batch: Option<model::door::source::Batch>| -> Vec<_> {
        batch.unwrap().messages.into_iter().map(|message| message.value).collect()
    };
    let mut first = open(settings(), &input).unwrap();
    write!(writer, "a\nb\nhal").unwrap();
    assert_eq!(values(first.source.read(1, wait).await.unwrap()), ["a"]);
    drop(first);
    let mut second = open(settings(), &input).unwrap();
    second.source.resume(Position { sequence: 1, index: 0 }).await.unwrap();
    assert_eq!(values(second.source.read(9, wait).await.unwrap()), ["b"]);
    // It waits when it is dropped; what comes then is not for it.
    assert_eq!(values(second.source.read(9, Duration::ZERO).await.unwrap()), [""; 0]);
    drop(second);
    writeln!(writer, "f").unwrap();
    drop(writer);
    let mut third = open(settings(), &input).unwrap();
    third.source.resume(Position { sequence: 2, index: 0 }).await.unwrap();
    let batch = third.source.read(9, wait).await.unwrap().unwrap();
    assert_eq!(
        (batch.messages[0].offset.to_string(), &batch.messages[0].value[..]),
        ("2-0".to_owned(), &b"half"[..])
    );
    assert!(third.source.read(9, wait).await.unwrap().is_none());
}

#[tokio::test]
async fn an_input_that_breaks_is_an_error() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("unplugged"))
        }
    }
    let mut opened = open(Settings { vertex: "in".into(), replica: 0 }, &Input::of(Broken).unwrap()).unwrap();
    let error = opened.source.read(1, Duration::from_secs(30)).await.unwrap_err();
    assert_eq!(error.chain(), "read standard input: unplugged");
}

#[tokio::test]
async fn other_replicas_have_nothing_to_read() {
    let mut opened =
        open(Settings { vertex: "in".into(), replica: 1 }, &Input::of(&b"mine\n"[..]).unwrap()).unwrap();
    assert!(opened.source.read(1, Duration::from_secs(30)).await.unwrap().is_none());
}
