//! `top`: every vertex of every object in one table.

use std::io::{self, Write};
use std::time::Duration;

use platform::view::Object;

use super::get::objects;
use crate::args::site::TopArgs;
use crate::client::Client;
use crate::exit::{Exit, Outcome};
use crate::live::Live;
use crate::text::{grouped, rate, table};

/// How often the table is made.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the table, once or until it is interrupted.
pub(super) async fn top(client: &Client, args: &TopArgs) -> Outcome {
    let mut live = Live::new();
    loop {
        let lines = rows(&objects(client, None).await?);
        if args.once {
            let mut out = io::stdout();
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            return Ok(Exit::Done);
        }
        live.show(&lines, &lines, "")?;
        tokio::time::sleep(EVERY).await;
    }
}

fn rows(objects: &[Object]) -> Vec<String> {
    let titles =
        ["OBJECT", "VERTEX", "READY", "IN/S", "OUT/S", "PENDING", "IN HAND", "ERRORS", "ACTIVITY", "PHASE"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for object in objects {
        rows.extend(object.vertices.iter().map(|vertex| {
            let pending = vertex.pending.as_ref().map(|pending| grouped(pending.iter().sum()));
            vec![
                object.name.clone(),
                vertex.name.clone(),
                format!("{}/{}", vertex.ready, vertex.desired),
                rate(vertex.read_rate),
                rate(vertex.write_rate),
                pending.unwrap_or_else(|| "-".to_owned()),
                grouped(vertex.in_hand),
                grouped(vertex.errors),
                vertex.activity.clone(),
                object.phase.clone(),
            ]
        }));
    }
    table(&rows)
}
