//! What a wish makes of a record: pure, so that it can be refused as a whole. Invariant: a record is only given back when
//! everything in it can be run.

use api::change::{self, Change, Class};
use plan::Plan;
use plan::wanted::{Asked, Deletion, Word, WordKind};

use super::apply;
use super::edit;
use super::material::{Material, object_of};
use super::record::{Record, Ways};
use super::runner::now;
use super::show::is_rolling;
use crate::local::engine::Object;
use crate::place::{self, Refusal, RefusalKind, Wish};
use crate::view::{self, Applied};

/// What applying a manifest to an object that exists means, and the record that comes of it.
pub(super) fn apply(record: &Record, wish: apply::Wish) -> Result<(Applied, Record), Refusal> {
    let apply::Wish { kind, name, mut manifest, ways, values, warnings } = wish;
    if record.deletion.is_some() {
        let message = format!("apply {kind} {name}: it is being deleted; wait until it is gone");
        return Err(Refusal::new(RefusalKind::Conflict, message));
    }
    edit::keep_phase(&record.manifest, &mut manifest);
    let (before, after) = (object_of(&record.manifest)?, object_of(&manifest)?);
    let mut changes = classify(&before, &after, &name)?;
    let mut next = Record { manifest, ..record.clone() };
    next.ways = merged(&record.ways, ways);
    for (kept, given) in
        [(&mut next.values.secrets, values.secrets), (&mut next.values.config_maps, values.config_maps)]
    {
        merge_values(kept, given);
    }
    reshape(&mut next, &after)?;
    // Everything must be there for both shapes.
    let material = Material::of(&next.manifest, &next.ways, &next.values, &next.restarts)?;
    let is_changed = next != *record;
    if is_changed {
        next.generation += 1;
    }
    changes.extend(program_changes(record, &next, &material));
    let applied = Applied {
        kind: kind.to_owned(),
        name,
        outcome: if is_changed { "configured" } else { "unchanged" }.to_owned(),
        class: strongest(&changes),
        changes,
        warnings,
        substitutes: material.substitutes.clone(),
    };
    Ok((applied, next))
}

/// Why a manifest cannot be applied although it is good; nothing when it can.
pub(super) fn refusal(applied: &Applied) -> Option<Refusal> {
    let refused: Vec<_> =
        applied.changes.iter().filter(|change| change.class == word(Class::Refused)).collect();
    if refused.is_empty() {
        return None;
    }
    let message =
        format!("apply {} {}: what cannot change while it exists differs", applied.kind, applied.name);
    let line = |change: &&view::Change| format!("{}: {}", change.path, change.note);
    let complaints = refused.iter().map(line).collect();
    Some(Refusal { complaints, ..Refusal::new(RefusalKind::Conflict, message) })
}

/// Whether an edit can run on the buffers as they are; otherwise it waits for a drain.
fn reshape(next: &mut Record, after: &Object) -> Result<(), Refusal> {
    let shape = object_of(&next.shape)?;
    let name = next.name.clone();
    let needs_drain =
        classify(&shape, after, &name)?.iter().any(|change| change.class == word(Class::NeedsDrain));
    if needs_drain {
        // What is live takes effect at once: whether it runs, and how it stops.
        let lifecycle = next.manifest["spec"]["lifecycle"].clone();
        if !lifecycle.is_null() {
            next.shape["spec"]["lifecycle"] = lifecycle;
        }
    } else {
        next.shape = next.manifest.clone();
    }
    Ok(())
}

