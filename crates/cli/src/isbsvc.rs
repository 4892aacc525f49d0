//! `tidegate isbsvc`: the streams of a pipeline on a broker, made, checked, shown and removed.
//!
//! What a stream has to be is decided below; here are files, the environment and what is printed. Invariant: nothing
//! that is unread is removed without `--force`.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use api::{Checked, Object as Loaded, Pipeline};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connect::buffer::broker;
use connect::buffer::jetstream::config::BufferConfig;
use connect::buffer::jetstream::service::{Found, Service, vertices_of};
use connect::buffer::jetstream::streams::{Error, Made};
use connect::buffer::jetstream::{Nats, Settings};
use model::door::buffer::VertexSettings;
use serde_json::{Value, json};
use worker::Graph;

use crate::args::isbsvc::{DeleteArgs, InspectArgs, InspectFormat, IsbsvcArgs, IsbsvcCommand, PlaceArgs};
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome, say};
use crate::input;
use crate::isb;

/// How long a server that is starting is waited for.
const CONNECT_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Does what is asked.
pub(crate) fn isbsvc(args: &IsbsvcArgs, environment: &Environment) -> Outcome {
    let place = match &args.command {
        IsbsvcCommand::Create(place)
        | IsbsvcCommand::Validate(place)
        | IsbsvcCommand::Inspect(InspectArgs { place, .. })
        | IsbsvcCommand::Delete(DeleteArgs { place, .. }) => place,
    };
    let wanted = Wanted::read(place, environment).map_err(Failure::usage)?;
    let server = server(place, environment).map_err(Failure::usage)?;
    if let IsbsvcCommand::Create(_) = &args.command {
        for warning in &wanted.warnings {
            say(format_args!("warning: {warning}"));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the runtime")?.block_on(async {
        let nats = Arc::new(Nats::connect_within(&server, CONNECT_WITHIN).await?);
        let service = Service::new(nats, &wanted.prefix, wanted.vertices, wanted.config);
        match &args.command {
            IsbsvcCommand::Create(_) => create(&service).await,
            IsbsvcCommand::Validate(_) => validate(&service).await,
            IsbsvcCommand::Inspect(args) => inspect(&service, args.output).await,
            IsbsvcCommand::Delete(args) => delete(&service, args.force).await,
        }
    })
}

fn server(place: &PlaceArgs, environment: &Environment) -> Result<Settings> {
    place.broker.settings().map_or_else(|| isb::from_environment(environment), Ok)
}

/// Whose streams, and what they shall be.
struct Wanted {
    prefix: String,
    vertices: Vec<VertexSettings>,
    config: BufferConfig,
    /// What of the user's settings is not used, and why.
    warnings: Vec<String>,
}

impl Wanted {
    fn read(place: &PlaceArgs, environment: &Environment) -> Result<Self> {
        let mut config_text = isb::stream_config(environment)?;
        let pipeline = if !place.buffers.is_empty() {
            None
        } else if place.files.is_empty() {
            let text = environment.variable("NUMAFLOW_PIPELINE_OBJECT");
            let text = text.context("find the pipeline: name a manifest, or set NUMAFLOW_PIPELINE_OBJECT")?;
            let bytes = STANDARD.decode(text).context("understand NUMAFLOW_PIPELINE_OBJECT: it is base64")?;
            Some(one_pipeline(&[("NUMAFLOW_PIPELINE_OBJECT", &bytes)])?.0)
        } else {
            let inputs = input::read_all(&place.files)?;
            let inputs: Vec<_> = inputs.iter().map(|input| (input.name.as_str(), &input.bytes[..])).collect();
            let (pipeline, text) = one_pipeline(&inputs)?;
            config_text = text.or(config_text);
            Some(pipeline)
        };
        let (config, warnings) = BufferConfig::read(&config_text.unwrap_or_default())?;
        let (prefix, vertices) = match pipeline {
            Some(pipeline) => {
                let settings = api::resolve::pipeline(&pipeline);
                let prefix = broker::prefix(&settings.namespace, &settings.name);
                (prefix, worker::wire::buffers(&settings, &Graph::of(&settings)))
            }
            None => of_names(place, environment)?,
        };
        Ok(Self { prefix, vertices, config, warnings })
    }
}

/// The pipeline that names of buffers and buckets speak of.
fn of_names(place: &PlaceArgs, environment: &Environment) -> Result<(String, Vec<VertexSettings>)> {
    let pipeline = environment.variable("NUMAFLOW_PIPELINE_NAME");
    let pipeline = pipeline.context("find the pipeline of --buffers: set NUMAFLOW_PIPELINE_NAME")?;
    let namespace = environment.variable("NUMAFLOW_NAMESPACE").unwrap_or_default();
    let prefix = broker::prefix(&namespace, &pipeline);
    let vertices = vertices_of(&prefix, &place.buffers, &place.buckets);
    let vertices = vertices.with_context(|| {
        format!("understand --buffers and --buckets: names of pipeline {pipeline} begin with {prefix}- and a vertex")
    })?;
    Ok((prefix, vertices))
}

