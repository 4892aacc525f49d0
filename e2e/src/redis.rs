//! A Redis server of a test: on a socket in the test's directory, with nothing on disk; ended when dropped.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::wait;

/// See the head of this file.
pub struct Redis {
    child: Child,
    socket: PathBuf,
}

impl Redis {
    /// Starts a server and waits until it listens. `program` is what `lab::redis` gives.
    pub fn start(mut program: Command, lab: &Lab) -> Result<Self> {
        let socket = lab.path("redis.sock");
        let child = program
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(lab.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("start redis-server")?;
        let redis = Self { child, socket };
        wait::until("Redis listens", || UnixStream::connect(&redis.socket).ok());
        Ok(redis)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It keeps nothing, so there is nothing to finish.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
