//! Three NATS servers of a test that store everything three times. Invariant: at most one of them is away at a time, as
//! long as whoever kills one waits until it is well again.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Child;

use anyhow::{Context, Result};

use super::begin;
use crate::http::Client;
use crate::lab::{Lab, nats};
use crate::wait;

/// How many servers there are.
const SERVERS: usize = 3;

/// See the head of this file.
pub struct Cluster {
    members: Vec<Member>,
}

struct Member {
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    /// Where it says whether it is well.
    monitor: SocketAddr,
    child: Child,
}

/// Ports of the loopback that nobody uses at this moment, all different.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let bind = |_| TcpListener::bind("127.0.0.1:0");
    let listeners = (0..count).map(bind).collect::<std::io::Result<Vec<_>>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?)
}

impl Cluster {
    /// Starts the servers and waits until all are well; none, and noted, when there is no program.
    pub fn start(test: &str, lab: &Lab) -> Result<Option<Self>> {
        if nats(test).is_none() {
            return Ok(None);
        }
        let addresses = free_addresses(3 * SERVERS)?;
        let (clients, rest) = addresses.split_at(SERVERS);
        let (routes, monitors) = rest.split_at(SERVERS);
        let known: Vec<String> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
        let known = known.join(", ");
        let mut members = Vec::new();
        for number in 0..SERVERS {
            let (address, route, monitor) = (clients[number], routes[number], monitors[number]);
            let store = lab.path(&format!("nats{number}"));
            let config = format!(
                "server_name: n{number}\nlisten: \"{address}\"\nhttp: \"{monitor}\"\nmax_payload: 8MB\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always, max_file_store: 8GB }}\n\
                 cluster {{ name: three, listen: \"{route}\", routes: [{known}] }}\n",
                store.display()
            );
            let config = lab.write(&format!("nats{number}.conf"), &config)?;
            let log = lab.path(&format!("nats{number}.log"));
            let program = nats(test).context("find nats-server, which was there")?;
            let child = begin(program, &config, &log)?;
            members.push(Member { config, log, address, monitor, child });
        }
        let cluster = Self { members };
        cluster.is_well();
        Ok(Some(cluster))
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.members.len()
    }

    /// Their addresses.
    pub fn urls(&self) -> String {
        let urls: Vec<String> =
            self.members.iter().map(|member| format!("nats://{}", member.address)).collect();
        urls.join(",")
    }

    /// Kills one.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let child = &mut self.members[number].child;
        child.kill().context("kill nats-server")?;
        child.wait()?;
        Ok(())
    }

    /// Starts one that was killed on what is on its disk.
    pub fn revive(&mut self, number: usize) -> Result<()> {
        let member = &mut self.members[number];
        let program = nats("nats").context("find nats-server, which was there")?;
        member.child = begin(program, &member.config, &member.log)?;
        Ok(())
    }

    /// Waits until each server says that it has everything that it should have.
    pub fn is_well(&self) {
        for Member { monitor, log, .. } in &self.members {
            wait::until(&format!("a NATS server is well; its log is {}", log.display()), || {
                let answer = Client::connect(*monitor).ok()?.get("/healthz").ok()?;
                (answer.status == 200).then_some(())
            });
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Their stores go with the test.
            drop(member.child.kill());
            drop(member.child.wait());
        }
    }
}
