//! A process group: a program and everything it started that did not leave the group.
//!
//! Invariant: the group is killed when the value is dropped, so a supervisor that vanishes leaves nothing behind.

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The group that a process leads.
pub(super) struct Group {
    leader: u32,
    is_killed: bool,
}

impl Group {
    /// The group of a process that was started as a leader.
    pub(super) fn of(leader: u32) -> Self {
        Self { leader, is_killed: false }
    }

    pub(super) fn id(&self) -> u32 {
        self.leader
    }

    pub(super) fn terminate(&self) {
        self.send(Signal::SIGTERM);
    }

    /// Kills every member, once: the number may belong to somebody else after that.
    pub(super) fn kill(&mut self) {
        if !self.is_killed {
            self.is_killed = true;
            self.send(Signal::SIGKILL);
        }
    }

    fn send(&self, signal: Signal) {
        match killpg(Pid::from_raw(self.leader.cast_signed()), signal) {
            // A group without members is what a kill is meant to lead to.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                tracing::warn!(group = self.leader, signal = signal.as_str(), %error, "signal not delivered");
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
