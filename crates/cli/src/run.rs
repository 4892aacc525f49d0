//! `tidegate run`: a manifest on this machine, from files to drained.
//!
//! What is needed is put together in [`prepare`], what is printed at the start in [`banner`], what happens until the end
//! in [`follow`]. Invariant: everything that can be refused is refused before the state directory is touched.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use platform::local::engine::{Config, Engine, Processes, Storage};
use platform::local::namespace::Launcher;
use platform::local::process::environment::Machine;
use platform::local::process::{Host, Line, Name, Starter};
use platform::local::program::Program;
use platform::local::state::{self, OnDifference, StateDir};

use crate::args::{Durability, LogFormat, RunArgs, RunOptions};
use crate::environment::Environment;
use crate::exit::{Failure, Outcome};
use crate::input::{self, Input};
use crate::isb::{IsbOptions, Streams};
use crate::logging;
use crate::screen::Screen;

mod banner;
mod follow;
mod metrics;
mod prepare;

use follow::Limits;
pub(crate) use follow::Signals;
use prepare::Prepared;

/// Runs the object in some files.
pub(crate) fn run(args: &RunArgs, environment: &Environment) -> Outcome {
    let inputs = input::read_all(&args.files).map_err(Failure::usage)?;
    run_inputs(&inputs, &args.options, environment)
}

/// Runs the object in files that were read.
pub(crate) fn run_inputs(inputs: &[Input], options: &RunOptions, environment: &Environment) -> Outcome {
    let screen = Screen::new(options.quiet, options.log_format);
    logging::start(&screen, (options.quiet, options.log_format), environment).map_err(Failure::usage)?;
    let prepared = prepare::prepare(inputs, options, environment)?;
    let state = open_state(&prepared, options, environment)?;
    let run_dir = environment.runtime_dir().join(state::run_dir_name(&state));
    state::make_private(&run_dir)?;
    let host = host(&prepared, &run_dir, options, &screen, environment)?;
    let state_path = state.path().to_owned();
    let is_resumed = state.is_resumed();
    let Prepared { object, programs, values, mut announcements, streams, .. } = prepared;
    let storage = storage(&options.isb, options.durability, streams.as_ref(), environment)?;
    let config = Config {
        object,
        values,
        state,
        run_dir: run_dir.clone(),
        host,
        machine: machine(),
        http_bind: options.http_bind,
        storage,
    };
    announcements.extend(exposed(options.http_bind));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::catch().context("listen for signals")?;
        let metrics = metrics::serve(options.metrics).await?;
        let starting = Engine::start(config, programs);
        let mut engine = tokio::select! {
            started = starting => started?,
            () = signals.next() => return Err(anyhow!("start: interrupted").into()),
        };
        let facts = banner::Facts {
            snapshot: engine.snapshot(),
            announcements: announcements.into_iter().chain(engine.announcements()).collect(),
            urls: engine.urls(),
            secured: prepared.secured,
            state: state_path,
            is_resumed,
            metrics: metrics.as_ref().map(metrics::Server::address),
            drain_timeout: options.drain_timeout,
        };
        screen.announce(&banner::lines(&facts));
        let limits = Limits { run_for: options.run_for, drain: options.drain_timeout };
        follow::follow(engine, &screen, limits, (signals, metrics)).await
    });
    runtime.shutdown_background();
    remove_sockets(&run_dir);
    outcome
}

/// Where frames and positions are kept, and what the user says of streams on a broker.
pub(crate) fn storage(
    isb: &IsbOptions,
    durability: Durability,
    streams: Option<&Streams>,
    environment: &Environment,
) -> Result<Storage, Failure> {
    let Some(mut server) = isb.broker.settings() else {
        return Ok(Storage::Journal(match durability {
            Durability::Disk => journal::Durability::Disk,
            Durability::Os => journal::Durability::Os,
        }));
    };
    if let Some(streams) = streams {
        server.streams = streams.config.clone();
    }
    let processes = if isb.isolate {
        let program = environment.own_binary.clone().context("find the program of this process")?;
        let mut variables = isb.broker.environment();
        variables.extend(streams.map(Streams::variable));
        Some(Processes { program, environment: variables })
    } else {
        None
    };
    Ok(Storage::Broker { server: Arc::new(server), processes })
}

