//! The launcher's second half: it runs the program and stays as its parent.
//!
//! Signals to stop reach the whole process group from outside, so the launcher only has to outlive them. Invariant: the
//! program never outlives the process that asked for it: the kernel tells the launcher of that death, and the launcher
//! kills the group.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{getpgrp, getppid};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::{EXIT_SIGNAL_BASE, Error};

/// What the kernel sends when the asking process dies.
const ORPHANED: Signal = Signal::SIGUSR2;

/// Runs a program until it ends and returns its exit code.
pub(super) fn run(parent: u32, program: &OsString, args: &[OsString]) -> Result<u8, Error> {
    let failed = |source| Error::Program { program: program.clone(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut signals = Signals::catch().map_err(failed)?;
        set_pdeathsig(ORPHANED).map_err(|error| failed(error.into()))?;
        set_dumpable(false).map_err(|error| failed(error.into()))?;
        if getppid().as_raw().cast_unsigned() != parent {
            return Err(Error::Abandoned(program.clone()));
        }
        let mut child = Command::new(program).args(args).spawn().map_err(failed)?;
        loop {
            tokio::select! {
                ended = child.wait() => return Ok(exit_code(ended.map_err(failed)?)),
                // `None` cannot come while the runtime lives; if it did, only a stop would be missed.
                _ = signals.orphaned.recv() => {
                    killpg(getpgrp(), Signal::SIGKILL).map_err(|error| failed(error.into()))?;
                }
                _ = signals.terminate.recv() => {}
                _ = signals.interrupt.recv() => {}
                _ = signals.hang_up.recv() => {}
            }
        }
    })
}

/// Signals that would end the launcher before its program.
struct Signals {
    orphaned: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            orphaned: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code),
        (None, Some(number)) => u8::try_from(i32::from(EXIT_SIGNAL_BASE) + number),
        (None, None) => Ok(1),
    };
    code.unwrap_or(u8::MAX)
}
