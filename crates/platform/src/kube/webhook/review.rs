//! What is said about a manifest that somebody wants to store. Pure. Invariant: what does not change the manifest is always
//! let through, so that an object that a later release would refuse can still be labelled, finished and deleted.

use api::{Complaint, Object, names};
use serde::Deserialize;
use serde_json::{Value, json};

/// Complaints that are told at most, and how long each may be; an API server cuts what is longer.
const COMPLAINTS_MAX: usize = 20;
const WARNING_CHARS_MAX: usize = 120;

/// Why a question is not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It is no review.
    #[error("understand the question as an AdmissionReview")]
    Json(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

/// What is decided about a request.
struct Verdict {
    refusals: Vec<Complaint>,
    warnings: Vec<Complaint>,
}

/// The answer to a question, both as JSON.
pub(super) fn answer(question: &[u8]) -> Result<Vec<u8>, Error> {
    let Review { request } = serde_json::from_slice(question).map_err(Error::Json)?;
    let Verdict { refusals, warnings } = verdict(&request);
    let mut response = json!({"uid": request.uid, "allowed": refusals.is_empty()});
    if !refusals.is_empty() {
        response["status"] = json!({"code": 400, "reason": "BadRequest", "message": words(&refusals)});
    }
    let warnings: Vec<String> = warnings
        .iter()
        .take(COMPLAINTS_MAX)
        .map(|warning| line(warning).chars().take(WARNING_CHARS_MAX).collect())
        .collect();
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    });
    Ok(review.to_string().into_bytes())
}

fn verdict(request: &Request) -> Verdict {
    let Request { uid: _, object, old_object } = request;
    let nothing = Verdict { refusals: Vec::new(), warnings: Vec::new() };
    let is_ending = object["metadata"].get("deletionTimestamp").is_some_and(|at| !at.is_null());
    // A deletion brings no object.
    if object.is_null() || is_ending || is_same(object, old_object) {
        return nothing;
    }
    let loaded = api::load([("", plain(object).as_bytes())]);
    let (objects, complaints) = match loaded.accept() {
        Ok(accepted) => accepted,
        Err(complaints) => {
            let (refusals, warnings) = complaints.into_iter().partition(Complaint::is_error);
            return Verdict { refusals, warnings };
        }
    };
    let before = if old_object.is_null() {
        None
    } else {
        // What cannot be read any more is compared with nothing.
        api::load([("", plain(old_object).as_bytes())]).accept().ok()
    };
    let refusals = match (before.as_ref().and_then(|(objects, _)| objects.first()), objects.first()) {
        (Some(before), Some(after)) => refused(before, after),
        _ => Vec::new(),
    };
    Verdict { refusals, warnings: complaints }
}

/// Whether the two say the same about everything that a manifest says.
fn is_same(object: &Value, old_object: &Value) -> bool {
    let instance = |object: &Value| object["metadata"]["annotations"][names::INSTANCE_ANNOTATION].clone();
    !old_object.is_null() && object["spec"] == old_object["spec"] && instance(object) == instance(old_object)
}

/// The manifest in an object: without what servers add, which is none of the user's.
fn plain(object: &Value) -> String {
    let metadata = &object["metadata"];
    let mut own = json!({});
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = metadata.get(field).filter(|value| !value.is_null()) {
            own[field] = value.clone();
        }
    }
    if own.get("name").is_none() {
        // The server will make a name of this, with five letters more.
        let generated = metadata["generateName"].as_str().map(|prefix| format!("{prefix}xxxxx"));
        own["name"] = json!(generated);
    }
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": own,
        "spec": object["spec"],
    })
    .to_string()
}

fn refused(before: &Object, after: &Object) -> Vec<Complaint> {
    match (before, after) {
        (Object::Pipeline(before), Object::Pipeline(after)) => api::change::pipeline(before, after),
        (Object::MonoVertex(before), Object::MonoVertex(after)) => api::change::mono_vertex(before, after),
        (Object::InterStepBufferService(before), Object::InterStepBufferService(after)) => {
            api::change::inter_step_buffer_service(before, after)
        }
        _ => Vec::new(),
    }
}

fn line(complaint: &Complaint) -> String {
    let hint = if complaint.hint.is_empty() { String::new() } else { format!(" ({})", complaint.hint) };
    match complaint.path.to_string() {
        path if path.is_empty() => format!("{}{hint}", complaint.message),
        path => format!("{path}: {}{hint}", complaint.message),
    }
}

fn words(complaints: &[Complaint]) -> String {
    let mut lines: Vec<String> = complaints.iter().take(COMPLAINTS_MAX).map(line).collect();
    if complaints.len() > COMPLAINTS_MAX {
        lines.push(format!("and {} more", complaints.len() - COMPLAINTS_MAX));
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests;
