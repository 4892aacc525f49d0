//! Which cluster a command speaks to: flags before variables before what kubectl would take. Invariant: a kubeconfig that
//! somebody names is used or the command fails; nothing else is tried in its place.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use platform::kube::client::{self, Access, Client};
use platform::kube::place::Namespace;
use platform::local::state;
use server::{Listener, serve};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::controller::ClusterOption;
use crate::args::site::SiteOption;
use crate::client::Client as SiteClient;
use crate::environment::Environment;
use crate::exit::Failure;

/// A namespace of a cluster, served by this process to itself, so that a verb need not know which place it speaks to.
#[derive(Debug)]
pub(crate) struct Hosted {
    directory: PathBuf,
    _server: JoinSet<()>,
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::debug!(directory = %self.directory.display(), %error, "the directory of the socket stays");
        }
    }
}

/// Serves the namespace that flags name.
pub(crate) async fn host(site: &SiteOption, environment: &Environment) -> Result<SiteClient, Failure> {
    let client = connect(&site.cluster, environment).await?;
    let place = Arc::new(Namespace::new(client, site.namespace.as_deref()));
    let name = format!("tidegate-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let directory = environment.runtime_dir().join(name);
    state::make_private(&directory).context("make a directory for a socket")?;
    let socket = directory.join("api.sock");
    let listener =
        Listener::bind(Some(&socket), None).await.context("listen on a socket of this process's own")?;
    let mut server = JoinSet::new();
    server.spawn(async move {
        serve(place, listener, CancellationToken::new()).await;
    });
    Ok(SiteClient::of_hosted(socket, Hosted { directory, _server: server }))
}

/// A client of the cluster that is meant.
pub(crate) async fn connect(option: &ClusterOption, environment: &Environment) -> Result<Client, Failure> {
    client::connect(&access(option, environment)).await.map_err(Failure::usage)
}

fn access(option: &ClusterOption, environment: &Environment) -> Access {
    let ClusterOption { kubeconfig, context } = option;
    let of_variable = || {
        let text = environment.variable("KUBECONFIG")?;
        Some(text.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect::<Vec<_>>())
    };
    let named = kubeconfig.clone().map(|path| vec![path]).or_else(of_variable);
    let is_pod = environment.variable("KUBERNETES_SERVICE_HOST").is_some();
    match named {
        Some(paths) => Access::Kubeconfig { paths, context: context.clone() },
        None if is_pod && context.is_none() => Access::Pod,
        None => {
            let paths = environment.kubeconfig_default().into_iter().collect();
            Access::Kubeconfig { paths, context: context.clone() }
        }
    }
}
