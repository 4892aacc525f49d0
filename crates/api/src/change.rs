//! What an edit of an object comes to before it is applied: which parts take effect at once, which replace workers, which
//! have to wait until everything is drained, and which are not possible. What is not possible is in `refused`. The
//! invariant: a vertex is named by a change that is [`Class::Rolling`] or stronger exactly when its
//! [revision](crate::revision) differs.

mod compare;
mod place;
mod refused;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::check::Checked;
use crate::complaint::Complaint;
use crate::fingerprint::canonical_text;
use crate::path::Path;
use crate::{InterStepBufferService, MonoVertex, Object, Pipeline};

use compare::{Effect, Side, differences};
use place::Place;

pub use refused::{inter_step_buffer_service, mono_vertex, pipeline};

/// Characters of a value that are shown, at most.
const SHOWN_CHARS_MAX: usize = 60;

/// What it takes for a change to take effect, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// It takes effect at once, and no worker is replaced.
    Live,
    /// The workers of the vertices it names are replaced by their update strategies.
    Rolling,
    /// Sources pause, everything is drained, then the new shape runs.
    NeedsDrain,
    /// It is not possible.
    Refused,
}

impl Class {
    /// The words for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Rolling => "rolling",
            Self::NeedsDrain => "needs drain",
            Self::Refused => "refused",
        }
    }
}

/// One thing that an edit changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where: in the new manifest, or in the old one when it is not in the new one any more.
    #[serde(serialize_with = "path_as_text")]
    pub path: Path,
    /// What stood there, cut to some 60 characters; nothing when nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What stands there then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// The vertices concerned, sorted: those whose workers are replaced, or the one that the path lies in.
    pub vertices: Vec<String>,
    /// What it takes.
    pub class: Class,
    /// Why it takes more than nothing, in words; empty when it takes effect at once.
    pub reason: String,
    /// The rule that refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// What to do instead; empty unless it is refused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

fn path_as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// What the edit from one object to another of the same kind and name changes, the strongest first. Nothing for a kind
/// that edits are not told apart for: only pipelines, mono vertices and buffer services are.
pub fn classify(old: &Object, new: &Object) -> Option<Vec<Change>> {
    match (old, new) {
        (Object::Pipeline(old), Object::Pipeline(new)) => Some(classify_pipeline(old, new)),
        (Object::MonoVertex(old), Object::MonoVertex(new)) => Some(classify_mono_vertex(old, new)),
        (Object::InterStepBufferService(old), Object::InterStepBufferService(new)) => {
            Some(classify_inter_step_buffer_service(old, new))
        }
        _ => None,
    }
}

/// What the edit of a pipeline changes, the strongest first.
pub fn classify_pipeline(old: &Checked<Pipeline>, new: &Checked<Pipeline>) -> Vec<Change> {
    let sides = Sides { old: Side::of_pipeline(old), new: Side::of_pipeline(new) };
    let class = |place: &Place, effects: &[&Effect]| match place.of_spec().as_slice() {
        ["vertices", _] => (Class::NeedsDrain, "a vertex comes or goes"),
        ["edges", _] => (Class::NeedsDrain, "an edge comes or goes"),
        _ => strongest(effects),
    };
    sides.changes(pipeline(old, new), class, place::of_pipeline)
}

/// What the edit of a mono vertex changes, the strongest first.
pub fn classify_mono_vertex(old: &Checked<MonoVertex>, new: &Checked<MonoVertex>) -> Vec<Change> {
    let sides = Sides { old: Side::of_mono_vertex(old), new: Side::of_mono_vertex(new) };
    sides.changes(mono_vertex(old, new), |_, effects| strongest(effects), |_, at| place::of_mono_vertex(at))
}

/// What the edit of a buffer service changes, the strongest first. Its own servers are what is replaced; it names no
/// vertices.
pub fn classify_inter_step_buffer_service(
    old: &Checked<InterStepBufferService>,
    new: &Checked<InterStepBufferService>,
) -> Vec<Change> {
    let sides = Sides { old: Side::of_buffer_service(old), new: Side::of_buffer_service(new) };
    let class = |place: &Place, _: &[&Effect]| match place.of_spec().as_slice() {
        [] | ["jetstream", "replicas" | "metadata", ..] => (Class::Live, ""),
        ["jetstream", "bufferConfig" | "encryption" | "tls", ..] => {
            (Class::NeedsDrain, "buffers that exist keep the settings they were made with")
        }
        _ => (Class::Rolling, "the servers read it when they start"),
    };
    sides.changes(inter_step_buffer_service(old, new), class, |_, _| Vec::new())
}

