//! What runs a user container on one machine, and the sentence that says so.
//!
//! In this order: an `--exec` of the command line, the image map of a `tidegate.yaml`, the container's own command when
//! that program exists here, a native stand-in for a public demo image. Starting it is for [`super::process`].
//! Invariant: every container gets a program that was announced, or the start-up fails with all that lack one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;

mod containers;
mod image_map;
mod words;

#[cfg(test)]
mod tests;

pub use containers::{UserContainer, of_mono_vertex, of_pipeline, of_vertex};
pub use words::to_command;

/// The name of the file beside a manifest that maps images to commands.
pub const IMAGE_MAP_FILE: &str = "tidegate.yaml";

/// Why programs cannot be chosen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An `--exec` without the form `CONTAINER=COMMAND`.
    #[error(
        "understand --exec {0:?}: it is VERTEX=COMMAND or VERTEX/CONTAINER=COMMAND, such as cat='python3 udf.py'"
    )]
    Exec(String),
    /// An `--exec` with a quote that is not closed.
    #[error("understand the command of --exec {address}: a quote is not closed in {command:?}")]
    Quotes {
        /// The container it is for.
        address: Address,
        /// The command.
        command: String,
    },
    /// The image map is not of its form.
    #[error("understand {}: {reason}", path.display())]
    ImageMap {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Flags that name no container, and containers without a program.
    #[error("{0}")]
    Unresolved(Unresolved),
}

/// Everything that keeps containers from being run, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unresolved {
    /// `--exec` flags that name no container, or a vertex with several.
    pub flags: Vec<String>,
    /// Containers without a program, each with its image.
    pub containers: Vec<String>,
    /// The first of them as an example of the flag.
    pub example: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags, containers, example } = self;
        write!(f, "find a program for every container:")?;
        for line in flags.iter().chain(containers) {
            write!(f, "\n  {line}")?;
        }
        if !containers.is_empty() {
            write!(
                f,
                "\ngive --exec {example}='COMMAND', or name a command for the image in a {IMAGE_MAP_FILE} beside the \
                 manifest (images: {{IMAGE: {{command: [PROGRAM, ARG]}}}}), or write a `command` into the manifest \
                 that exists on this machine; images themselves are not run here, except for native stand-ins of the \
                 public demo images"
            )?;
        }
        Ok(())
    }
}

/// A container as a flag names it: `cat`, or `out/fb-udsink`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The vertex; for a mono vertex its own name.
    pub vertex: String,
    /// The container; may be left out where a vertex has only one.
    pub container: Option<String>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.container {
            Some(container) => write!(f, "{}/{container}", self.vertex),
            None => f.write_str(&self.vertex),
        }
    }
}

impl Address {
    fn is_of(&self, container: &UserContainer) -> bool {
        self.vertex == container.vertex
            && self.container.as_ref().is_none_or(|wanted| *wanted == container.name)
    }
}

/// An `--exec` flag: a container and the command that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The container.
    pub address: Address,
    /// The program and its arguments.
    pub command: Vec<String>,
}

impl FromStr for Exec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Exec(text.to_owned());
        let (address, command) = text.split_once('=').ok_or_else(wrong)?;
        let (vertex, container) = match address.split_once('/') {
            Some((vertex, container)) => (vertex, Some(container)),
            None => (address, None),
        };
        if vertex.is_empty() || container == Some("") || command.trim().is_empty() {
            return Err(wrong());
        }
        let address = Address { vertex: vertex.to_owned(), container: container.map(str::to_owned) };
        match to_command(command) {
            Some(command) => Ok(Self { address, command }),
            None => Err(Error::Quotes { address, command: command.to_owned() }),
        }
    }
}

/// What stands for an image in the image map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The program, instead of the image's entry point.
    pub command: Vec<String>,
    /// Its arguments; the container's own `args` take their place.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables that the image would bring; the container's own win.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it is started; relative to the file, which is also the default.
    #[serde(default)]
    pub working_dir: Option<PathBuf>,
}

/// The image map: which command runs which image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageMap {
    images: BTreeMap<String, Image>,
    directory: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageMapFile {
    #[serde(default)]
    images: BTreeMap<String, Image>,
}

impl ImageMap {
    /// The map from the text of the file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let value =
            image_map::parse(text).map_err(|reason| Error::ImageMap { path: path.to_owned(), reason })?;
        Self::from_value(value, path)
    }

    /// The map from the parsed content of the file at `path`.
    fn from_value(value: Value, path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::ImageMap { path: path.to_owned(), reason };
        let file: ImageMapFile = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if let Some((image, _)) = file.images.iter().find(|(_, entry)| entry.command.is_empty()) {
            return Err(wrong(format!("images.{image:?}.command is empty")));
        }
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { images: file.images, directory })
    }

    /// The entry for an image: by its whole name, else by its name without tag and digest.
    fn find(&self, image: &str) -> Option<(&str, &Image)> {
        let by = |name: &str| self.images.get_key_value(name).map(|(key, entry)| (key.as_str(), entry));
        by(image).or_else(|| by(without_tag(image)))
    }
}

