//! `tidegate install`: prints what a cluster needs. What that is, is in the crate `deploy`. Invariant: nothing is printed
//! when a flag cannot be used, so that half an installation is never piped on.

use std::io::{self, Write};

use anyhow::{Context, ensure};
use api::names::check_label;
use api::schema::definition::Detail;
use deploy::{Scope, Settings};
use serde_json::json;

use crate::args::install::{Definitions, InstallArgs};
use crate::exit::{Exit, Failure, Outcome};

/// Prints the manifest.
pub(crate) fn install(args: &InstallArgs) -> Outcome {
    let settings = settings(args).map_err(Failure::usage)?;
    io::stdout().write_all(deploy::forms::manifest(&settings).as_bytes())?;
    Ok(Exit::Done)
}

fn settings(args: &InstallArgs) -> anyhow::Result<Settings> {
    let InstallArgs {
        namespace,
        namespaced,
        image,
        image_pull_policy,
        nats_image,
        nats_command,
        instance,
        replicas,
        definitions,
        no_webhook,
    } = args;
    check_label(namespace).with_context(|| format!("use the namespace {namespace:?}"))?;
    if !instance.is_empty() {
        check_label(instance).with_context(|| format!("use the instance {instance:?}"))?;
    }
    let defaults = Settings::new(if *namespaced { Scope::Namespaced } else { Scope::Cluster });
    let image = image.clone().unwrap_or_else(|| defaults.image.clone());
    for (flag, image) in [("--image", &image), ("--nats-image", nats_image)] {
        let is_image = !image.is_empty() && !image.contains(|c: char| c.is_whitespace() || c.is_control());
        ensure!(is_image, "use {flag} {image:?}: an image has a name without spaces, such as nats:2.12.7");
    }
    Ok(Settings {
        namespace: namespace.clone(),
        image,
        image_pull_policy: image_pull_policy.as_str().to_owned(),
        nats_image: nats_image.clone(),
        nats_command: nats_command.clone(),
        instance: instance.clone(),
        replicas: json!(replicas),
        definitions: match definitions {
            Definitions::Full => Some(Detail::Full),
            Definitions::Minimal => Some(Detail::Minimal),
            Definitions::None => None,
        },
        // A namespace that everybody has is nobody's to label.
        makes_namespace: namespace != "default",
        webhook: !no_webhook,
        ..defaults
    })
}
