//! Which cluster a command speaks to: flags before variables before what kubectl would take. Invariant: a kubeconfig that
//! somebody names is used or the command fails; nothing else is tried in its place.

use std::path::PathBuf;

use platform::kube::client::{self, Access, Client};

use crate::args::controller::ClusterOption;
use crate::environment::Environment;
use crate::exit::Failure;

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
