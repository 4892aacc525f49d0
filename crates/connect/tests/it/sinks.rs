//! Every sink against the suite of its door.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use model::conformance::sink::Bench;
use model::conformance::sink::faulty::Faulty;
use model::door::sink::Sink;
use tempfile::TempDir;
use tidegate_connect::sink;

mod mutants;

/// Runs a case on a bench as it is, and on others that are slow and take only some of what they are given.
#[expect(clippy::needless_pass_by_value, reason = "the suite hands its cases over by value")]
fn run<B: Bench>(bench: impl Fn() -> B, case: impl AsyncFn(&mut dyn Bench)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        case(&mut bench()).await;
        for seed in [1, 2] {
            case(&mut Faulty::new(bench(), seed)).await;
        }
    });
}

/// The lines of a file, each as it is.
fn lines(path: &Path) -> Vec<Bytes> {
    let bytes = Bytes::from(std::fs::read(path).unwrap_or_default());
    let Some(whole) = bytes.strip_suffix(b"\n") else { return Vec::new() };
    whole.split(|byte| *byte == b'\n').map(|line| bytes.slice_ref(line)).collect()
}

mod blackhole {
    use super::*;

    struct Hole;

    #[async_trait]
    impl Bench for Hole {
        async fn open(&mut self) -> Box<dyn Sink> {
            sink::blackhole::open()
        }
    }

    fn run(case: impl AsyncFn(&mut dyn Bench)) {
        super::run(|| Hole, case);
    }

    model::sink_conformance! { run: every }
}

mod log {
    use super::*;

    struct Log;

    #[async_trait]
    impl Bench for Log {
        async fn open(&mut self) -> Box<dyn Sink> {
            sink::log::open()
        }
    }

    fn run(case: impl AsyncFn(&mut dyn Bench)) {
        super::run(|| Log, case);
    }

    model::sink_conformance! { run: every }
}

struct InDirectory {
    directory: TempDir,
    open: fn(&Path) -> sink::file::Settings,
}

#[async_trait]
impl Bench for InDirectory {
    async fn open(&mut self) -> Box<dyn Sink> {
        sink::file::open((self.open)(&self.directory.path().join("out"))).await.unwrap()
    }

    async fn outside(&mut self) -> Vec<Bytes> {
        lines(&self.directory.path().join("out"))
    }
}

mod file {
    use super::*;

    fn run(case: impl AsyncFn(&mut dyn Bench)) {
        let open = |path: &Path| sink::file::Settings::new(path);
        super::run(|| InDirectory { directory: tempfile::tempdir().unwrap(), open }, case);
    }

    model::sink_conformance! { run: every, seen }
}

mod file_without_sync {
    use super::*;

    fn run(case: impl AsyncFn(&mut dyn Bench)) {
        let open = |path: &Path| sink::file::Settings { sync: false, ..sink::file::Settings::new(path) };
        super::run(|| InDirectory { directory: tempfile::tempdir().unwrap(), open }, case);
    }

    model::sink_conformance! { run: every, seen }
}

/// Standard output, played by a file that is written as slowly as a pipe may be.
mod stdout {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use tokio::io::AsyncWrite;

    use super::*;

    struct Terminal(TempDir);

    /// Takes a few hundred bytes at a time, and only every other time it is asked.
    struct Slow {
        out: tokio::fs::File,
        asked: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            self.asked = !self.asked;
            if self.asked {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let piece = bytes.len().min(333);
            let written = ready!(Pin::new(&mut self.out).poll_write(context, &bytes[..piece]))?;
            Poll::Ready(Ok(written))
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.out).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.out).poll_shutdown(context)
        }
    }

    #[async_trait]
    impl Bench for Terminal {
        async fn open(&mut self) -> Box<dyn Sink> {
            let path = self.0.path().join("out");
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            sink::stdout::open_writer(Slow { out: tokio::fs::File::from_std(file), asked: false })
        }

        async fn outside(&mut self) -> Vec<Bytes> {
            lines(&self.0.path().join("out"))
        }
    }

    fn run(case: impl AsyncFn(&mut dyn Bench)) {
        super::run(|| Terminal(tempfile::tempdir().unwrap()), case);
    }

    model::sink_conformance! { run: every, seen }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_fatal() {
        let (ours, theirs) = tokio::io::duplex(64);
        drop(theirs);
        let mut sink = sink::stdout::open_writer(ours);
        let value = Bytes::from_static(b"x");
        let offset = model::Origin::Numbered { number: 0, partition: 0 };
        let message = model::Message::from_source("in".into(), offset, value, model::Time::default());
        let error = sink.write(&[message], model::Time::UNKNOWN).await.unwrap_err();
        assert_eq!(error.class(), model::door::Class::Fatal);
        assert!(error.chain().starts_with("write to standard output: "), "{}", error.chain());
    }
}
