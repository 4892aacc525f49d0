//! A life of a worker in a process of its own: the process is started with everything it needs in its environment, its
//! orders go out and its reports come in as notes on the broker.
//!
//! User code is looked after here as for any other worker; the process finds its sockets. Invariant: a report counts only
//! if it is of the life that was started for it, so that what a former process left behind orders nothing and holds
//! nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connect::incident::Incident;
use model::Incarnation;
use model::door::mail::{Change, Mail, Watch};
use model::door::{Class, chain};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use worker::Hand;
use worker::link::{self, Remote, Report};

use super::Object;
use super::member::{End, Life, Member, Phase};
use super::parts::Here;
use crate::local::program::Program;
use crate::local::secrets::Kind;

/// After so long without a word a worker counts as silent.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(5);
/// The wait before notes are looked for again that could not be.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// How workers become processes.
#[derive(Clone)]
pub struct Processes {
    /// The program, which is started with `processor` as its only argument.
    pub program: PathBuf,
    /// How it reaches the broker, as environment variables.
    pub environment: Vec<(String, String)>,
}

/// Everything a life apart needs beside its member.
pub(super) struct Apart<'a> {
    pub(super) here: &'a Here,
    pub(super) processes: &'a Processes,
    pub(super) mail: Arc<dyn Mail>,
    /// Where the sockets of each container are.
    pub(super) directories: &'a BTreeMap<String, PathBuf>,
}

impl Member {
    /// One life of the worker in a process of its own.
    pub(super) async fn life_apart(&self, apart: Apart<'_>) -> End {
        let incarnation = apart.here.next_incarnation();
        let (orders, reports) = {
            let worker = self.name.to_string();
            (link::orders_key(&self.vertex, &worker), link::report_key(&self.vertex, &worker))
        };
        let mut watch = match apart.mail.watch(&reports).await {
            Ok(watch) => watch,
            Err(error) => return End::Failed(error.chain()),
        };
        let mut child = match self.start(&apart, incarnation) {
            Ok(child) => child,
            Err(why) => return End::Failed(why),
        };
        let end = tokio::select! {
            remote = self.first_report(&mut watch, incarnation) => {
                let remote = Arc::new(Remote::new(remote));
                self.lead(&remote, (&mut watch, &mut child), (apart.mail.as_ref(), &orders)).await
            }
            status = child.wait() => End::Failed(ended(&status)),
            _ = self.told() => End::Stopped,
        };
        if let Err(error) = child.kill().await {
            tracing::warn!(vertex = %self.vertex, %error, "a process cannot be ended");
        }
        for key in [&orders, &reports] {
            if let Err(error) = apart.mail.remove(key).await {
                tracing::debug!(key, error = error.chain(), "a note is left behind");
            }
        }
        self.shown.end_life();
        end
    }

    /// Waits for the first word of this life.
    async fn first_report(&self, watch: &mut Box<dyn Watch>, incarnation: Incarnation) -> Report {
        loop {
            if let Some(report) = next_report(watch).await
                && report.incarnation == incarnation
            {
                return report;
            }
        }
    }

    /// From the first word of a worker to its end.
    async fn lead(
        &self,
        remote: &Arc<Remote>,
        (watch, child): (&mut Box<dyn Watch>, &mut Child),
        (mail, orders): (&dyn Mail, &str),
    ) -> End {
        let life = Life { incarnation: remote.incarnation(), handle: remote.clone() };
        let urls = remote.last().standing.urls;
        self.shown.change(|inner| {
            (inner.life, inner.phase) = (Some(life), Phase::Working);
            (inner.has_opened, inner.urls) = (true, urls);
        });
        let notes = async {
            tokio::join!(self.listen(remote, watch), remote.write(mail, orders));
        };
        tokio::pin!(notes);
        let told = tokio::select! {
            () = &mut notes => unreachable!("notes are passed for as long as somebody waits for them"),
            status = child.wait() => return End::Failed(ended(&status)),
            within = self.told() => within,
        };
        remote.stop();
        let deadline = Instant::now() + told;
        let ending = async {
            tokio::select! {
                _ = child.wait() => {}
                () = tokio::time::sleep_until(deadline) => {}
                within = self.cut() => {
                    remote.cut();
                    // Whoever does not end in time is ended by the caller.
                    drop(tokio::time::timeout(within, child.wait()).await);
                }
            }
        };
        tokio::select! {
            () = &mut notes => unreachable!("notes are passed for as long as somebody waits for them"),
            () = ending => End::Stopped,
        }
    }

    /// Takes in what the worker says, for as long as it lives.
    async fn listen(&self, remote: &Remote, watch: &mut Box<dyn Watch>) {
        let mut told = 0;
        loop {
            match tokio::time::timeout(SILENT_AFTER, next_report(watch)).await {
                Err(_) => self.is_silent(),
                Ok(Some(report)) if remote.hear(report.clone()) => {
                    self.note_incidents(&report, &mut told);
                    let is_exhausted = report.standing.is_exhausted;
                    self.shown.enter(if is_exhausted { Phase::Exhausted } else { Phase::Working });
                }
                Ok(_) => {}
            }
        }
    }

