//! From files and flags to what the engine needs.
//!
//! Invariant: a complaint, a missing secret and a container without a program are all found here, before anything is
//! made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use api::spec::{HttpPorts, Source};
use api::{Checked, Complaint, Object as Loaded};
use platform::local::engine::Object;
use platform::local::program::{self, Chosen, IMAGE_MAP_FILE, ImageMap, UserContainer, Ways};
use platform::local::secrets::{self, Kind, Values};
use serde_json::{Value, json};

use crate::args::{RunOptions, ValueOptions};
use crate::environment::Environment;
use crate::exit::{Failure, say};
use crate::input::Input;
use crate::isb::{self, Streams};

/// The largest image map.
const IMAGE_MAP_BYTES_MAX: u64 = 1024 * 1024;

/// What a run is made of.
pub(super) struct Prepared {
    /// The name of the object.
    pub(super) name: String,
    /// Where its manifest is: the absolute path of a file, or a name.
    pub(super) place: PathBuf,
    /// The object itself, for the state directory.
    pub(super) manifest: Value,
    /// The object to run.
    pub(super) object: Object,
    /// What runs each container.
    pub(super) programs: Vec<Chosen>,
    /// Secrets and config maps.
    pub(super) values: Values,
    /// What stands in for something of a cluster, as far as it is known here.
    pub(super) announcements: Vec<String>,
    /// Source vertices that ask callers for a token.
    pub(super) secured: Vec<String>,
    /// What is said of streams on a broker.
    pub(super) streams: Option<Streams>,
}

pub(super) fn prepare(
    inputs: &[Input],
    options: &RunOptions,
    environment: &Environment,
) -> Result<Prepared, Failure> {
    let (objects, file) = load(inputs)?;
    let mut values = values_of(&options.values).map_err(Failure::usage)?;
    let mut announcements = Vec::new();
    let mut runnable = Vec::new();
    let mut services = Vec::new();
    for object in objects {
        match object {
            Loaded::Secret(found) => {
                values.insert_object(Kind::Secret, &found).map_err(Failure::usage)?;
            }
            Loaded::ConfigMap(found) => {
                values.insert_object(Kind::ConfigMap, &found).map_err(Failure::usage)?;
            }
            Loaded::InterStepBufferService(service) => services.push(service),
            Loaded::Pipeline(_) | Loaded::MonoVertex(_) | Loaded::ServingPipeline(_) | Loaded::Vertex(_) => {
                runnable.push(object);
            }
        }
    }
    // Flags are nearer to the user than the manifest.
    add_flags(&mut values, &options.values).map_err(Failure::usage)?;
    let chosen = choose_object(runnable, options.name.as_deref())?;
    let (manifest, mut object) = to_run(chosen)?;
    set_ports(&mut object, &options.http_port)?;
    values.check(&secrets::needs_of(&manifest["spec"])).map_err(Failure::usage)?;
    let programs = choose_programs(&object, file.as_deref(), options, environment)?;
    let place = match &file {
        Some(path) => std::path::absolute(path).context("find the working directory")?,
        None => PathBuf::from(&inputs[0].name),
    };
    if options.open_paths {
        announcements.extend(without_volumes(&programs));
    }
    let is_on_broker = options.isb.broker.isb.is_some();
    let stand_in = if is_on_broker { "server of --isb" } else { "embedded journal of this run" };
    for service in &services {
        announcements.push(format!("InterStepBufferService {} is the {stand_in}", service.name()));
    }
    let buffer_config = match &object {
        Object::Pipeline(pipeline) if is_on_broker => isb::buffer_config(&services, pipeline),
        Object::Pipeline(_) | Object::Mono(_) => None,
    };
    let mut streams = None;
    if let Some(text) = buffer_config {
        let (read, warnings) = Streams::read(text).map_err(Failure::usage)?;
        announcements.extend(warnings);
        streams = Some(read);
    }
    let secured = secured(&object);
    let name = name_of(&object);
    Ok(Prepared { name, place, manifest, object, programs, values, announcements, secured, streams })
}