fn open_state(
    prepared: &Prepared,
    options: &RunOptions,
    environment: &Environment,
) -> Result<StateDir, Failure> {
    let path = match &options.state_dir {
        Some(path) => path.clone(),
        None => default_state_dir(prepared, environment)?,
    };
    let on_difference = if options.force { OnDifference::Force } else { OnDifference::Refuse };
    StateDir::open(&path, &prepared.manifest, on_difference).map_err(Failure::usage)
}

fn default_state_dir(prepared: &Prepared, environment: &Environment) -> Result<PathBuf, Failure> {
    let home = environment.state_home().ok_or_else(|| {
        Failure::usage(anyhow!("find a place for the state: HOME is not set; give --state-dir DIR"))
    })?;
    Ok(home.join(state::default_name(&prepared.name, &prepared.place)))
}

/// What starts user code; when processes are to be started in views of their own, that is tried once.
fn host(
    prepared: &Prepared,
    run_dir: &Path,
    options: &RunOptions,
    screen: &Arc<Screen>,
    environment: &Environment,
) -> Result<Host, Failure> {
    let has_processes = prepared.programs.iter().any(|chosen| matches!(chosen.program, Program::Process(_)));
    let output = Output { screen: Arc::clone(screen), format: options.log_format, is_quiet: options.quiet };
    let launcher = launcher(options.open_paths, environment);
    if has_processes {
        try_out(launcher.as_ref(), run_dir)?;
    }
    host_with(launcher, output)
}

/// What starts user code of which nothing is known yet, so that it is tried at once.
pub(crate) fn host_for(
    run_dir: &Path,
    has_open_paths: bool,
    format: LogFormat,
    screen: &Arc<Screen>,
    environment: &Environment,
) -> Result<Host, Failure> {
    let launcher = launcher(has_open_paths, environment);
    try_out(launcher.as_ref(), run_dir)?;
    host_with(launcher, Output { screen: Arc::clone(screen), format, is_quiet: false })
}

fn launcher(has_open_paths: bool, environment: &Environment) -> Option<Launcher> {
    environment.own_binary.as_ref().filter(|_| !has_open_paths).map(|binary| Launcher::new(binary))
}

/// Starts something in a view of its own, to know that it can be done.
fn try_out(launcher: Option<&Launcher>, run_dir: &Path) -> Result<(), Failure> {
    if let Some(launcher) = launcher {
        let trial = run_dir.join("trial");
        state::make_private(&trial)?;
        launcher.try_out(&trial)?;
    }
    Ok(())
}

/// Where lines of user code are shown.
struct Output {
    screen: Arc<Screen>,
    format: LogFormat,
    is_quiet: bool,
}

fn host_with(launcher: Option<Launcher>, output: Output) -> Result<Host, Failure> {
    let Output { screen, format: log_format, is_quiet } = output;
    let echo = move |name: &Name, line: &Line| match log_format {
        _ if is_quiet => {}
        LogFormat::Text => screen.print(&format!("{name} | {}", line.text)),
        LogFormat::Json => tracing::info!(target: "user_code", container = %name, "{}", line.text),
    };
    let starter = Starter::new().context("start the thread that starts user code")?;
    Ok(Host { launcher, starter, echo: Arc::new(echo) })
}

/// How large this machine is. What cannot be told is not made up: user code then reads a size of 0.
pub(crate) fn machine() -> Machine {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes: Option<u64> = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    Machine { processors, memory_bytes: kilobytes.unwrap_or_default() * 1024 }
}

/// A warning when others can reach the sources.
fn exposed(bind: IpAddr) -> Option<String> {
    (!bind.is_loopback()).then(|| format!("HTTP sources listen on {bind}, where others can reach them"))
}

/// Sockets are of no use after the run. What cannot be removed is removed by the next one.
fn remove_sockets(run_dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(run_dir) {
        tracing::debug!(path = %run_dir.display(), %error, "the directory with the sockets stays");
    }
}
