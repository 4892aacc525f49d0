//! `get`: objects with everything below them, once or as they change.

use std::io::{self, Write};

use anyhow::Context;
use platform::view::Object;
use serde_json::Value;

use super::print_value;
use super::tree::{self, Detail};
use crate::args::site::{Form, GetArgs, GetForm};
use crate::client::{Client, Error, encode};
use crate::exit::{Exit, Failure, Outcome};
use crate::live::Live;

/// Prints objects.
pub(super) async fn get(client: &Client, args: &GetArgs) -> Outcome {
    let mut version = if args.watch { client.watch(0).await? } else { 0 };
    let mut live = Live::new();
    loop {
        let objects = objects(client, args.name.as_deref()).await?;
        match args.output {
            GetForm::Json => print_objects(Form::Json, args, &objects)?,
            GetForm::Yaml => print_objects(Form::Yaml, args, &objects)?,
            GetForm::Tree | GetForm::Wide | GetForm::Name => {
                let lines = lines(&objects, args.output);
                if args.watch {
                    let phases: Vec<&str> = objects.iter().map(|object| object.phase.as_str()).collect();
                    live.show(&lines, &lines, &phases.join("\n"))?;
                } else {
                    let mut out = io::stdout();
                    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
                }
            }
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        version = client.watch(version).await?;
        tokio::time::sleep(super::LOOK).await;
    }
}

/// One object or all.
pub(super) async fn objects(client: &Client, name: Option<&str>) -> Result<Vec<Object>, Error> {
    match name {
        Some(name) => Ok(vec![client.get(&format!("/objects/{}", encode(name))).await?]),
        None => client.get("/objects").await,
    }
}

fn lines(objects: &[Object], form: GetForm) -> Vec<String> {
    if objects.is_empty() && form != GetForm::Name {
        return vec!["there are no objects; apply some with `tidegate apply FILE`".to_owned()];
    }
    let detail = if form == GetForm::Wide { Detail::Wide } else { Detail::Short };
    let of = |object: &Object| match form {
        GetForm::Name => vec![object.name.clone()],
        _ => tree::lines(object, detail),
    };
    objects.iter().flat_map(of).collect()
}

fn print_objects(form: Form, args: &GetArgs, objects: &[Object]) -> Result<(), Failure> {
    let value = serde_json::to_value(objects).context("write objects as JSON")?;
    match (value, &args.name) {
        (Value::Array(mut one), Some(_)) if one.len() == 1 => print_value(form, &one.remove(0)),
        (all, _) => print_value(form, &all),
    }
}
