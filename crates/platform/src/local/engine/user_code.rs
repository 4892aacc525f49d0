//! From chosen programs to containers that can be started, and to the directories their sockets are in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connect::udf::Component;
use connect::udf::native::StandIn;
use plan::seen::WorkerName;

use super::Error;
use super::parts::{Here, Kept, Parts};
use crate::local::process::environment::{self, Identity};
use crate::local::process::volumes::{self, Places};
use crate::local::process::{Container, Directories, GRACE, Name};
use crate::local::program::{Chosen, ProcessProgram, Program};

/// The user code of one worker.
#[derive(Default)]
pub(super) struct UserCode {
    pub(super) containers: Vec<(Component, Container)>,
    /// Where each container's sockets are.
    pub(super) directories: BTreeMap<String, PathBuf>,
    /// Containers that this process stands in for.
    pub(super) stand_ins: BTreeMap<String, StandIn>,
    /// What is a substitute, one sentence each.
    pub(super) announcements: Vec<String>,
}

/// Prepares everything that runs the user code of a worker.
pub(super) fn prepare(
    (parts, here): (&Parts, &Here),
    kept: &Kept,
    worker: &WorkerName,
) -> Result<UserCode, Error> {
    let place = Place { parts, here, kept, worker };
    let mut code = UserCode::default();
    for chosen in &kept.version.programs {
        let name = chosen.container.name.clone();
        match &chosen.program {
            Program::StandIn { image } => {
                let stand_in = connect::udf::native::stand_in(image)
                    .expect("a stand-in is chosen only where there is one");
                code.stand_ins.insert(name, stand_in);
            }
            Program::Process(program) => {
                let directories = Directories::below(&here.run_dir, here.next_container());
                let component = Component::of_container(&name).ok_or_else(|| Error::Unknown {
                    what: format!("container {name} of vertex {}", kept.settings.name),
                })?;
                code.directories.insert(name, directories.sockets.clone());
                let container = container(chosen, program, directories, &place, &mut code.announcements)?;
                code.containers.push((component, container));
            }
        }
    }
    Ok(code)
}

/// Removes the directories of containers that run no more. What cannot be removed goes with the run's directory.
pub(super) fn clean<'a>(sockets: impl Iterator<Item = &'a PathBuf>, run_dir: &Path) {
    for sockets in sockets {
        let number = sockets.file_name().unwrap_or_default().to_string_lossy();
        for path in [sockets.clone(), run_dir.join(format!("{number}.d"))] {
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::debug!(path = %path.display(), %error, "a directory of user code stays");
            }
        }
    }
}

/// Whose user code is prepared.
struct Place<'a> {
    parts: &'a Parts,
    here: &'a Here,
    kept: &'a Kept,
    worker: &'a WorkerName,
}

fn container(
    chosen: &Chosen,
    program: &ProcessProgram,
    directories: Directories,
    place: &Place<'_>,
    announcements: &mut Vec<String>,
) -> Result<Container, Error> {
    let Place { parts, here, kept, worker } = place;
    let vertex = &kept.settings.name;
    let replica = super::replica_number(worker)?;
    let name = Name { vertex: vertex.clone(), replica, container: chosen.container.name.clone() };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Container {
        container: name.to_string(),
        source,
    };
    let identity = Identity {
        namespace: parts.pipeline.namespace.clone(),
        object: parts.pipeline.name.clone(),
        vertex: parts.is_pipeline.then(|| vertex.clone()),
        replica,
        container: name.container.clone(),
        extra: extra(kept, &name.container),
    };
    let mut env = program.env.clone();
    env.extend(
        environment::assemble(&chosen.container.spec, &identity, &kept.version.values, here.machine)
            .map_err(|error| failed(error.into()))?,
    );
    let places = Places {
        replica: here.state.volumes(vertex, &worker.revision, replica),
        claims: here.state.claims(),
        files: directories.files.clone(),
    };
    let mounted = volumes::prepare(
        &chosen.container.volumes,
        &chosen.container.spec.volume_mounts,
        &places,
        &kept.version.values,
    )
    .map_err(|error| failed(error.into()))?;
    announcements.extend(mounted.announcements);
    Ok(Container {
        command: environment::expand_all(&program.command, &env),
        working_dir: program.working_dir.clone(),
        env,
        directories,
        mounts: mounted.mounts,
        log: here.state.log(vertex, &worker.revision, replica, &name.container),
        grace: GRACE,
        name,
    })
}

/// What a user-defined source is told about the batches that will be asked of it.
fn extra(kept: &Kept, container: &str) -> Vec<(String, String)> {
    if container != "udsource" {
        return Vec::new();
    }
    let limits = &kept.settings.limits;
    vec![
        ("NUMAFLOW_READ_BATCH_SIZE".to_owned(), limits.read_batch_size.to_string()),
        ("NUMAFLOW_READ_TIMEOUT_MS".to_owned(), limits.read_timeout.as_millis().to_string()),
    ]
}