/// The objects of all files, and the first file.
fn load(inputs: &[Input]) -> Result<(Vec<Loaded>, Option<PathBuf>), Failure> {
    let loaded = api::load(inputs.iter().map(|input| (input.name.as_str(), input.bytes.as_slice())));
    match loaded.accept() {
        Ok((objects, complaints)) => {
            print_complaints(&complaints);
            Ok((objects, inputs.first().and_then(|input| input.path.clone())))
        }
        Err(complaints) => {
            print_complaints(&complaints);
            Err(Failure::usage(anyhow!("run a manifest with errors")))
        }
    }
}

fn print_complaints(complaints: &[Complaint]) {
    if !complaints.is_empty() {
        say(api::complaint::to_text(complaints).trim_end());
    }
}

/// Values of files and directories; those of objects come over them, and those of flags over everything.
fn values_of(options: &ValueOptions) -> Result<Values, secrets::Error> {
    let mut values = Values::default();
    for directory in &options.secrets_dir {
        values.insert_dir(Kind::Secret, directory)?;
    }
    for directory in &options.config_maps_dir {
        values.insert_dir(Kind::ConfigMap, directory)?;
    }
    Ok(values)
}

fn add_flags(values: &mut Values, options: &ValueOptions) -> Result<(), secrets::Error> {
    for (kind, files, assignments) in [
        (Kind::Secret, &options.secret_file, &options.secret),
        (Kind::ConfigMap, &options.config_map_file, &options.config_map),
    ] {
        for file in files {
            values.insert_file(kind, file)?;
        }
        for assignment in assignments {
            values.insert(kind, assignment);
        }
    }
    Ok(())
}

/// The one object that is to run.
fn choose_object(mut objects: Vec<Loaded>, name: Option<&str>) -> Result<Loaded, Failure> {
    let list = |objects: &[Loaded]| {
        let names: Vec<String> =
            objects.iter().map(|object| format!("{} {}", object.kind(), object.name())).collect();
        names.join(", ")
    };
    if let Some(name) = name {
        let all = list(&objects);
        objects.retain(|object| object.name() == name);
        if objects.is_empty() {
            let exist = if all.is_empty() { "the files have no pipeline".to_owned() } else { all };
            return Err(Failure::usage(anyhow!("find the object {name}: {exist}")));
        }
    }
    match objects.len() {
        0 => Err(Failure::usage(anyhow!("find a Pipeline or a MonoVertex in the files"))),
        1 => Ok(objects.remove(0)),
        _ => {
            let all = list(&objects);
            Err(Failure::usage(anyhow!("run several objects at once: choose one with --name NAME of {all}")))
        }
    }
}

/// The manifest to remember and the object to run.
fn to_run(object: Loaded) -> Result<(Value, Object), Failure> {
    match object {
        Loaded::Pipeline(pipeline) => Ok((json!(**pipeline), Object::Pipeline(pipeline))),
        Loaded::MonoVertex(mono) => Ok((json!(**mono), Object::Mono(mono))),
        Loaded::ServingPipeline(serving) => {
            let why = "a ServingPipeline cannot be run on one machine by this version";
            Err(Failure::usage(anyhow!("run {}: {why}", serving.name())))
        }
        Loaded::Vertex(vertex) => {
            let why = "a Vertex is made by a controller; run the Pipeline that it belongs to";
            Err(Failure::usage(anyhow!("run {}: {why}", vertex.name())))
        }
        Loaded::InterStepBufferService(_) | Loaded::Secret(_) | Loaded::ConfigMap(_) => {
            unreachable!("only objects with vertices are among those to choose from")
        }
    }
}

fn name_of(object: &Object) -> String {
    match object {
        Object::Pipeline(pipeline) => pipeline.name().to_owned(),
        Object::Mono(mono) => mono.name().to_owned(),
    }
}

