//! `tidegate up`: a site in this process, or in one of its own in the background.
//!
//! Invariant: what answers on the socket is a site that holds its directory, so that nobody is answered by one that cannot
//! work.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use platform::local::process::Host;
use platform::local::site::{Config, Loops, Site};
use platform::local::state;
use platform::place::Place;
use server::{Listener, Version, serve};
use tokio_util::sync::CancellationToken;

use crate::args::Durability;
use crate::args::site::UpArgs;
use crate::client::{Client, Target};
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome, say};
use crate::logging;
use crate::run;
use crate::screen::Screen;
use crate::site::read_files;

/// How long a site in the background may take until it answers.
const START: Duration = Duration::from_secs(30);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(50);
/// How much of its log is shown when it does not come up.
const LOG_BYTES_MAX: u64 = 4 * 1024;

/// Where a site is and answers.
struct Places {
    directory: PathBuf,
    socket: PathBuf,
}

/// Starts a site.
pub(crate) fn up(args: &UpArgs, environment: &Environment) -> Outcome {
    let places = places(args, environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let outcome = runtime.block_on(async {
        let client = Client::new(Target::Unix(places.socket.clone()));
        if let Ok(Version { process, .. }) = client.get("/version").await {
            return Err(Failure::usage(anyhow!(
                "start a site in {}: process {process} serves one at {}; end it with `tidegate down`, or give another \
                 --state-dir",
                places.directory.display(),
                places.socket.display()
            )));
        }
        if args.detach { background(args, &places, environment).await } else { foreground(args, &places, environment).await }
    });
    runtime.shutdown_background();
    outcome
}

fn places(args: &UpArgs, environment: &Environment) -> Result<Places, Failure> {
    let directory = match &args.state_dir {
        Some(directory) => environment.working_dir.join(directory),
        None => environment.site_dir().ok_or_else(|| {
            Failure::usage(anyhow!("find a place for the state: HOME is not set; give --state-dir DIR"))
        })?,
    };
    let socket = match &args.socket {
        Some(socket) => environment.working_dir.join(socket),
        None => environment.socket_of(&directory),
    };
    Ok(Places { directory, socket })
}

async fn foreground(args: &UpArgs, places: &Places, environment: &Environment) -> Outcome {
    if args.in_background {
        nix::unistd::setsid().context("leave the terminal")?;
    }
    let screen = Screen::new(false, args.log_format);
    logging::start(&screen, (false, args.log_format), environment).map_err(Failure::usage)?;
    let mut signals = run::Signals::catch().context("listen for signals")?;
    let apply = if args.files.is_empty() { None } else { Some(read_files(&args.files, environment)?) };
    let (site, loops) = open_site(args, places, &screen, environment)?;
    let listener = Listener::bind(Some(&places.socket), args.listen).await.map_err(Failure::usage)?;
    let address = listener.address();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(loops.run());
    if let Some(apply) = apply
        && let Err(refusal) = site.apply(apply).await
    {
        site.shut_down().await;
        while running.join_next().await.is_some() {}
        let lines = [vec![refusal.message], refusal.complaints].concat();
        return Err(Failure::usage(anyhow!("{}", lines.join("\n  "))));
    }
    let mut lines = vec![format!("a site answers at {}", places.socket.display())];
    lines.extend(address.map(|address| format!("  http: http://{address}/api/v2/objects")));
    lines.push(format!("  state: {}", places.directory.display()));
    lines.push("  try: tidegate apply FILE, tidegate get -w, tidegate top".to_owned());
    lines.push("  stop: Ctrl-C or `tidegate down`; objects go on with the next `tidegate up`".to_owned());
    screen.announce(&lines);
    let shutdown = CancellationToken::new();
    let serving = serve(site.clone(), listener, shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => {}
        () = signals.next() => {
            shutdown.cancel();
            serving.await;
        }
    }
    site.shut_down().await;
    while let Some(ended) = running.join_next().await {
        ended.context("end the site")?;
    }
    screen.announce(&["the site has ended; nothing acknowledged is lost".to_owned()]);
    Ok(Exit::Done)
}

/// The site itself, and the loops that make it go.
fn open_site(
    args: &UpArgs,
    places: &Places,
    screen: &Arc<Screen>,
    environment: &Environment,
) -> Result<(Arc<Site>, Loops), Failure> {
    let name = state::default_name("tidegate", &places.directory);
    let run_dir = environment.runtime_dir().join(name);
    state::make_private(&run_dir)?;
    let host: Host = run::host_for(&run_dir, args.open_paths, args.log_format, screen, environment)?;
    let config = Config {
        directory: places.directory.clone(),
        run_dir,
        host,
        machine: run::machine(),
        http_bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        storage: run::storage(&args.isb, Durability::Disk, None, environment)?,
    };
    Site::open(config).map_err(Failure::usage)
}

/// Starts the site in a process of its own, and waits until it answers.
async fn background(args: &UpArgs, places: &Places, environment: &Environment) -> Outcome {
    let binary = environment.own_binary.as_ref().context("find the program of this process")?;
    if let Some(parent) = places.directory.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    state::make_private(&places.directory)?;
    let log = places.directory.join("up.log");
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(&log);
    let file = file.as_mut().map_err(|error| anyhow!("open {}: {error}", log.display()))?;
    let began = file.seek(SeekFrom::End(0)).with_context(|| format!("read {}", log.display()))?;
    let (out, err) = (file.try_clone()?, file.try_clone()?);
    let mut command = Command::new(binary);
    command.arg("up").arg("--in-background");
    command.arg("--state-dir").arg(&places.directory).arg("--socket").arg(&places.socket);
    if let Some(listen) = args.listen {
        command.arg("--listen").arg(listen.to_string());
    }
    if args.open_paths {
        command.arg("--open-paths");
    }
    command.args(args.isb.arguments(environment));
    for file in &args.files {
        command.arg(environment.working_dir.join(file));
    }
    let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    let mut child = child.context("start the site in the background")?;
    let process = child.id();
    match come_up(&mut child, places).await {
        Ok(()) => {
            writeln!(io::stdout(), "socket: {}", places.socket.display())?;
            writeln!(io::stdout(), "process: {process}\nlog: {}", log.display())?;
            Ok(Exit::Done)
        }
        Err(error) => {
            say(last_lines(&log, began).trim_end());
            Err(error.into())
        }
    }
}

/// Waits until the process answers.
async fn come_up(child: &mut Child, places: &Places) -> anyhow::Result<()> {
    let client = Client::new(Target::Unix(places.socket.clone()));
    let began = Instant::now();
    loop {
        if let Ok(Version { process, .. }) = client.get("/version").await
            && process == child.id()
        {
            return Ok(());
        }
        if let Some(status) = child.try_wait().context("look at the site in the background")? {
            bail!("start a site in the background: it ended with {status}; the lines above are its last");
        }
        if began.elapsed() >= START {
            bail!(
                "start a site in the background: process {} does not answer after {} s",
                child.id(),
                START.as_secs()
            );
        }
        tokio::time::sleep(ASK).await;
    }
}

/// The end of what the site has logged since it began.
fn last_lines(log: &Path, began: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(began.max(size.saturating_sub(LOG_BYTES_MAX))))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("{} cannot be read: {error}", log.display()))
}
