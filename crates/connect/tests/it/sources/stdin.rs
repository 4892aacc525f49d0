//! Standard input, played by a pipe.

use std::io::{PipeReader, PipeWriter, Write};
use std::time::Duration;

use async_trait::async_trait;
use model::conformance::source::Bench;
use model::door::source::Opened;
use model::{Message, Position, source_conformance};
use tidegate_connect::source::stdin::{Settings, open_reader};

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
        open_reader(Settings { vertex: "in".into(), replica: 0 }, reader).unwrap()
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
    let mut opened = open_reader(settings, &b"a\nb\nlast"[..]).unwrap();
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
async fn an_input_that_breaks_is_an_error() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("unplugged"))
        }
    }
    let mut opened = open_reader(Settings { vertex: "in".into(), replica: 0 }, Broken).unwrap();
    let error = opened.source.read(1, Duration::from_secs(30)).await.unwrap_err();
    assert_eq!(error.chain(), "read standard input: unplugged");
}

#[tokio::test]
async fn other_replicas_have_nothing_to_read() {
    let mut opened = open_reader(Settings { vertex: "in".into(), replica: 1 }, &b"mine\n"[..]).unwrap();
    assert!(opened.source.read(1, Duration::from_secs(30)).await.unwrap().is_none());
}
