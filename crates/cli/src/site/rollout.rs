//! `rollout` and `set`: what changes which version serves.

use std::io::{self, Write};

use platform::place::Wish;
use platform::view::History;

use super::{ask, client_of, print_for_programs, wait};
use crate::args::rollout::{HistoryArgs, RolloutCommand, RolloutStatusArgs, SetCommand, VertexArgs};
use crate::args::site::Goal;
use crate::client::encode;
use crate::environment::Environment;
use crate::exit::{Exit, Outcome};
use crate::text::table;

/// Shows or steers rollouts.
pub(super) async fn rollout(command: RolloutCommand, environment: &Environment) -> Outcome {
    let (target, wish, what) = match command {
        RolloutCommand::Status(args) => return status(&args, environment).await,
        RolloutCommand::History(args) => return history(&args, environment).await,
        RolloutCommand::Promote(args) => {
            let wish = Wish::Promote { vertex: args.target.vertex.clone(), full: args.full };
            (args.target, wish, if args.full { "goes on past all steps" } else { "goes on" })
        }
        RolloutCommand::Abort(target) => {
            let wish = Wish::Abort { vertex: target.vertex.clone() };
            (target, wish, "goes back to the version before")
        }
        RolloutCommand::Undo(args) => {
            let wish = Wish::Undo { vertex: args.target.vertex.clone(), to: args.to };
            (args.target, wish, "goes back to an earlier version")
        }
        RolloutCommand::Restart(target) => {
            let wish = Wish::Restart { vertex: target.vertex.clone() };
            (target, wish, "gets fresh workers")
        }
        RolloutCommand::Retry(target) => {
            let wish = Wish::Retry { vertex: target.vertex.clone() };
            (target, wish, "tries the version again")
        }
    };
    let VertexArgs { name, vertex: _, site } = target;
    ask(&client_of(&site, environment).await?, &name, &wish, what).await
}

async fn status(args: &RolloutStatusArgs, environment: &Environment) -> Outcome {
    let client = client_of(&args.site, environment).await?;
    if args.watch {
        return wait::until(&client, &args.name, Goal::RolledOut, args.timeout).await;
    }
    let object: platform::view::Object = client.get(&format!("/objects/{}", encode(&args.name))).await?;
    let mut out = io::stdout();
    writeln!(out, "{} {}", object.name, object.phase)?;
    for vertex in &object.vertices {
        let rollout = vertex.rollout.as_deref().unwrap_or("nothing rolls out");
        writeln!(out, "  {}: {rollout}, ready {}/{}", vertex.name, vertex.ready, vertex.desired)?;
        for revision in &vertex.revisions {
            let ready = revision.workers.iter().filter(|worker| worker.state == "Ready").count();
            writeln!(
                out,
                "    {}  {}  {}%  ready {ready}/{}",
                revision.revision,
                revision.role,
                revision.weight,
                revision.workers.len()
            )?;
        }
    }
    Ok(Exit::Done)
}

async fn history(args: &HistoryArgs, environment: &Environment) -> Outcome {
    let client = client_of(&args.site, environment).await?;
    let history: History = client.get(&format!("/objects/{}/history", encode(&args.name))).await?;
    if print_for_programs(&args.form, &history)? {
        return Ok(Exit::Done);
    }
    let mut rows = vec![["VERTEX", "NUMBER", "REVISION", "STATE", "WHY"].map(str::to_owned).to_vec()];
    for (vertex, entries) in &history {
        rows.extend(entries.iter().map(|entry| {
            let reason = entry.reason.clone().unwrap_or_default();
            vec![
                vertex.clone(),
                entry.number.to_string(),
                entry.revision.clone(),
                entry.state.clone(),
                reason,
            ]
        }));
    }
    let mut out = io::stdout();
    table(&rows).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(Exit::Done)
}

/// Sets what a container runs.
pub(super) async fn set(command: SetCommand, environment: &Environment) -> Outcome {
    let (args, is_image) = match command {
        SetCommand::Image(args) => (args, true),
        SetCommand::Exec(args) => (args, false),
    };
    let value = args.setting.value;
    let (image, exec) = if is_image { (Some(value), None) } else { (None, Some(value)) };
    let wish = Wish::Set { vertex: args.setting.vertex, container: args.setting.container, image, exec };
    ask(&client_of(&args.site, environment).await?, &args.name, &wish, "is changed").await
}