/// An image without tag and digest; a port of the registry stays.
fn without_tag(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// Where programs come from.
pub struct Ways<'a> {
    /// The `--exec` flags; of equal addresses the last wins.
    pub execs: &'a [Exec],
    /// The image map.
    pub images: &'a ImageMap,
    /// The search path of programs, as in the variable PATH.
    pub search_path: Option<OsString>,
    /// Where we were started; commands of flags and manifests run there.
    pub working_dir: &'a Path,
    /// Whether there is a native stand-in for an image.
    pub has_stand_in: &'a dyn Fn(&str) -> bool,
}

/// What runs a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A process.
    Process(ProcessProgram),
    /// Our own code in place of this image.
    StandIn {
        /// The image.
        image: String,
    },
}

/// A process that runs a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessProgram {
    /// The program and its arguments; `$(NAME)` is not yet replaced.
    pub command: Vec<String>,
    /// Variables that come before the container's own.
    pub env: Vec<(String, String)>,
    /// Where it is started.
    pub working_dir: PathBuf,
}

/// A container with its program.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The container.
    pub container: UserContainer,
    /// What runs it.
    pub program: Program,
    /// The sentence that says so.
    pub announcement: String,
}

/// Chooses a program for every container, or fails with everything that is in the way.
pub fn choose(containers: Vec<UserContainer>, ways: &Ways<'_>) -> Result<Vec<Chosen>, Error> {
    let mut unresolved = Unresolved { flags: wrong_flags(&containers, ways.execs), ..Unresolved::default() };
    let mut chosen = Vec::new();
    for container in containers {
        match choose_one(&container, ways) {
            Ok((program, announcement)) => chosen.push(Chosen { container, program, announcement }),
            Err(why) => {
                if unresolved.example.is_empty() {
                    unresolved.example = container.to_string();
                }
                unresolved.containers.push(why);
            }
        }
    }
    if unresolved.flags.is_empty() && unresolved.containers.is_empty() {
        return Ok(chosen);
    }
    Err(Error::Unresolved(unresolved))
}

/// What is wrong with the addresses of flags.
fn wrong_flags(containers: &[UserContainer], execs: &[Exec]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Exec { address, .. } in execs {
        let named: Vec<String> = containers
            .iter()
            .filter(|container| address.is_of(container))
            .map(UserContainer::to_string)
            .collect();
        match named.len() {
            0 => {
                let all: Vec<String> = containers.iter().map(UserContainer::to_string).collect();
                let exist = if all.is_empty() { "there are none".to_owned() } else { all.join(", ") };
                wrong.push(format!("--exec {address} names no container; those of the manifest: {exist}"));
            }
            1 => {}
            _ => wrong.push(format!("--exec {address} names several containers: {}", named.join(", "))),
        }
    }
    wrong
}

fn choose_one(container: &UserContainer, ways: &Ways<'_>) -> Result<(Program, String), String> {
    let image = container.spec.image.as_deref().unwrap_or_default();
    if let Some(exec) = ways.execs.iter().rev().find(|exec| exec.address.is_of(container)) {
        let command = exec.command.clone();
        let announcement = format!("{container} is the process `{}` (--exec)", words::to_text(&command));
        return Ok((process(command, Vec::new(), ways.working_dir), announcement));
    }
    if let Some((name, entry)) = ways.images.find(image) {
        return Ok(from_image_map(container, (name, entry), ways));
    }
    let own = container.spec.command.first();
    if let Some(program) = own
        && let Some(found) = locate(program, ways)
    {
        let command: Vec<String> =
            container.spec.command.iter().chain(&container.spec.args).cloned().collect();
        let announcement = format!(
            "{container} is the process {} in place of image {image} (its own command)",
            found.display()
        );
        return Ok((process(command, Vec::new(), ways.working_dir), announcement));
    }
    if (ways.has_stand_in)(image) {
        let announcement = format!("{container} is a native stand-in for image {image}");
        return Ok((Program::StandIn { image: image.to_owned() }, announcement));
    }
    let of_image = if image.is_empty() { "it has no image".to_owned() } else { format!("image {image}") };
    Err(match own {
        Some(program) => format!("{container}: {of_image}, and its command {program} does not exist here"),
        None => format!("{container}: {of_image}"),
    })
}

fn from_image_map(
    container: &UserContainer,
    (name, entry): (&str, &Image),
    ways: &Ways<'_>,
) -> (Program, String) {
    let Image { command, args, env, working_dir } = entry;
    let base = ways.working_dir.join(&ways.images.directory);
    let args = if container.spec.args.is_empty() { args } else { &container.spec.args };
    let command: Vec<String> = command.iter().chain(args).cloned().collect();
    let announcement = format!(
        "{container} is the process `{}` in place of image {name} ({IMAGE_MAP_FILE})",
        words::to_text(&command)
    );
    let env = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let working_dir = working_dir.as_ref().map_or(base.clone(), |directory| base.join(directory));
    (process(command, env, &working_dir), announcement)
}

fn process(command: Vec<String>, env: Vec<(String, String)>, working_dir: &Path) -> Program {
    Program::Process(ProcessProgram { command, env, working_dir: working_dir.to_owned() })
}

/// The file of a program, when it exists here and may be run.
fn locate(program: &str, ways: &Ways<'_>) -> Option<PathBuf> {
    if program.contains('/') {
        let path = ways.working_dir.join(program);
        return is_executable(&path).then_some(path);
    }
    let search_path = ways.search_path.as_ref()?;
    std::env::split_paths(search_path)
        .map(|directory| directory.join(program))
        .find(|path| is_executable(path))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}
