//! `events`, `errors` and `why`: what a site has to say about objects.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use plan::Time;
use platform::view::{Event, Finding, Incident};
use serde_json::Value;

use super::print_for_programs;
use crate::args::site::{EventsArgs, Form, NameArgs};
use crate::client::{Client, encode};
use crate::exit::{Exit, Failure, Outcome};
use crate::text::age;

/// Prints events, and goes on if that is wanted.
pub(super) async fn events(client: &Client, args: &EventsArgs) -> Outcome {
    let object = args.name.as_ref().map_or_else(String::new, |name| format!("&object={}", encode(name)));
    let mut version = 0;
    let mut after = 0;
    loop {
        if args.watch {
            version = client.watch(version).await?;
        }
        let events: Vec<Event> = client.get(&format!("/events?after={after}{object}")).await?;
        after = events.last().map_or(after, |event| event.number);
        match args.form.output {
            // A watch never ends, so that each event is a value of its own.
            Some(Form::Json) if args.watch => print_each(&events)?,
            Some(_) => drop(print_for_programs(&args.form, &events)?),
            None => print(&events)?,
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(super::LOOK).await;
    }
}

fn print(events: &[Event]) -> io::Result<()> {
    let now = now();
    let mut out = io::stdout();
    for Event { at, object, event, .. } in events {
        let about = if event.about.is_empty() { String::new() } else { format!(" {}", event.about) };
        let (severity, reason, message) = (event.severity, &event.reason, &event.message);
        writeln!(out, "{} ago  {severity}  {object}{about}  {reason}: {message}", age(now, *at))?;
    }
    Ok(())
}

fn print_each(events: &[Event]) -> Result<(), Failure> {
    let mut out = io::stdout();
    for event in events {
        let value: Value = serde_json::to_value(event)?;
        writeln!(out, "{value}")?;
    }
    Ok(())
}

/// Prints the latest errors.
pub(super) async fn errors(client: &Client, args: &NameArgs) -> Outcome {
    let incidents: Vec<Incident> = client.get(&format!("/objects/{}/incidents", encode(&args.name))).await?;
    if print_for_programs(&args.form, &incidents)? {
        return Ok(Exit::Done);
    }
    let mut out = io::stdout();
    if incidents.is_empty() {
        writeln!(out, "{} had no errors", args.name)?;
    }
    let now = now();
    for incident in &incidents {
        let Incident { at, vertex, replica, container, code, message, details, messages, .. } = incident;
        writeln!(out, "{} ago  {vertex}-{replica}/{container}  {code}: {message}", age(now, *at))?;
        for line in details.lines() {
            writeln!(out, "    {line}")?;
        }
        if !messages.is_empty() {
            writeln!(out, "    messages: {}", messages.join(", "))?;
        }
    }
    Ok(Exit::Done)
}

/// Prints what may be wrong.
pub(super) async fn why(client: &Client, args: &NameArgs) -> Outcome {
    let findings: Vec<Finding> = client.get(&format!("/objects/{}/why", encode(&args.name))).await?;
    if print_for_programs(&args.form, &findings)? {
        return Ok(Exit::Done);
    }
    let mut out = io::stdout();
    if findings.is_empty() {
        writeln!(out, "nothing is wrong with {}", args.name)?;
    }
    for (index, Finding { what, advice }) in findings.iter().enumerate() {
        writeln!(out, "{}. {what}\n   {advice}", index + 1)?;
    }
    Ok(Exit::Done)
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
