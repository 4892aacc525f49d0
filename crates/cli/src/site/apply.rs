//! `apply` and `plan`: manifests to a site, and what they mean there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use platform::local::program::IMAGE_MAP_FILE;
use platform::local::secrets::{Assignment, Kind, Values};
use platform::place::{Apply, ManifestFile};
use platform::view::{Applied, Change};

use super::{absolute, print_for_programs, wait};
use crate::args::ValueOptions;
use crate::args::site::{ApplyArgs, Goal, ManifestOptions, PlanArgs};
use crate::client::Client;
use crate::environment::Environment;
use crate::exit::{Exit, Failure, Outcome};
use crate::input::{self, Input};
use crate::text::table;

/// Applies manifests, and waits for what becomes of them if that is wanted.
pub(super) async fn apply(client: &Client, args: &ApplyArgs, environment: &Environment) -> Outcome {
    let apply = Apply { dry_run: args.dry_run, ..request(&args.manifests, environment)? };
    let applied: Vec<Applied> = client.post("/apply", &apply).await?;
    if !print_for_programs(&args.form, &applied)? {
        let would = if args.dry_run { " (dry run)" } else { "" };
        let mut out = io::stdout();
        for object in &applied {
            let class = object.class.as_ref().map_or_else(String::new, |class| format!(", {class}"));
            writeln!(out, "{} {} {}{class}{would}", object.kind, object.name, object.outcome)?;
            print_remarks(&mut out, object)?;
        }
    }
    if args.wait && !args.dry_run {
        for object in &applied {
            let exit = wait::until(client, &object.name, Goal::RolledOut, args.timeout).await?;
            if exit != Exit::Done {
                return Ok(exit);
            }
        }
    }
    Ok(Exit::Done)
}

/// Says what applying manifests would mean.
pub(super) async fn plan(client: &Client, args: &PlanArgs, environment: &Environment) -> Outcome {
    let apply = Apply { dry_run: true, ..request(&args.manifests, environment)? };
    let applied: Vec<Applied> = client.post("/apply", &apply).await?;
    if !print_for_programs(&args.form, &applied)? {
        let mut out = io::stdout();
        for object in &applied {
            let class = match (&object.class, object.outcome.as_str()) {
                (Some(class), _) => class.as_str(),
                (None, "created") => "it is made",
                (None, _) => "no change",
            };
            writeln!(out, "{} {}: {class}", object.kind, object.name)?;
            if !object.changes.is_empty() {
                let mut rows = vec![["CLASS", "PATH", "BEFORE", "AFTER", "NOTE"].map(str::to_owned).to_vec()];
                rows.extend(object.changes.iter().map(row));
                for line in table(&rows) {
                    writeln!(out, "  {line}")?;
                }
            }
            print_remarks(&mut out, object)?;
        }
    }
    Ok(strongest(&applied))
}

fn row(change: &Change) -> Vec<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let Change { path, vertex: _, before, after, class, note } = change;
    vec![class.clone(), path.clone(), value(before), value(after), note.clone()]
}

fn print_remarks(out: &mut impl Write, object: &Applied) -> io::Result<()> {
    for warning in &object.warnings {
        writeln!(out, "  {warning}")?;
    }
    for substitute in &object.substitutes {
        writeln!(out, "  note: {substitute}")?;
    }
    Ok(())
}

/// The exit code for the strongest class of all changes.
fn strongest(applied: &[Applied]) -> Exit {
    let classes: BTreeSet<&str> = applied.iter().filter_map(|object| object.class.as_deref()).collect();
    let order = [("refused", Exit::Refused), ("needs drain", Exit::NeedsDrain), ("rolling", Exit::Different)];
    let found = order.into_iter().find(|(class, _)| classes.contains(class));
    found.map_or(Exit::Done, |(_, exit)| exit)
}

/// What is sent for manifests and their flags.
fn request(options: &ManifestOptions, environment: &Environment) -> Result<Apply, Failure> {
    let values = &options.values;
    let secrets = assignments(Kind::Secret, values).map_err(Failure::usage)?;
    let config_maps = assignments(Kind::ConfigMap, values).map_err(Failure::usage)?;
    Ok(Apply { exec: options.exec.clone(), secrets, config_maps, ..read_files(&options.files, environment)? })
}

/// What is sent for files alone.
pub(crate) fn read_files(files: &[PathBuf], environment: &Environment) -> Result<Apply, Failure> {
    let inputs = input::read_all(files).map_err(Failure::usage)?;
    let files = inputs.into_iter().map(|input| manifest(input, environment)).collect::<Result<_, _>>()?;
    Ok(Apply {
        files,
        working_dir: environment.working_dir.display().to_string(),
        search_path: environment.search_path.clone().unwrap_or_default().to_string_lossy().into_owned(),
        ..Apply::default()
    })
}

fn manifest(input: Input, environment: &Environment) -> Result<ManifestFile, Failure> {
    let Input { name, path, bytes } = input;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Failure::usage(anyhow!("read {name}: it is not UTF-8 text")))?;
    let image_map = match &path {
        Some(path) => match fs::read_to_string(path.with_file_name(IMAGE_MAP_FILE)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let place = path.with_file_name(IMAGE_MAP_FILE);
                return Err(Failure::usage(anyhow!(error).context(format!("read {}", place.display()))));
            }
        },
        None => None,
    };
    let name = path.map_or(name, |path| absolute(&path, environment));
    Ok(ManifestFile { name, text, image_map })
}

/// Values of one kind as `NAME/KEY=VALUE`: those of directories, over them those of files, over them those of flags.
fn assignments(kind: Kind, options: &ValueOptions) -> anyhow::Result<Vec<String>> {
    let (dirs, files, flags): (&[PathBuf], &[Assignment], &[Assignment]) = match kind {
        Kind::Secret => (&options.secrets_dir, &options.secret_file, &options.secret),
        Kind::ConfigMap => (&options.config_maps_dir, &options.config_map_file, &options.config_map),
    };
    let mut values = Values::default();
    let mut names = BTreeSet::new();
    for directory in dirs {
        values.insert_dir(kind, directory)?;
        let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", directory.display()))?;
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    for file in files {
        values.insert_file(kind, file)?;
        names.insert(file.name.clone());
    }
    for flag in flags {
        values.insert(kind, flag);
        names.insert(flag.name.clone());
    }
    let values = values.of(kind);
    let of = |name: &String| -> Vec<String> {
        values.all(name).map(|(key, value)| format!("{name}/{key}={value}")).collect()
    };
    Ok(names.iter().flat_map(of).collect())
}
