//! How a cluster's API server is reached: by a kubeconfig or as a pod of the cluster. Nothing is read from the
//! environment but what a pod is given by its kubelet. Invariant: a client that is given back has been told every limit
//! on time that it needs; no request waits for ever.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

pub use kube::Client;

/// How long it may take to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a request may take to be written.
const WRITE_WITHIN: Duration = Duration::from_secs(15);

/// Which cluster, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By kubeconfig files, the first of which that says something about a name wins.
    Kubeconfig {
        /// The files; those that are not there are passed over.
        paths: Vec<PathBuf>,
        /// The context; none for the current one.
        context: Option<String>,
    },
    /// As the pod that this process runs in, with the rights of its service account.
    Pod,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the files is there.
    #[error("find a kubeconfig: there is none of {}; name one with --kubeconfig", list(paths))]
    NoFile {
        /// The files.
        paths: Vec<PathBuf>,
    },
    /// The files say nothing that makes sense.
    #[error("understand the kubeconfig {}", list(paths))]
    Kubeconfig {
        /// The files.
        paths: Vec<PathBuf>,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// This process is not in a pod with a service account.
    #[error("use the service account of this pod: name a kubeconfig with --kubeconfig outside of a cluster")]
    Pod(#[source] kube::config::InClusterError),
    /// The client cannot be made of what was found.
    #[error("make a client of the API server")]
    Client(#[source] Box<kube::Error>),
}

/// A client of a cluster. Nothing is asked of the cluster yet.
pub async fn connect(access: &Access) -> Result<Client, Error> {
    let mut config = match access {
        Access::Kubeconfig { paths, context } => of_files(paths, context.as_deref()).await?,
        Access::Pod => kube::Config::incluster().map_err(Error::Pod)?,
    };
    config.connect_timeout = Some(CONNECT_WITHIN);
    config.write_timeout = Some(WRITE_WITHIN);
    Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))
}

async fn of_files(paths: &[PathBuf], context: Option<&str>) -> Result<kube::Config, Error> {
    let failed = |source| Error::Kubeconfig { paths: paths.to_vec(), source: Box::new(source) };
    let mut found: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let next = Kubeconfig::read_from(path).map_err(failed)?;
        found = Some(match found {
            Some(before) => before.merge(next).map_err(failed)?,
            None => next,
        });
    }
    let found = found.ok_or_else(|| Error::NoFile { paths: paths.to_vec() })?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(found, &options).await.map_err(failed)
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: lab, cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}}
users:
- {name: admin, user: {token: secret}}
contexts:
- {name: one, context: {cluster: lab, user: admin, namespace: blue}}
- {name: two, context: {cluster: lab, user: admin, namespace: green}}
";

    fn access(paths: Vec<PathBuf>, context: Option<&str>) -> Access {
        Access::Kubeconfig { paths, context: context.map(str::to_owned) }
    }

    #[tokio::test]
    async fn a_context_says_which_namespace_is_meant() {
        let directory = tempfile::tempdir().unwrap();
        let (file, missing) = (directory.path().join("config"), directory.path().join("missing"));
        std::fs::write(&file, FILE).unwrap();
        for (context, namespace) in [(None, "blue"), (Some("two"), "green")] {
            let client = connect(&access(vec![missing.clone(), file.clone()], context)).await.unwrap();
            assert_eq!(client.default_namespace(), namespace);
        }
        let unknown = connect(&access(vec![file], Some("three"))).await.err().unwrap();
        assert!(unknown.to_string().starts_with("understand the kubeconfig"), "{unknown}");
    }

    #[tokio::test]
    async fn files_that_are_not_there_are_named() {
        let error = connect(&access(vec!["/a/config".into(), "/b/config".into()], None)).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "find a kubeconfig: there is none of /a/config, /b/config; name one with --kubeconfig"
        );
    }
}
