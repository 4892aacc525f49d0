//! Where the processes of a cluster listen, as their environment says it. Invariant: a port that cannot be had stops the
//! start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, anyhow};
use server::secure::Port;

use crate::environment::Environment;

/// The address that `TIDEGATE_BIND` names; none for all of this machine.
pub(crate) fn bind_address(environment: &Environment) -> Result<Option<IpAddr>> {
    let Some(text) = environment.variable("TIDEGATE_BIND") else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| anyhow!("understand TIDEGATE_BIND={text}: it is the address of a network"))
}

/// Listens on a port: of one address, or of all that this machine has.
pub(crate) async fn listen(address: Option<IpAddr>, port: u16) -> Result<Port> {
    if let Some(address) = address {
        return Ok(Port::bind(SocketAddr::new(address, port)).await?);
    }
    // Takes callers of both families where there are two.
    if let Ok(port) = Port::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)).await {
        return Ok(port);
    }
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    Port::bind(address).await.with_context(|| format!("serve port {port}"))
}
