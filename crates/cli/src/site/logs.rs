//! `logs`: what user containers print, as it comes.

use std::io::{self, Write};

use server::LogsQuery;

use crate::args::site::LogsArgs;
use crate::client::{Client, encode};
use crate::exit::{Exit, Outcome};

/// Prints logs until their end, or for as long as they are followed.
pub(super) async fn logs(client: &Client, args: LogsArgs) -> Outcome {
    let LogsArgs { name: object, vertex, replica, container, follow, tail, site: _ } = args;
    let query = LogsQuery { object, vertex, replica, container, tail: Some(tail), follow, prefix: true };
    let mut answer = client.stream(&format!("/logs?{}", to_query(&query))).await?;
    let mut out = io::stdout();
    while let Some(bytes) = answer.next().await? {
        out.write_all(&bytes)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

fn to_query(query: &LogsQuery) -> String {
    let LogsQuery { object, vertex, replica, container, tail, follow, prefix } = query;
    let mut parts = vec![format!("object={}&follow={follow}&prefix={prefix}", encode(object))];
    parts.extend(vertex.iter().map(|vertex| format!("vertex={}", encode(vertex))));
    parts.extend(replica.iter().map(|replica| format!("replica={replica}")));
    parts.extend(container.iter().map(|container| format!("container={}", encode(container))));
    parts.extend(tail.iter().map(|tail| format!("tail={tail}")));
    parts.join("&")
}
