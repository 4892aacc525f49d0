//! Appending, repairing and failing.

use bytes::Bytes;
use model::Origin;

use super::*;

fn messages(values: &[&'static str]) -> Vec<Message> {
    let values = values.iter().enumerate();
    let messages = values.map(|(number, value)| {
        let offset = Origin::Numbered { number: number as u64, partition: 0 };
        Message::from_source("in".into(), offset, Bytes::from_static(value.as_bytes()), Time::default())
    });
    messages.collect()
}

async fn write(sink: &mut Box<dyn Sink>, values: &[&'static str]) {
    let outcomes = sink.write(&messages(values), Time::UNKNOWN).await.unwrap();
    assert_eq!(outcomes, vec![Outcome::Done; values.len()]);
}

async fn refusal(path: &Path) -> String {
    open(Settings::new(path)).await.err().unwrap().to_string()
}

#[tokio::test]
async fn lines_are_appended_to_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    std::fs::write(&path, "old\n").unwrap();
    for sync in [true, false] {
        let mut sink = open(Settings { sync, ..Settings::new(&path) }).await.unwrap();
        write(&mut sink, &["a", "", "c"]).await;
        sink.close().await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\na\n\nc\na\n\nc\n");
}

#[tokio::test]
async fn an_unfinished_line_is_moved_beside_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let beside = directory.path().join("out.torn");
    for (before, after, torn) in
        [("whole\nhal", "whole\nx\n", "hal\n"), ("onl", "x\n", "hal\nonl\n"), ("", "x\n", "hal\nonl\n")]
    {
        std::fs::write(&path, before).unwrap();
        let mut sink = open(Settings::new(&path)).await.unwrap();
        write(&mut sink, &["x"]).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        assert_eq!(std::fs::read_to_string(&beside).unwrap(), torn);
    }
}

#[tokio::test]
async fn a_file_that_is_no_text_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    File::create(&path).unwrap().set_len(TORN_BYTES_MAX + 1).unwrap();
    let error = refusal(&path).await;
    assert!(error.ends_with("hold no line feed, so it is not a file of lines; give another path"), "{error}");
    assert_eq!(path.metadata().unwrap().len(), TORN_BYTES_MAX + 1);
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("no").join("out");
    let error = refusal(&missing).await;
    assert_eq!(error, format!("open {} for appending: its directory does not exist", missing.display()));
    let error = refusal(directory.path()).await;
    assert_eq!(error, format!("open {} for appending", directory.path().display()));
}

#[tokio::test]
async fn a_device_is_written_to_as_it_is() {
    let mut sink = open(Settings::new("/dev/null")).await.unwrap();
    write(&mut sink, &["a"]).await;
}

#[tokio::test]
async fn a_full_disk_is_tried_again_and_nothing_else_is() {
    let mut full = open(Settings::new("/dev/full")).await.unwrap();
    let error = full.write(&messages(&["a"]), Time::UNKNOWN).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert!(error.chain().starts_with("append to /dev/full: "), "{}", error.chain());
    let other = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
    assert_eq!(other.class, Class::Fatal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_a_file_without_mixing_lines() {
    const EACH: usize = 50;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let mut replicas = tokio::task::JoinSet::new();
    for value in ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"] {
        let settings = Settings { sync: false, ..Settings::new(&path) };
        replicas.spawn(async move {
            let mut sink = open(settings.clone()).await.unwrap();
            for _ in 0..EACH {
                write(&mut sink, &[value; 100]).await;
                // Opening repairs what it takes for a torn line; it must never see a batch half written.
                open(settings.clone()).await.unwrap();
            }
        });
    }
    replicas.join_all().await;
    let text = std::fs::read_to_string(&path).unwrap();
    for value in ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"] {
        assert_eq!(text.lines().filter(|line| *line == value).count(), EACH * 100);
    }
    assert_eq!(text.lines().count(), 2 * EACH * 100);
    assert!(!directory.path().join("out.torn").exists());
}
