//! The file source, following and not, and what it says of files that are not as they were.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use model::conformance::source::Bench;
use model::door::Class;
use model::door::source::Opened;
use model::{Message, Position};
use tempfile::TempDir;
use tidegate_connect::source::file::{Settings, open};

struct Lines {
    directory: TempDir,
    follow: bool,
    offered: u64,
}

impl Lines {
    fn new(follow: bool) -> Self {
        let lines = Self { directory: tempfile::tempdir().unwrap(), follow, offered: 0 };
        File::create(lines.path()).unwrap();
        lines
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("lines")
    }

    fn append(&self, text: &str) {
        OpenOptions::new().append(true).open(self.path()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    async fn try_resume(&self, from: u64) -> Result<Opened, (Class, String)> {
        let settings = Settings { vertex: "in".into(), replica: 0, path: self.path(), follow: self.follow };
        let mut opened = open(settings).await.unwrap();
        let resumed = opened.source.resume(Position { sequence: from, index: 0 }).await;
        resumed.map(|()| opened).map_err(|error| (error.class(), error.chain()))
    }
}

#[async_trait]
impl Bench for Lines {
    async fn open(&mut self) -> Opened {
        let settings = Settings { vertex: "in".into(), replica: 0, path: self.path(), follow: self.follow };
        open(settings).await.unwrap()
    }

    async fn offer(&mut self, count: u64) {
        let mut text = String::new();
        for number in self.offered..self.offered + count {
            // Different lengths, and both ends of lines.
            let end = if number % 3 == 0 { "\r\n" } else { "\n" };
            text.push_str(&number.to_string());
            text.push_str(end);
        }
        self.offered += count;
        self.append(&text);
    }

    async fn end(&mut self) {}

    fn number(&self, message: &Message) -> u64 {
        std::str::from_utf8(&message.value).unwrap().parse().unwrap()
    }
}

mod following {
    fn run(case: impl AsyncFn(&mut dyn super::Bench)) {
        super::super::run(|| super::Lines::new(true), case);
    }

    model::source_conformance! { run: every, fed, positions }
}

mod to_the_end {
    fn run(case: impl AsyncFn(&mut dyn super::Bench)) {
        super::super::run(|| super::Lines::new(false), case);
    }

    model::source_conformance! { run: ends }
}

async fn values(opened: &mut Opened, max: usize) -> Vec<String> {
    let batch = opened.source.read(max, Duration::from_millis(1)).await.unwrap();
    let messages = batch.map(|batch| batch.messages).unwrap_or_default();
    messages.into_iter().map(|message| String::from_utf8(message.value.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn offsets_are_where_lines_start() {
    let lines = Lines::new(false);
    lines.append("a\n\nccc\nend");
    let mut opened = lines.try_resume(0).await.unwrap();
    let batch = opened.source.read(10, Duration::ZERO).await.unwrap().unwrap();
    let seen: Vec<_> =
        batch.messages.iter().map(|message| (message.offset.to_string(), &message.value[..])).collect();
    assert_eq!(seen, [("0-0".to_owned(), &b"a"[..]), ("2-0".to_owned(), b""), ("3-0".to_owned(), b"ccc")]);
    assert_eq!(batch.end, Some(Position { sequence: 7, index: 0 }));
    let batch = opened.source.read(10, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(batch.messages[0].value, "end", "the last line needs no end");
    assert_eq!(batch.end, Some(Position { sequence: 10, index: 0 }));
}

#[tokio::test]
async fn a_followed_line_is_given_when_it_ends() {
    let lines = Lines::new(true);
    lines.append("whole\nha");
    let mut opened = lines.try_resume(0).await.unwrap();
    assert_eq!(values(&mut opened, 10).await, ["whole"]);
    assert!(values(&mut opened, 10).await.is_empty());
    lines.append("lf\nnext");
    let batch = opened.source.read(10, Duration::from_secs(30)).await.unwrap().unwrap();
    assert_eq!(batch.messages[0].value, "half");
}

#[tokio::test]
async fn a_last_line_may_get_its_end_between_two_lives() {
    let lines = Lines::new(false);
    lines.append("one\ntwo");
    let mut opened = lines.try_resume(0).await.unwrap();
    assert_eq!(values(&mut opened, 10).await, ["one"]);
    assert_eq!(values(&mut opened, 10).await, ["two"]);
    lines.append("\nthree\n");
    let mut opened = lines.try_resume(7).await.unwrap();
    assert_eq!(values(&mut opened, 10).await, ["three"]);
}

#[tokio::test]
async fn a_file_that_is_not_the_one_read_before_is_refused() {
    let lines = Lines::new(false);
    lines.append("one\ntwo\n");
    let path = lines.path();
    let path = path.display();
    for (from, why) in [
        (
            9,
            "it has 8 bytes and 9 were read before, so it is not the same file; start with an empty state directory \
             to read it from its beginning",
        ),
        (
            6,
            "byte 6, where reading is to go on, is in the middle of a line, so it is not the same file; start with \
             an empty state directory to read it from its beginning",
        ),
    ] {
        let error = lines.try_resume(from).await.err().unwrap();
        assert_eq!(error, (Class::Fatal, format!("read {path}: {why}")));
    }
}

#[tokio::test]
async fn a_followed_file_that_is_cut_or_replaced_is_an_error() {
    for replaced in [false, true] {
        let lines = Lines::new(true);
        lines.append("one\ntwo\n");
        let mut opened = lines.try_resume(0).await.unwrap();
        assert_eq!(values(&mut opened, 10).await, ["one", "two"]);
        let expected = if replaced {
            std::fs::rename(lines.path(), lines.directory.path().join("old")).unwrap();
            assert!(values(&mut opened, 10).await.is_empty(), "a file that was moved may still grow");
            std::fs::write(lines.path(), "another file with more in it\n").unwrap();
            "another file has taken its place"
        } else {
            std::fs::write(lines.path(), "one\n").unwrap();
            "it was cut to 4 bytes while 8 had been read"
        };
        let error = opened.source.read(10, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.class(), Class::Fatal);
        assert!(error.chain().contains(expected), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_line_without_end_is_an_error_that_says_where() {
    let lines = Lines::new(false);
    lines.append("ok\n");
    lines.append(&"x".repeat(1024 * 1024 + 1));
    let mut opened = lines.try_resume(0).await.unwrap();
    assert_eq!(values(&mut opened, 10).await, ["ok"]);
    let error = opened.source.read(10, Duration::ZERO).await.unwrap_err();
    assert!(
        error.chain().contains("the line that starts at byte 3 has more than 1048576 bytes"),
        "{}",
        error.chain()
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let settings = |path: PathBuf| Settings { vertex: "in".into(), replica: 0, path, follow: false };
    let missing = directory.path().join("missing");
    let error = open(settings(missing.clone())).await.err().unwrap();
    assert_eq!(error.to_string(), format!("open {} for reading", missing.display()));
    let error = open(settings(directory.path().to_owned())).await.err().unwrap();
    let expected = format!("read {} line by line: it is not a regular file", directory.path().display());
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn other_replicas_have_nothing_to_read() {
    let lines = Lines::new(false);
    lines.append("one\n");
    let settings = |follow| Settings { vertex: "in".into(), replica: 1, path: lines.path(), follow };
    let mut ends = open(settings(false)).await.unwrap();
    assert!(ends.source.read(10, Duration::ZERO).await.unwrap().is_none());
    let mut waits = open(settings(true)).await.unwrap();
    assert_eq!(waits.source.read(10, Duration::from_millis(1)).await.unwrap().unwrap().messages.len(), 0);
}