fn classify(before: &Object, after: &Object, name: &str) -> Result<Vec<view::Change>, Refusal> {
    let changes = match (before, after) {
        (Object::Pipeline(before), Object::Pipeline(after)) => change::classify_pipeline(before, after),
        (Object::Mono(before), Object::Mono(after)) => change::classify_mono_vertex(before, after),
        (Object::Pipeline(_), Object::Mono(_)) | (Object::Mono(_), Object::Pipeline(_)) => {
            let message = format!("apply {name}: an object of another kind has this name; delete it first");
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
    };
    Ok(changes.into_iter().map(of_change).collect())
}

fn of_change(change: Change) -> view::Change {
    let Change { path, old, new, vertices, class, reason, rule: _, hint } = change;
    let vertex = (!vertices.is_empty()).then(|| vertices.join(", "));
    let note = if hint.is_empty() { reason } else { format!("{reason}; {hint}") };
    view::Change { path: path.to_string(), vertex, before: old, after: new, class: word(class), note }
}

fn word(class: Class) -> String {
    class.as_str().to_owned()
}

/// Programs that differ although the manifest does not.
fn program_changes(record: &Record, next: &Record, material: &Material) -> Vec<view::Change> {
    if record.ways == next.ways {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let before = Material::of(&record.manifest, &record.ways, &next.values, &record.restarts);
    // A program that is gone is nothing to compare with.
    let Ok(before) = before else { return changes };
    for chosen in &material.programs {
        let was = before.programs.iter().find(|was| {
            was.container.vertex == chosen.container.vertex && was.container.name == chosen.container.name
        });
        if let Some(was) = was.filter(|was| was.program != chosen.program) {
            changes.push(view::Change {
                path: format!("{}", chosen.container),
                vertex: Some(chosen.container.vertex.clone()),
                before: Some(was.announcement.clone()),
                after: Some(chosen.announcement.clone()),
                class: word(Class::Rolling),
                note: "another program runs the container".to_owned(),
            });
        }
    }
    changes
}

fn strongest(changes: &[view::Change]) -> Option<String> {
    let order = [Class::Live, Class::Rolling, Class::NeedsDrain, Class::Refused].map(word);
    let rank = |change: &view::Change| order.iter().position(|class| *class == change.class);
    changes.iter().max_by_key(|change| rank(change)).map(|change| change.class.clone())
}

/// What was said before, with what is said here over it.
fn merged(kept: &Ways, given: Ways) -> Ways {
    let Ways { exec, image_map, working_dir, search_path } = given;
    let address = |text: &str| text.split_once('=').map(|(address, _)| address.to_owned());
    let fresh: Vec<_> = exec.iter().filter_map(|text| address(text)).collect();
    let old = kept.exec.iter().filter(|text| address(text).is_none_or(|address| !fresh.contains(&address)));
    let all: Vec<String> = old.chain(&exec).cloned().collect();
    // A file that is applied from another directory has its own relative commands.
    let is_said = !exec.is_empty() || kept.exec.is_empty();
    Ways {
        exec: all,
        image_map: image_map.or_else(|| kept.image_map.clone()),
        working_dir: if is_said { working_dir } else { kept.working_dir.clone() },
        search_path,
    }
}

fn merge_values(kept: &mut Vec<String>, given: Vec<String>) {
    for text in given {
        let place = |text: &str| text.split_once('=').map(|(place, _)| place.to_owned());
        kept.retain(|other| place(other) != place(&text));
        kept.push(text);
    }
}

/// What becomes of a record by anything that is not a manifest.
pub(super) fn ask(
    record: &Record,
    object: &Object,
    plan: Option<&Plan>,
    wish: Wish,
) -> Result<Record, Refusal> {
    let mut next = record.clone();
    if record.deletion.is_some() && !matches!(wish, Wish::Delete { .. }) {
        let message = format!("change {}: it is being deleted", record.name);
        return Err(Refusal::new(RefusalKind::Conflict, message));
    }
    match wish {
        Wish::Pause | Wish::Resume => {
            let paused = wish == Wish::Pause;
            edit::set_paused(&mut next.manifest, paused);
            edit::set_paused(&mut next.shape, paused);
        }
        Wish::Scale { vertex, replicas } => {
            let vertex = one_vertex(object, vertex)?;
            next.words += 1;
            let asked = next.asked.entry(vertex).or_default();
            (asked.replicas, asked.replicas_number) = (replicas, next.words);
        }
        Wish::Set { vertex, container, image, exec } => {
            set(&mut next, object, (vertex, container), (image, exec))?;
        }
        Wish::Promote { vertex, full } => {
            let kind = if full { WordKind::PromoteFully } else { WordKind::Promote };
            say(&mut next, rolling(object, plan, vertex)?, &kind);
        }
        Wish::Abort { vertex } => say(&mut next, rolling(object, plan, vertex)?, &WordKind::Abort),
        Wish::Undo { vertex, to } => {
            let vertex = one_vertex(object, vertex)?;
            say(&mut next, vec![vertex], &WordKind::Undo { to });
        }
        Wish::Retry { vertex } => say(&mut next, vertices(object, vertex)?, &WordKind::Retry),
        Wish::Restart { vertex } => {
            for vertex in vertices(object, vertex)? {
                restart(&mut next, vertex)?;
            }
        }
        Wish::Delete { force } => {
            let since = record.deletion.map_or_else(now, |deletion| deletion.since);
            let force = force || record.deletion.is_some_and(|deletion| deletion.force);
            next.deletion = Some(Deletion { since, force });
        }
    }
    if next != *record {
        next.generation += 1;
    }
    Ok(next)
}

fn set(
    next: &mut Record,
    object: &Object,
    (vertex, container): (String, Option<String>),
    (image, exec): (Option<String>, Option<String>),
) -> Result<(), Refusal> {
    let (vertex, container) = edit::container_of(object, &vertex, container.as_deref())?;
    let address = format!("{vertex}/{container}");
    let is_same =
        |text: &String| text.split_once('=').is_some_and(|(found, _)| found == address || found == vertex);
    // An image says what runs, as a command does: the last word counts.
    next.ways.exec.retain(|text| !is_same(text));
    if let Some(image) = image {
        edit::set_image(&mut next.manifest, (&vertex, &container), &image)?;
        edit::set_image(&mut next.shape, (&vertex, &container), &image)?;
    }
    if let Some(command) = exec {
        next.ways.exec.push(format!("{address}={command}"));
    }
    Ok(())
}

/// Has the version that serves served by fresh workers: as an edit of the wanted version that changes nothing else, or,
/// where another one is kept in its place, as a version of its own that is like the one that is kept.
fn restart(next: &mut Record, vertex: String) -> Result<(), Refusal> {
    next.words += 1;
    let token = format!("{}-{}", now().millis(), next.words);
    let held = next.memory.vertices.get(&vertex).and_then(|memory| memory.rollout.held.as_ref());
    let kept = held.and_then(|held| next.versions.get(&vertex)?.get(&held.serve)).cloned();
    let Some(version) = kept else {
        next.restarts.insert(vertex, token);
        return Ok(());
    };
    let tokens = [(vertex.clone(), token)].into();
    let material = Material::of(&version.manifest, &version.ways, &next.values, &tokens)?;
    let to = material.revisions[&vertex].clone();
    next.versions.entry(vertex.clone()).or_default().insert(to.clone(), version);
    say(next, vec![vertex], &WordKind::Serve { to });
    Ok(())
}

fn say(next: &mut Record, vertices: Vec<String>, kind: &WordKind) {
    for vertex in vertices {
        next.words += 1;
        let word = Word { number: next.words, kind: kind.clone() };
        let asked: &mut Asked = next.asked.entry(vertex).or_default();
        asked.word = Some(word);
    }
}

fn names(object: &Object) -> Vec<String> {
    object.settings().vertices.into_iter().map(|vertex| vertex.name).collect()
}

fn vertices(object: &Object, vertex: Option<String>) -> Result<Vec<String>, Refusal> {
    place::chosen(names(object), vertex)
}

fn one_vertex(object: &Object, vertex: Option<String>) -> Result<String, Refusal> {
    place::chosen_one(names(object), vertex)
}

/// The vertices that are rolling out.
fn rolling(object: &Object, plan: Option<&Plan>, vertex: Option<String>) -> Result<Vec<String>, Refusal> {
    place::chosen_rolling(names(object), vertex, |vertex| {
        plan.and_then(|plan| plan.vertices.get(vertex)).is_some_and(is_rolling)
    })
}