    /// Nothing was heard of the worker for [`SILENT_AFTER`].
    pub(super) fn is_silent(&self) {
        let why = format!("nothing was heard of its process for {SILENT_AFTER:?}");
        self.shown.enter(Phase::Failing(why));
    }

    /// Takes note of errors in a report that came after the `told` first ones of its life.
    pub(super) fn note_incidents(&self, report: &Report, told: &mut u64) {
        let Report { notices, notices_total, .. } = report;
        let fresh = usize::try_from(notices_total.saturating_sub(*told)).unwrap_or(usize::MAX);
        *told = *notices_total;
        for notice in &notices[notices.len().saturating_sub(fresh)..] {
            self.incidents.report(incident(notice));
        }
    }

    /// Starts the process.
    fn start(&self, apart: &Apart<'_>, incarnation: Incarnation) -> Result<Child, String> {
        let secrets = apart.here.run_dir.join(format!("{}.s", incarnation.0));
        let failed = |error: &dyn std::error::Error| format!("prepare its process: {}", chain(error));
        self.write_secrets(&secrets).map_err(|error| failed(&error))?;
        let mut command = Command::new(&apart.processes.program);
        command.arg("processor").env_clear().envs(self.environment(apart, incarnation, &secrets));
        let reads_input = self.kept.part().source.is_some_and(|source| source.stdin.is_some());
        command.stdin(if reads_input { Stdio::inherit() } else { Stdio::null() }).kill_on_drop(true);
        command.spawn().map_err(|error| failed(&error))
    }

    /// What the process has to know.
    fn environment(
        &self,
        apart: &Apart<'_>,
        incarnation: Incarnation,
        secrets: &Path,
    ) -> Vec<(String, String)> {
        let object = match &self.kept.version.object {
            Object::Pipeline(pipeline) => json!(***pipeline),
            Object::Mono(mono) => json!(***mono),
        };
        let pairs = |entries: Vec<String>| entries.join(",");
        let sockets = apart.directories.iter().map(|(name, path)| format!("{name}={}", path.display()));
        let programs = self.kept.version.programs.iter();
        let stand_ins = programs.filter_map(|chosen| match &chosen.program {
            Program::StandIn { image } => Some(format!("{}={image}", chosen.container.name)),
            Program::Process(_) => None,
        });
        let own = [
            ("NUMAFLOW_PIPELINE_OBJECT", STANDARD.encode(object.to_string())),
            ("NUMAFLOW_NAMESPACE", self.parts.pipeline.namespace.clone()),
            ("NUMAFLOW_PIPELINE_NAME", self.parts.pipeline.name.clone()),
            ("NUMAFLOW_VERTEX_NAME", self.vertex.to_string()),
            ("NUMAFLOW_REPLICA", self.replica.to_string()),
            ("TIDEGATE_WORKER", self.name.to_string()),
            ("TIDEGATE_INCARNATION", incarnation.0.to_string()),
            ("TIDEGATE_SOCKETS", pairs(sockets.collect())),
            ("TIDEGATE_STAND_INS", pairs(stand_ins.collect())),
            ("TIDEGATE_SECRETS_DIR", secrets.display().to_string()),
            ("TIDEGATE_HTTP_BIND", apart.here.http_bind.to_string()),
            ("TIDEGATE_PORTS", "off".to_owned()),
            ("TIDEGATE_PARENT", std::process::id().to_string()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        own.chain(apart.processes.environment.iter().cloned()).collect()
    }

    /// Puts the secrets where only this user can read them.
    fn write_secrets(&self, directory: &Path) -> io::Result<()> {
        for (name, key, value) in self.kept.version.values.of(Kind::Secret).iter() {
            let place = directory.join(name);
            fs::create_dir_all(&place)?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(place.join(key))?;
            file.write_all(value.as_bytes())?;
        }
        Ok(())
    }
}

/// The next report that can be read; none when notes cannot be looked at for a while.
async fn next_report(watch: &mut Box<dyn Watch>) -> Option<Report> {
    next_note(watch).await.and_then(|(_, report)| report)
}

/// The next report that can be read, or that a report was taken away, with its key; none when notes cannot be looked at
/// for a while.
pub(super) async fn next_note(watch: &mut Box<dyn Watch>) -> Option<(String, Option<Report>)> {
    match watch.next().await {
        Ok(Change { key, note: Some(note) }) => match Report::decode(&note) {
            Ok(report) => Some((key, Some(report))),
            Err(error) => {
                tracing::warn!(key, error = error.chain(), "a report that cannot be read is passed over");
                None
            }
        },
        Ok(Change { key, note: None }) => Some((key, None)),
        Err(error) => {
            tracing::debug!(error = error.chain(), "reports cannot be looked for");
            if error.class() == Class::Fatal {
                tokio::time::sleep(AGAIN).await;
            }
            None
        }
    }
}

fn ended(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("keep its process running: it ended with {status}; its log says why"),
        Err(error) => format!("wait for its process: {error}"),
    }
}

fn incident(notice: &link::Notice) -> Incident {
    let link::Notice { container, code, message, details, messages, at_millis: _ } = notice.clone();
    Incident { container, code: code.into(), message, details, messages, at: notice.at() }
}
