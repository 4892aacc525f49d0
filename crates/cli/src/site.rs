//! The commands that speak to a site: which file does which, and what they share.
//!
//! Invariant: nothing here decides anything about objects; a command asks, shows and waits, and another caller of the API
//! sees the same.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use platform::place::Wish;
use platform::view::Object;
use serde::Serialize;

use crate::args::site::{Form, FormOption, Goal, SiteCommand, SiteOption};
use crate::client::{Client, Target, encode};
use crate::cluster;
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome};

mod apply;
mod diff;
mod down;
mod get;
mod logs;
mod rollout;
mod tell;
mod top;
mod tree;
mod wait;

pub(crate) use apply::read_files;

/// The shortest time between two looks at a site.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a command that speaks to a site.
pub(crate) fn run(command: SiteCommand, environment: &Environment) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(dispatch(command, environment))
}

async fn dispatch(command: SiteCommand, environment: &Environment) -> Outcome {
    let client = async |site: &SiteOption| client_of(site, environment).await;
    match command {
        SiteCommand::Apply(args) => apply::apply(&client(&args.site).await?, &args, environment).await,
        SiteCommand::Plan(args) => apply::plan(&client(&args.site).await?, &args, environment).await,
        SiteCommand::Diff(args) => diff::diff(&client(&args.site).await?, &args).await,
        SiteCommand::Get(args) => get::get(&client(&args.site).await?, &args).await,
        SiteCommand::Status(args) => wait::status(&client(&args.site).await?, &args).await,
        SiteCommand::Pause(args) => wait::pause(&client(&args.site).await?, &args).await,
        SiteCommand::Resume(args) => {
            let client = client(&args.site).await?;
            ask(&client, &args.name, &Wish::Resume, "resumes").await?;
            if !args.wait {
                return Ok(Exit::Done);
            }
            wait::until(&client, &args.name, Goal::Running, args.timeout).await
        }
        SiteCommand::Delete(args) => {
            let client = client(&args.site).await?;
            let path = format!("/objects/{}?force={}", encode(&args.name), args.force);
            let object: Object = client.delete(&path).await?;
            let how = if args.force { "is deleted at once" } else { "drains and is deleted then" };
            writeln!(io::stdout(), "{} {how}", object.name)?;
            let dropped = object.waiting.iter().filter(|waiting| waiting.reason == plan::lifecycle::DROPPED);
            for waiting in dropped {
                writeln!(io::stdout(), "{}", waiting.message)?;
            }
            if !args.wait {
                return Ok(Exit::Done);
            }
            wait::until(&client, &args.name, Goal::Gone, args.timeout).await
        }
        SiteCommand::Scale(args) => {
            let wish = Wish::Scale { vertex: args.vertex, replicas: args.replicas.0 };
            let what = match args.replicas.0 {
                Some(count) => format!("is scaled to {count}"),
                None => "is scaled by the autoscaler".to_owned(),
            };
            ask(&client(&args.site).await?, &args.name, &wish, &what).await
        }
        SiteCommand::Rollout(command) => rollout::rollout(command, environment).await,
        SiteCommand::Set(command) => rollout::set(command, environment).await,
        SiteCommand::Logs(args) => logs::logs(&client(&args.site).await?, args).await,
        SiteCommand::Events(args) => tell::events(&client(&args.site).await?, &args).await,
        SiteCommand::Errors(args) => tell::errors(&client(&args.site).await?, &args).await,
        SiteCommand::Why(args) => tell::why(&client(&args.site).await?, &args).await,
        SiteCommand::Top(args) => top::top(&client(&args.site).await?, &args).await,
        SiteCommand::Down(args) => down::down(&client(&args.site).await?, &args).await,
    }
}

/// The site or cluster that flags name, or the default site.
async fn client_of(site: &SiteOption, environment: &Environment) -> Result<Client, Failure> {
    if site.is_cluster() {
        return cluster::host(site, environment).await;
    }
    if let Some(text) = &site.local {
        return Ok(Client::new(Target::parse(text)?));
    }
    let directory = environment
        .site_dir()
        .ok_or_else(|| Failure::usage(anyhow!("find the site: HOME is not set; give --local SOCKET")))?;
    Ok(Client::new(Target::Unix(environment.socket_of(&directory))))
}

/// Asks something of an object and says that it was accepted.
async fn ask(client: &Client, name: &str, wish: &Wish, what: &str) -> Outcome {
    let object: Object = client.post(&format!("/objects/{}/wishes", encode(name)), wish).await?;
    writeln!(io::stdout(), "{} {what}", object.name)?;
    Ok(Exit::Done)
}

/// Prints a value in a form for programs; false when none is wanted.
fn print_for_programs(form: &FormOption, value: &impl Serialize) -> Result<bool, Failure> {
    let Some(form) = form.output else { return Ok(false) };
    let value = serde_json::to_value(value).context("write the answer as JSON")?;
    print_value(form, &value)?;
    Ok(true)
}

fn print_value(form: Form, value: &serde_json::Value) -> Result<(), Failure> {
    let text = match form {
        Form::Json => format!("{value:#}\n"),
        Form::Yaml => api::yaml::to_yaml(value),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// A path as text that a site can use from another directory.
fn absolute(path: &Path, environment: &Environment) -> String {
    environment.working_dir.join(path).display().to_string()
}
