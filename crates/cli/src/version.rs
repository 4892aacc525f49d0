//! `tidegate version`.

use std::io::{self, Write};

use serde_json::json;

use crate::args::{VersionArgs, VersionFormat};
use crate::exit::{Exit, Outcome};

/// Prints the version, the API it speaks and the machine it was built for.
pub(crate) fn version(args: &VersionArgs) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    let text = match args.format {
        VersionFormat::Text => format!("tidegate {version} ({}, {system}/{processor})\n", api::API_VERSION),
        VersionFormat::Json => {
            let value = json!({
                "version": version, "apiVersion": api::API_VERSION, "os": system, "arch": processor,
            });
            format!("{value}\n")
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}
