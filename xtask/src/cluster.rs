//! `e2e --cluster`: the tests of e2e/tests/cluster on the cluster that kubectl speaks to. A controller is installed in a
//! namespace of its own, with a buffer service, and everything is removed at the end. Invariant: whatever the tests come to,
//! the namespace is deleted, unless somebody asked to keep it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::cargo::{self, Workspace};
use crate::image;
use crate::suite::{Tally, follow};

/// How long the installation may take.
const READY_WITHIN: &str = "--timeout=180s";
/// How long objects may take to go.
const GONE_WITHIN: &str = "--timeout=60s";
/// Kinds that use buffer services, and the services.
const USERS: &str = "pipelines,monovertices";
const SERVICES: &str = "isbsvc";
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
    /// Make both images first, of what the tests are built of, and run this with the name and the directory of each as its
    /// last arguments, such as "docker build -t"; without it, the nodes must have them or can pull them.
    #[arg(long, value_name = "COMMAND", requires = "cluster")]
    with: Option<String>,
    /// The image of the controller and of what it starts.
    #[arg(long, value_name = "IMAGE", default_value = "tidegate:latest")]
    image: String,
    /// The image with the user code of the tests, as `cargo xtask image --programs` makes it.
    #[arg(long, value_name = "IMAGE", default_value = "tidegate-e2e:latest")]
    programs: String,
    /// The image of NATS servers, as `tidegate install` takes it; for a cluster that cannot pull the usual one.
    #[arg(long, value_name = "IMAGE", requires = "cluster")]
    nats_image: Option<String>,
    /// The program in that image.
    #[arg(long, value_name = "COMMAND", requires = "nats_image")]
    nats_command: Option<String>,
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
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments, filters: &[String]) -> Result<()> {
    kubectl(&["version"], None)
        .context("speak to a cluster: kubectl has none, or is not there; set KUBECONFIG")?;
    match &arguments.with {
        Some(builder) => {
            for image in image::Arguments::for_tests(&arguments.image, &arguments.programs, builder) {
                image::run(&image)?;
            }
        }
        None => cargo::run(&mut cargo::command(&workspace.root, ["build", "--workspace", "--all-targets"]))?,
    }
    if arguments.installed {
        return test(workspace, arguments, filters);
    }
    let begun = Instant::now();
    let outcome = install(workspace, arguments).and_then(|()| {
        println!("installed in {:.1} s", begun.elapsed().as_secs_f64());
        test(workspace, arguments, filters)
    });
    if outcome.is_err() {
        show(&arguments.namespace);
    }
    if !arguments.keep {
        remove(&arguments.namespace)?;
    }
    outcome
}

/// Removes the namespace. Its objects go first, because they wait for a controller, which goes with the namespace.
fn remove(namespace: &str) -> Result<()> {
    let own = |words: &[&str]| kubectl(&[&["-n", namespace], words].concat(), None);
    // Whatever a test has left behind needs no drain.
    let force = ["annotate", "--overwrite", "--all", USERS, "tidegate.io/deletion=force"];
    let outcome = own(&force)
        .and_then(|()| own(&["delete", "--all", USERS, GONE_WITHIN]))
        .and_then(|()| own(&["delete", "--all", SERVICES, GONE_WITHIN]));
    if let Err(error) = outcome {
        println!("the controller does not let go of its objects, so they are taken from it: {error:#}");
        let kinds = format!("{USERS},{SERVICES}");
        let mut list = Command::new("kubectl");
        let names = cargo::output(list.args(["-n", namespace, "get", &kinds, "-o", "name"]))?;
        for name in names.lines() {
            own(&["patch", name, "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#])?;
        }
    }
    kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s"], None)
}

fn install(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let namespace = arguments.namespace.as_str();
    let mut command = Command::new(workspace.binary("debug", "tidegate"));
    command.args(["install", "--namespaced", "--namespace", namespace, "--image", &arguments.image]);
    command.args(arguments.nats_image.iter().flat_map(|image| ["--nats-image", image]));
    command.args(arguments.nats_command.iter().flat_map(|command| ["--nats-command", command]));
    let manifests = cargo::output(&mut command)?;
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&manifests))?;
    let available = "--for=condition=Available";
    kubectl(&["-n", namespace, "wait", available, "deployment", "--all", READY_WITHIN], None)?;
    kubectl(&["-n", namespace, "apply", "-f", "-"], Some(BUFFER_SERVICE))?;
    let healthy = "--for=condition=ChildrenResourcesHealthy";
    kubectl(&["-n", namespace, "wait", healthy, "isbsvc/default", READY_WITHIN], None)
}

fn test(workspace: &Workspace, arguments: &Arguments, filters: &[String]) -> Result<()> {
    // The whole workspace, because a choice of packages would choose other features and build everything twice.
    let mut command = cargo::command(&workspace.root, ["test", "--workspace", "--test", "cluster"]);
    command.args(["--", "--test-threads=1", "--nocapture"]).args(filters);
    command
        .env("TIDEGATE_BIN", workspace.binary("debug", "tidegate"))
        .env("TIDEGATE_E2E_NAMESPACE", &arguments.namespace)
        .env("TIDEGATE_E2E_IMAGE", &arguments.image)
        .env("TIDEGATE_E2E_PROGRAMS", &arguments.programs);
    let mut tally = Tally::default();
    let line = cargo::line(&command);
    ensure!(follow(&mut command, &mut tally)?, "`{line}` did not succeed");
    // A filter that names nothing, because a test has got another name, would pass in silence.
    let wanted = u64::try_from(filters.len()).unwrap_or(u64::MAX).max(1);
    ensure!(tally.passed >= wanted, "{} tests ran for {wanted} filters: {filters:?}", tally.passed);
    Ok(())
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