/// The only pipeline of some manifests, and the `bufferConfig` of its buffer service if that is among them.
fn one_pipeline(inputs: &[(&str, &[u8])]) -> Result<(Box<Checked<Pipeline>>, Option<String>)> {
    let loaded = api::load(inputs.iter().copied());
    let (objects, complaints) = loaded.accept().map_err(|complaints| {
        say(api::complaint::to_text(&complaints).trim_end());
        anyhow!("use manifests with errors")
    })?;
    if !complaints.is_empty() {
        say(api::complaint::to_text(&complaints).trim_end());
    }
    let mut pipelines = Vec::new();
    let mut services = Vec::new();
    for object in objects {
        match object {
            Loaded::Pipeline(pipeline) => pipelines.push(pipeline),
            Loaded::InterStepBufferService(service) => services.push(service),
            Loaded::MonoVertex(_)
            | Loaded::ServingPipeline(_)
            | Loaded::Vertex(_)
            | Loaded::Secret(_)
            | Loaded::ConfigMap(_) => {}
        }
    }
    let found = pipelines.len();
    let Some(pipeline) = pipelines.pop().filter(|_| found == 1) else {
        bail!("find the pipeline: the manifests have {found} and one is needed");
    };
    let text = isb::buffer_config(&services, &pipeline);
    Ok((pipeline, text))
}

async fn create(service: &Service) -> Outcome {
    let made = match service.create().await {
        Ok(made) => made,
        Err(error @ (Error::Shrinks { .. } | Error::Fixed { .. })) => {
            say(format_args!("tidegate: failed to {error}"));
            return Ok(Exit::Refused);
        }
        Err(error) => return Err(error.into()),
    };
    let mut out = io::stdout().lock();
    for (name, made) in made {
        match made {
            Made::Created => writeln!(out, "{name} created")?,
            Made::Changed(changes) => writeln!(out, "{name} changed: {}", changes.join(", "))?,
            Made::AsItWas => writeln!(out, "{name} is as it shall be")?,
        }
    }
    Ok(Exit::Done)
}

async fn validate(service: &Service) -> Outcome {
    let mut is_well = true;
    for Found { name, state, .. } in service.inspect().await {
        match state {
            Ok(_) => writeln!(io::stdout(), "{name} is as it shall be")?,
            Err(error) => {
                is_well = false;
                writeln!(io::stdout(), "{name} cannot be used: {:#}", anyhow::Error::from(error))?;
            }
        }
    }
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

async fn inspect(service: &Service, format: InspectFormat) -> Outcome {
    let found = service.inspect().await;
    // Without all streams there is no one instant to speak of.
    let unread =
        if found.iter().all(|found| found.state.is_ok()) { Some(service.unread().await?) } else { None };
    let mut out = io::stdout().lock();
    if format == InspectFormat::Json {
        let streams: Vec<Value> = found.iter().map(stream_json).collect();
        let unread = unread.map(|unread| {
            let of_vertex = |(vertex, messages): (_, u64)| (String::from(vertex), Value::from(messages));
            unread.into_iter().map(of_vertex).collect::<serde_json::Map<_, _>>()
        });
        writeln!(out, "{:#}", json!({"streams": streams, "unread": unread}))?;
        return Ok(Exit::Done);
    }
    let width = found.iter().map(|found| found.name.len()).max().unwrap_or_default();
    writeln!(out, "{:width$} {:>10} {:>12} {:>10} {:>12}", "STREAM", "FRAMES", "BYTES", "LIMIT", "LAST")?;
    for Found { name, state, .. } in &found {
        match state {
            Ok(state) => {
                let limit = state.messages_max.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
                let (messages, bytes, last) = (state.messages, state.bytes, state.last);
                writeln!(out, "{name:width$} {messages:>10} {bytes:>12} {limit:>10} {last:>12}")?;
            }
            Err(error) => writeln!(out, "{name:width$} {error}")?,
        }
    }
    for (vertex, messages) in unread.iter().flatten() {
        writeln!(out, "{messages} messages lie unread before {vertex}")?;
    }
    Ok(Exit::Done)
}

fn stream_json(found: &Found) -> Value {
    match &found.state {
        Ok(state) => json!({
            "name": found.name.as_str(), "frames": state.messages, "bytes": state.bytes, "first": state.first,
            "last": state.last, "framesMax": state.messages_max, "bytesMax": state.bytes_max,
        }),
        Err(error) => json!({"name": found.name.as_str(), "error": error.to_string()}),
    }
}

async fn delete(service: &Service, force: bool) -> Outcome {
    if !force && let Some(reason) = unread_reason(service).await? {
        say(format_args!(
            "tidegate: failed to delete the buffers: {reason}; drain the pipeline, or add --force"
        ));
        return Ok(Exit::Refused);
    }
    let mut out = io::stdout().lock();
    for name in service.delete().await? {
        writeln!(out, "{name} deleted")?;
    }
    Ok(Exit::Done)
}

/// Why the streams cannot go without a loss; none when nothing is unread.
async fn unread_reason(service: &Service) -> Result<Option<String>, Failure> {
    let found = service.inspect().await;
    let is_whole = found.iter().all(|found| found.state.is_ok());
    if is_whole {
        let unread = service.unread().await?;
        let lie = unread.iter().filter(|(_, messages)| **messages > 0);
        let lie: Vec<_> = lie.map(|(vertex, messages)| format!("{messages} before {vertex}")).collect();
        return Ok((!lie.is_empty()).then(|| format!("messages lie unread, {}", lie.join(", "))));
    }
    // Some are gone, so what is left cannot be told from what is settled.
    let mut frames = 0;
    for Found { state, .. } in found {
        match state {
            Ok(state) => frames += state.messages,
            Err(Error::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((frames > 0).then(|| format!("some streams are gone, and in the others are {frames} frames")))
}