/// The strongest class of what an edit comes to; nothing when it is empty.
pub fn overall(changes: &[Change]) -> Option<Class> {
    changes.iter().map(|change| change.class).max()
}

/// The strongest of what a difference comes to in workers.
fn strongest(effects: &[&Effect]) -> (Class, &'static str) {
    let strongest =
        effects.iter().map(|effect| (effect.class, effect.reason)).max_by_key(|(class, _)| *class);
    strongest.unwrap_or((Class::Live, ""))
}

/// An object before and after an edit.
struct Sides {
    old: Side,
    new: Side,
}

impl Sides {
    /// `class` judges a difference with its effects on workers; `origins` says which places of the manifest a place in
    /// a worker of a vertex comes from.
    fn changes(
        &self,
        refused: Vec<Complaint>,
        class: impl Fn(&Place, &[&Effect]) -> (Class, &'static str),
        origins: impl Fn(&str, &Place) -> Vec<Place>,
    ) -> Vec<Change> {
        let effects = Effect::all(&self.old, &self.new);
        let origins: Vec<Vec<Place>> =
            effects.iter().map(|effect| origins(&effect.vertex, &effect.place)).collect();
        let mut changes = Vec::new();
        for (place, old, new) in differences(&self.old.manifest, &self.new.manifest) {
            let concerned = |origins: &&Vec<Place>| origins.iter().any(|origin| origin.overlaps(&place));
            let caused: Vec<&Effect> = effects
                .iter()
                .zip(&origins)
                .filter(|(_, origins)| concerned(origins))
                .map(|(effect, _)| effect)
                .collect();
            let (class, reason) = class(&place, &caused);
            let mut vertices: Vec<String> = caused.iter().map(|effect| effect.vertex.clone()).collect();
            if class == Class::Live || matches!(place.of_spec().as_slice(), ["vertices", _]) {
                vertices.extend(self.new.owner(&place));
            }
            changes.push(self.change(&place, (&old, &new), vertices, (class, reason)));
        }
        let mut changes = refuse(changes, refused);
        changes.extend(self.unnamed(&effects, &origins, &changes));
        changes.sort_by_cached_key(|change| (std::cmp::Reverse(change.class), change.path.to_string()));
        changes
    }

    fn change(
        &self,
        place: &Place,
        (old, new): (&Value, &Value),
        mut vertices: Vec<String>,
        (class, reason): (Class, &str),
    ) -> Change {
        vertices.sort();
        vertices.dedup();
        Change {
            path: place.path(&[&self.new.positions, &self.old.positions]),
            old: shown(old),
            new: shown(new),
            vertices,
            class,
            reason: reason.to_owned(),
            rule: None,
            hint: String::new(),
        }
    }

    /// What differs in workers that no change names.
    fn unnamed(&self, effects: &[Effect], origins: &[Vec<Place>], changes: &[Change]) -> Vec<Change> {
        let named = |vertex: &String| {
            changes.iter().any(|change| change.class > Class::Live && change.vertices.contains(vertex))
        };
        let rest = effects.iter().zip(origins).filter(|(effect, _)| !named(&effect.vertex));
        rest.filter_map(|(effect, origins)| {
            let vertices = vec![effect.vertex.clone()];
            let place = origins.first()?;
            Some(self.change(place, (&effect.old, &effect.new), vertices, (effect.class, effect.reason)))
        })
        .collect()
    }
}

/// Puts a refusal in the place of the changes that it is about.
fn refuse(mut changes: Vec<Change>, refused: Vec<Complaint>) -> Vec<Change> {
    for complaint in refused {
        let Complaint { rule, path, message, hint, severity: _, file: _, line: _, column: _ } = complaint;
        let about = |change: &Change| change.path.is_within(&path) || path.is_within(&change.path);
        let (replaced, kept): (Vec<_>, Vec<_>) = changes.into_iter().partition(about);
        let exact = replaced.iter().find(|change| change.path == path);
        let mut vertices: Vec<String> = replaced.iter().flat_map(|change| change.vertices.clone()).collect();
        vertices.sort();
        vertices.dedup();
        let (old, new) = exact.map_or((None, None), |change| (change.old.clone(), change.new.clone()));
        changes = kept;
        changes.push(Change {
            path,
            old,
            new,
            vertices,
            class: Class::Refused,
            reason: message,
            rule: Some(rule),
            hint,
        });
    }
    changes
}

/// A value in short.
fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        _ => canonical_text(value),
    };
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(SHOWN_CHARS_MAX).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    Some(short)
}
