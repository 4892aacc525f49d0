//! `tidegate controller`: looks after the objects of a cluster until it is told to stop. What it does is in
//! `platform::kube`; here are flags and variables. Invariant: a variable that cannot be understood stops the start.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use platform::kube::controller::{self, Config, LeasePlace};
use platform::kube::lease::Timing;
use platform::kube::render::Settings;
use platform::kube::webhook;
use tokio_util::sync::CancellationToken;

use crate::args::controller::ControllerArgs;
use crate::cluster;
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome};
use crate::logging;
use crate::run::Signals;
use crate::screen::Screen;

/// The namespace of an installation that nobody has named.
const NAMESPACE: &str = deploy::names::NAMESPACE;
/// The lease that controllers of the same objects share, the reference's included.
const LEASE: &str = deploy::names::LEASE;
/// Runs the controller.
pub(crate) fn controller(args: &ControllerArgs, environment: &Environment) -> Outcome {
    let screen = Screen::new(true, args.log_format);
    logging::start(&screen, (false, args.log_format), environment).map_err(Failure::usage)?;
    let config = config(args, environment).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::catch().context("listen for signals")?;
        let client = cluster::connect(&args.cluster, environment).await?;
        let stop = CancellationToken::new();
        let running = controller::run(client, config, stop.clone());
        tokio::pin!(running);
        tokio::select! {
            outcome = &mut running => outcome?,
            () = signals.next() => {
                stop.cancel();
                running.await?;
            }
        }
        Ok(Exit::Done)
    });
    runtime.shutdown_background();
    outcome
}

fn config(args: &ControllerArgs, environment: &Environment) -> Result<Config> {
    let get = |name: &str| environment.variable(name);
    let image = args.image.clone().or_else(|| get("NUMAFLOW_IMAGE"));
    let image = image.context("find the image of pods: give --image, or set NUMAFLOW_IMAGE")?;
    let own = get("NAMESPACE").unwrap_or_else(|| NAMESPACE.to_owned());
    let namespaced = args.namespaced || switch(environment, "NUMAFLOW_CONTROLLER_NAMESPACED")?;
    let managed = args.managed_namespace.clone().or_else(|| get("NUMAFLOW_CONTROLLER_MANAGED_NAMESPACE"));
    let namespace = namespaced.then(|| managed.unwrap_or_else(|| own.clone()));
    let elects = !args.no_leader_election && !switch(environment, "NUMAFLOW_LEADER_ELECTION_DISABLED")?;
    let operator = platform::kube::config::Config::load(&args.config)?;
    let lease = LeasePlace {
        namespace: namespace.clone().unwrap_or(own),
        name: match operator.instance.as_str() {
            "" => LEASE.to_owned(),
            instance => format!("{LEASE}-{instance}"),
        },
        timing: timing(environment)?,
    };
    // A pod has one controller at a time: one that is started again in it is still the one that acts.
    let identity = get("POD_NAME").unwrap_or_else(|| {
        let host = get("HOSTNAME").unwrap_or_else(|| "tidegate".to_owned());
        format!("{host}_{:08x}", fastrand::u32(..))
    });
    Ok(Config {
        namespace,
        settings: Settings {
            image,
            image_pull_policy: args.image_pull_policy.clone().or_else(|| get("NUMAFLOW_IMAGE_PULL_POLICY")),
            resources: operator.container_resources.clone(),
            instance: Some(operator.instance.clone()).filter(|instance| !instance.is_empty()),
        },
        identity,
        lease: elects.then_some(lease),
        webhook: webhook(environment)?,
        probes_port: args.probes_port,
        operator,
        operator_file: args.config.clone(),
    })
}

/// The webhook of an installation that registers one.
fn webhook(environment: &Environment) -> Result<Option<webhook::Place>> {
    let Some(registration) = environment.variable("TIDEGATE_WEBHOOK").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let namespace = environment.variable("NAMESPACE");
    let namespace =
        namespace.context("find the Service of the webhook: set NAMESPACE to the controller's own")?;
    Ok(Some(webhook::Place { namespace, registration, port: deploy::names::ports::WEBHOOK }))
}

fn timing(environment: &Environment) -> Result<Timing> {
    let mut timing = Timing::default();
    for (name, field) in [
        ("NUMAFLOW_LEADER_ELECTION_LEASE_DURATION", &mut timing.duration),
        ("NUMAFLOW_LEADER_ELECTION_LEASE_RENEW_DEADLINE", &mut timing.renew_within),
        ("NUMAFLOW_LEADER_ELECTION_LEASE_RENEW_PERIOD", &mut timing.retry),
    ] {
        if let Some(text) = environment.variable(name) {
            let parsed: api::Duration =
                text.parse().map_err(|_| anyhow!("understand {name}={text}: 15s is a duration"))?;
            *field = Duration::from_nanos(u64::try_from(parsed.as_nanos()).unwrap_or_default());
        }
    }
    if !timing.is_safe() {
        bail!(
            "use the times of the lease {:?} > {:?} > {:?}: each has to be longer than the next",
            timing.duration,
            timing.renew_within,
            timing.retry
        );
    }
    Ok(timing)
}

fn switch(environment: &Environment, name: &str) -> Result<bool> {
    match environment.variable(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(text) => bail!("understand {name}={text}: true or false"),
    }
}
