//! From files to what shall become of each object in them. Invariant: all files are good, or nothing is changed.

use std::path::{Path, PathBuf};

use api::Object as Loaded;
use serde_json::{Value, json};

use super::material::{invalid, refused};
use super::record::{Values, Ways};
use crate::local::program::{self, Exec, IMAGE_MAP_FILE, UserContainer};
use crate::place::{Apply, Refusal, RefusalKind};

/// One object of the files, with what was said about it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) manifest: Value,
    pub(super) ways: Ways,
    pub(super) values: Values,
    pub(super) warnings: Vec<String>,
}

/// The objects that files ask for.
pub(super) fn wishes(apply: &Apply) -> Result<Vec<Wish>, Refusal> {
    let files = apply.files.iter().map(|file| (file.name.as_str(), file.text.as_bytes()));
    let (objects, complaints) = api::load(files).accept().map_err(|complaints| refused(&complaints))?;
    let mut values = Values { secrets: apply.secrets.clone(), config_maps: apply.config_maps.clone() };
    let mut runnable: Vec<(Value, Vec<UserContainer>)> = Vec::new();
    for object in objects {
        match object {
            Loaded::Pipeline(pipeline) => {
                runnable.push((json!(**pipeline), program::of_pipeline(&pipeline.spec)));
            }
            Loaded::MonoVertex(mono) => {
                runnable.push((json!(**mono), program::of_mono_vertex(mono.name(), &mono.spec)));
            }
            Loaded::Secret(found) => insert(&found, "secret", &mut values.secrets)?,
            Loaded::ConfigMap(found) => insert(&found, "config map", &mut values.config_maps)?,
            // The journal stands for it.
            Loaded::InterStepBufferService(_) => {}
            Loaded::ServingPipeline(object) => return Err(cannot("ServingPipeline", object.name())),
            Loaded::Vertex(object) => return Err(cannot("Vertex", object.name())),
        }
    }
    if runnable.is_empty() {
        return Err(Refusal::new(RefusalKind::Invalid, "find a Pipeline or a MonoVertex in the files"));
    }
    let warnings: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    let execs = share_out(&apply.exec, &runnable)?;
    let working_dir = Path::new(&apply.working_dir);
    let wish = |((mut manifest, _), exec): ((Value, Vec<UserContainer>), Vec<String>)| Wish {
        kind: if manifest["kind"] == "MonoVertex" { "MonoVertex" } else { "Pipeline" },
        name: manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        manifest: {
            settle_paths(&mut manifest, working_dir);
            manifest
        },
        ways: Ways {
            exec,
            image_map: image_map(apply),
            working_dir: PathBuf::from(&apply.working_dir),
            search_path: apply.search_path.clone(),
        },
        values: values.clone(),
        warnings: warnings.clone(),
    };
    Ok(runnable.into_iter().zip(execs).map(wish).collect())
}

/// Makes the paths of files what they are for whoever applies: a site runs elsewhere.
fn settle_paths(manifest: &mut Value, working_dir: &Path) {
    const PLACES: [&str; 4] =
        ["/source/file/path", "/sink/file/path", "/sink/fallback/file/path", "/sink/onSuccess/file/path"];
    let settle = |spec: &mut Value| {
        for place in PLACES {
            if let Some(path) = spec.pointer_mut(place)
                && let Some(text) = path.as_str()
            {
                *path = json!(working_dir.join(text));
            }
        }
    };
    let Some(spec) = manifest.get_mut("spec") else { return };
    settle(spec);
    let vertices = spec.get_mut("vertices").and_then(Value::as_array_mut);
    vertices.into_iter().flatten().for_each(settle);
}

fn insert(found: &api::load::Values, kind: &str, into: &mut Vec<String>) -> Result<(), Refusal> {
    for (key, value) in &found.data {
        let text = std::str::from_utf8(value).map_err(|_| {
            let message = format!("read {kind} {}: the value of {key} is not UTF-8 text", found.name);
            Refusal::new(RefusalKind::Invalid, message)
        })?;
        // What is said beside the manifests counts more.
        into.insert(0, format!("{}/{key}={text}", found.name));
    }
    Ok(())
}

fn cannot(kind: &str, name: &str) -> Refusal {
    let why = match kind {
        "Vertex" => "a Vertex is made by a controller; apply the Pipeline that it belongs to",
        _ => "this version cannot run one on one machine",
    };
    Refusal::new(RefusalKind::Invalid, format!("run {kind} {name}: {why}"))
}

/// Gives each object the programs that name one of its containers.
fn share_out(execs: &[String], objects: &[(Value, Vec<UserContainer>)]) -> Result<Vec<Vec<String>>, Refusal> {
    let mut shares = vec![Vec::new(); objects.len()];
    for text in execs {
        let exec: Exec = text.parse().map_err(|error: program::Error| invalid(&error))?;
        let mut is_used = false;
        for ((_, containers), share) in objects.iter().zip(&mut shares) {
            if containers.iter().any(|container| container.vertex == exec.address.vertex) {
                share.push(text.clone());
                is_used = true;
            }
        }
        if !is_used {
            let all: Vec<String> =
                objects.iter().flat_map(|(_, containers)| containers).map(ToString::to_string).collect();
            let exist = if all.is_empty() { "there are none".to_owned() } else { all.join(", ") };
            let message =
                format!("--exec {} names no container; those of the manifests: {exist}", exec.address);
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
    }
    Ok(shares)
}

/// The image map beside the first file that has one.
fn image_map(apply: &Apply) -> Option<(PathBuf, String)> {
    let found = |file: &crate::place::ManifestFile| {
        let text = file.image_map.clone()?;
        Some((Path::new(&file.name).with_file_name(IMAGE_MAP_FILE), text))
    };
    apply.files.iter().find_map(found)
}
