//! `e2e --cluster`: the tests of e2e/tests/cluster on the cluster that kubectl speaks to. A controller is installed in a
//! namespace of its own, with a buffer service, and everything is removed at the end. Invariant: whatever the tests come to,
//! the namespace is deleted, unless somebody asked to keep it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo::{self, Workspace};

/// How long the installation may take.
const READY_WITHIN: &str = "--timeout=180s";
/// The buffer service of the tests. One server is enough for what they hold.
const BUFFER_SERVICE: &str = "
apiVersion: numaflow.numaproj.io/v1alpha1
kind: InterStepBufferService
metadata: {name: default}
spec: {jetstream: {version: latest, replicas: 1, containerTemplate: {resources: {requests: {cpu: 20m, memory: 32Mi}}}}}
";

/// Arguments of the tests on a cluster.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Run the tests that need a cluster, on the one that kubectl speaks to.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// The image of the controller and of what it starts; the nodes must have it or can pull it.
    #[arg(long, value_name = "IMAGE", default_value = "tidegate:latest")]
    image: String,
    /// The image with the user code of the tests, as `cargo xtask image --programs` makes it.
    #[arg(long, value_name = "IMAGE", default_value = "tidegate-e2e:latest")]
    programs: String,
    /// The namespace that is made and deleted.
    #[arg(long, value_name = "NAME", default_value = "tidegate-e2e")]
    namespace: String,
    /// Use a controller and a buffer service that look after the namespace already, and delete nothing.
    #[arg(long)]
    installed: bool,
    /// Leave everything as it is at the end.
    #[arg(long)]
    keep: bool,
}

/// Installs, tests, removes.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments, filter: Option<&str>) -> Result<()> {
    kubectl(&["version"], None)
        .context("speak to a cluster: kubectl has none, or is not there; set KUBECONFIG")?;
    if arguments.installed {
        return test(workspace, arguments, filter);
    }
    let outcome = install(workspace, arguments).and_then(|()| test(workspace, arguments, filter));
    if outcome.is_err() {
        show(&arguments.namespace);
    }
    if !arguments.keep {
        kubectl(
            &["delete", "namespace", &arguments.namespace, "--ignore-not-found", "--timeout=180s"],
            None,
        )?;
    }
    outcome
}

fn install(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    cargo::run(&mut cargo::command(&workspace.root, ["build", "--quiet", "--package", "tidegate-cli"]))?;
    let namespace = arguments.namespace.as_str();
    let mut command = Command::new(workspace.binary("debug", "tidegate"));
    command.args(["install", "--namespaced", "--namespace", namespace, "--image", &arguments.image]);
    let manifests = cargo::output(&mut command)?;
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&manifests))?;
    let available = "--for=condition=Available";
    kubectl(&["-n", namespace, "wait", available, "deployment", "--all", READY_WITHIN], None)?;
    kubectl(&["-n", namespace, "apply", "-f", "-"], Some(BUFFER_SERVICE))?;
    let running = "--for=jsonpath={.status.phase}=Running";
    kubectl(&["-n", namespace, "wait", running, "isbsvc/default", READY_WITHIN], None)
}

fn test(workspace: &Workspace, arguments: &Arguments, filter: Option<&str>) -> Result<()> {
    let mut command = cargo::command(&workspace.root, ["test", "--package", "e2e", "--test", "cluster"]);
    command.args(filter).args(["--", "--test-threads=1", "--nocapture"]);
    command
        .env("TIDEGATE_E2E_NAMESPACE", &arguments.namespace)
        .env("TIDEGATE_E2E_PROGRAMS", &arguments.programs);
    cargo::run(&mut command)
}

/// What somebody would look at who wonders why.
fn show(namespace: &str) {
    for words in [
        &["-n", namespace, "get", "pipelines,monovertices,vertices,isbsvc,pods"][..],
        &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"],
        &["-n", namespace, "logs", "deployment/numaflow-controller", "--tail=50"],
    ] {
        if let Err(error) = kubectl(words, None) {
            println!("{error:#}");
        }
    }
}

fn kubectl(words: &[&str], input: Option<&str>) -> Result<()> {
    let mut command = Command::new("kubectl");
    command.args(words).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let said = words.join(" ");
    let mut child = command.spawn().with_context(|| format!("start kubectl {said}"))?;
    if let Some(text) = input {
        let mut pipe = child.stdin.take().context("kubectl has an input")?;
        pipe.write_all(text.as_bytes()).with_context(|| format!("write to kubectl {said}"))?;
    }
    let status = child.wait().with_context(|| format!("wait for kubectl {said}"))?;
    ensure!(status.success(), "kubectl {said} failed");
    Ok(())
}