/// Gives HTTP sources the ports of the flags.
fn set_ports(object: &mut Object, ports: &[(String, u16)]) -> Result<(), Failure> {
    if ports.is_empty() {
        return Ok(());
    }
    match object {
        Object::Pipeline(pipeline) => {
            let mut changed = pipeline.clone().into_inner();
            for (vertex, port) in ports {
                let found = changed.spec.vertices.iter_mut().find(|found| found.name == *vertex);
                set_port(found.and_then(|found| found.source.as_deref_mut()), vertex, *port)?;
            }
            **pipeline = checked(api::check(changed))?;
        }
        Object::Mono(mono) => {
            let mut changed = mono.clone().into_inner();
            for (vertex, port) in ports {
                let is_it = changed.name() == vertex;
                set_port(changed.spec.source.as_deref_mut().filter(|_| is_it), vertex, *port)?;
            }
            **mono = checked(api::check(changed))?;
        }
    }
    Ok(())
}

fn checked<T>(outcome: Result<(Checked<T>, Vec<Complaint>), Vec<Complaint>>) -> Result<Checked<T>, Failure> {
    outcome.map(|(object, _)| object).map_err(|complaints| {
        print_complaints(&complaints);
        Failure::usage(anyhow!("use the ports of --http-port"))
    })
}

fn set_port(source: Option<&mut Source>, vertex: &str, port: u16) -> Result<(), Failure> {
    let http = source.and_then(|source| source.http.as_mut());
    let http = http.ok_or_else(|| {
        Failure::usage(anyhow!("use --http-port {vertex}={port}: there is no HTTP source {vertex}"))
    })?;
    http.ports.get_or_insert_with(HttpPorts::default).http = Some(i32::from(port));
    Ok(())
}

/// What processes without a view of their own do not get.
fn without_volumes(programs: &[Chosen]) -> impl Iterator<Item = String> {
    let with_volumes = programs.iter().filter(|chosen| !chosen.container.spec.volume_mounts.is_empty());
    with_volumes.map(|chosen| format!("{} does not see its volumes (--open-paths)", chosen.container))
}

/// Source vertices that ask callers for a token.
fn secured(object: &Object) -> Vec<String> {
    let asks = |source: Option<&Source>| {
        source.and_then(|source| source.http.as_ref()).is_some_and(|http| http.auth.is_some())
    };
    match object {
        Object::Pipeline(pipeline) => pipeline
            .spec
            .vertices
            .iter()
            .filter(|vertex| asks(vertex.source.as_deref()))
            .map(|vertex| vertex.name.clone())
            .collect(),
        Object::Mono(mono) if asks(mono.spec.source.as_deref()) => vec![mono.name().to_owned()],
        Object::Mono(_) => Vec::new(),
    }
}

fn choose_programs(
    object: &Object,
    file: Option<&Path>,
    options: &RunOptions,
    environment: &Environment,
) -> Result<Vec<Chosen>, Failure> {
    let containers: Vec<UserContainer> = match object {
        Object::Pipeline(pipeline) => program::of_pipeline(&pipeline.spec),
        Object::Mono(mono) => program::of_mono_vertex(mono.name(), &mono.spec),
    };
    let images = match file {
        Some(file) => read_image_map(&file.with_file_name(IMAGE_MAP_FILE))?,
        None => ImageMap::default(),
    };
    let ways = Ways {
        execs: &options.exec,
        images: &images,
        search_path: environment.search_path.clone(),
        working_dir: &environment.working_dir,
        has_stand_in: &|image| connect::udf::native::stand_in(image).is_some(),
    };
    program::choose(containers, &ways).map_err(Failure::usage)
}

/// The image map beside a manifest; an empty one when there is none.
fn read_image_map(path: &Path) -> Result<ImageMap, Failure> {
    let size = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ImageMap::default()),
        Err(error) => return Err(Failure::usage(anyhow!(error).context(format!("read {}", path.display())))),
    };
    if size > IMAGE_MAP_BYTES_MAX {
        return Err(Failure::usage(anyhow!("read {}: it has {size} bytes", path.display())));
    }
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    ImageMap::parse(&text.map_err(Failure::usage)?, path).map_err(Failure::usage)
}
