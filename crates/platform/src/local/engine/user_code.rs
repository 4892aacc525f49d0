//! From chosen programs to containers that can be started, and to the directories their sockets are in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connect::udf::native::StandIn;

use super::parts::Parts;
use super::{Error, Object};
use crate::local::process::environment::{self, Identity, Machine};
use crate::local::process::volumes::{self, Places};
use crate::local::process::{Container, Directories, GRACE, Name};
use crate::local::program::{Chosen, ProcessProgram, Program};
use crate::local::state::StateDir;

/// Whose user code is prepared, and where.
pub(super) struct Place<'a> {
    pub(super) parts: &'a Parts,
    pub(super) state: &'a StateDir,
    pub(super) run_dir: &'a Path,
    pub(super) machine: Machine,
    pub(super) vertex: &'a str,
    pub(super) replica: u16,
}

/// The user code of one replica.
#[derive(Default)]
pub(super) struct UserCode {
    pub(super) containers: Vec<Container>,
    /// Where each container's sockets are.
    pub(super) directories: BTreeMap<String, PathBuf>,
    /// Containers that this process stands in for.
    pub(super) stand_ins: BTreeMap<String, StandIn>,
}

/// Prepares everything that runs the user code of a replica. `number` counts containers over the whole run.
pub(super) fn prepare<'a>(
    programs: impl Iterator<Item = &'a Chosen>,
    place: &Place<'_>,
    number: &mut u32,
    announcements: &mut Vec<String>,
) -> Result<UserCode, Error> {
    let mut code = UserCode::default();
    for chosen in programs {
        let name = chosen.container.name.clone();
        match &chosen.program {
            Program::StandIn { image } => {
                let stand_in = connect::udf::native::stand_in(image)
                    .expect("a stand-in is chosen only where there is one");
                code.stand_ins.insert(name, stand_in);
            }
            Program::Process(program) => {
                let directories = Directories::below(place.run_dir, *number);
                *number += 1;
                code.directories.insert(name, directories.sockets.clone());
                code.containers.push(container(chosen, program, directories, place, announcements)?);
            }
        }
    }
    Ok(code)
}

fn container(
    chosen: &Chosen,
    program: &ProcessProgram,
    directories: Directories,
    place: &Place<'_>,
    announcements: &mut Vec<String>,
) -> Result<Container, Error> {
    let Place { parts, state, machine, vertex, replica, run_dir: _ } = place;
    let name =
        Name { vertex: (*vertex).to_owned(), replica: *replica, container: chosen.container.name.clone() };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Container {
        container: name.to_string(),
        source,
    };
    let identity = Identity {
        namespace: parts.pipeline.namespace.clone(),
        object: parts.pipeline.name.clone(),
        vertex: matches!(parts.object, Object::Pipeline(_)).then(|| (*vertex).to_owned()),
        replica: *replica,
        container: name.container.clone(),
        extra: extra(parts, vertex, &name.container),
    };
    let mut env = program.env.clone();
    env.extend(
        environment::assemble(&chosen.container.spec, &identity, &parts.values, *machine)
            .map_err(|error| failed(error.into()))?,
    );
    let places = Places {
        replica: state.volumes(vertex, *replica),
        claims: state.claims(),
        files: directories.files.clone(),
    };
    let mounted = volumes::prepare(
        &chosen.container.volumes,
        &chosen.container.spec.volume_mounts,
        &places,
        &parts.values,
    )
    .map_err(|error| failed(error.into()))?;
    announcements.extend(mounted.announcements);
    Ok(Container {
        command: environment::expand_all(&program.command, &env),
        working_dir: program.working_dir.clone(),
        env,
        directories,
        mounts: mounted.mounts,
        log: state.log(vertex, *replica, &name.container),
        grace: GRACE,
        name,
    })
}

/// What a user-defined source is told about the batches that will be asked of it.
fn extra(parts: &Parts, vertex: &str, container: &str) -> Vec<(String, String)> {
    let limits = parts
        .pipeline
        .vertices
        .iter()
        .find(|settings| settings.name == vertex)
        .map(|settings| &settings.limits);
    match (container, limits) {
        ("udsource", Some(limits)) => vec![
            ("NUMAFLOW_READ_BATCH_SIZE".to_owned(), limits.read_batch_size.to_string()),
            ("NUMAFLOW_READ_TIMEOUT_MS".to_owned(), limits.read_timeout.as_millis().to_string()),
        ],
        _ => Vec::new(),
    }
}
