//! `down`: ends a site and waits until its process is gone, so that the next `up` finds its directory free.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use server::{Version, Watch};

use crate::args::site::DownArgs;
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome, say};
use crate::text::span;

/// How often the process is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Ends a site.
pub(super) async fn down(client: &Client, args: &DownArgs) -> Outcome {
    if client.is_hosted() {
        return Err(Failure::usage(anyhow!(
            "end a cluster: `down` is for sites; delete objects with `tidegate delete`"
        )));
    }
    let version: Version = client.get("/version").await?;
    let _: Watch = client.post("/shutdown", &()).await?;
    let asked = Instant::now();
    while is_alive(version.process) {
        if asked.elapsed() >= args.timeout {
            let process = version.process;
            say(format_args!(
                "tidegate: the site (process {process}) still ends after {}",
                span(args.timeout)
            ));
            return Ok(Exit::TimedOut);
        }
        tokio::time::sleep(LOOK).await;
    }
    writeln!(io::stdout(), "the site has ended; `tidegate up` goes on with its objects")?;
    Ok(Exit::Done)
}

/// Whether a process of ours exists and has not ended; one that has ended and that nobody has asked about still exists.
fn is_alive(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).ok().and_then(|text| {
        let after_name = text.rsplit_once(')')?.1;
        after_name.trim_start().chars().next()
    });
    state != Some('Z')
        && i32::try_from(process).is_ok_and(|process| kill(Pid::from_raw(process), None).is_ok())
}
