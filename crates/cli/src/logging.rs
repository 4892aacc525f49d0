//! Where log lines go: ours to standard error, what the sink `log` writes to standard output.
//!
//! Invariant: every line goes through the screen, so a live view on the same terminal is never torn.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use connect::sink::log::TARGET as SINK;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

use crate::args::LogFormat;
use crate::environment::Environment;
use crate::screen::Screen;

/// Starts logging for the rest of the process.
pub(crate) fn start(
    screen: &Arc<Screen>,
    (is_quiet, format): (bool, LogFormat),
    environment: &Environment,
) -> Result<()> {
    let default = if is_quiet { "error" } else { "warn" };
    let filter = match &environment.log_filter {
        Some(text) => EnvFilter::try_new(text).with_context(|| format!("understand RUST_LOG={text}"))?,
        None => EnvFilter::try_new(format!("{default},user_code=info,run=info,tidegate_platform::kube=info"))
            .context("make the log filter")?,
    };
    let ours = tracing_subscriber::fmt::layer().with_writer(Writer(Arc::clone(screen)));
    let ours = match format {
        LogFormat::Text => ours.with_target(false).with_ansi(screen.is_live()).boxed(),
        LogFormat::Json => ours.json().flatten_event(true).boxed(),
    };
    let ours = ours.with_filter(filter).with_filter(filter_fn(|metadata| metadata.target() != SINK));
    let sink = SinkLines(Arc::clone(screen)).with_filter(filter_fn(|metadata| metadata.target() == SINK));
    registry().with(ours).with(sink.with_filter(LevelFilter::INFO)).try_init().context("start logging")
}

/// What the sink `log` writes, as it is.
struct SinkLines(Arc<Screen>);

impl<S: Subscriber> Layer<S> for SinkLines {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.print_result(&text.0);
    }
}

/// The message of an event.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Passes formatted lines to the screen.
struct Writer(Arc<Screen>);

impl<'a> MakeWriter<'a> for Writer {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(&self.0)
    }
}

struct LineWriter<'a>(&'a Screen);

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.print(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
