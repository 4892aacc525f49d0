//! `diff`: the applied manifest and the file's, as canonical YAML, line by line. Invariant: the work is bounded: where the
//! lines that differ are too many to be matched, they are shown as replaced as a whole.

use std::io::{self, Write};

use anyhow::anyhow;
use api::Object as Loaded;
use platform::view::Object;
use serde_json::{Value, json};

use crate::args::site::DiffArgs;
use crate::client::{Client, encode};
use crate::exit::{Exit, Failure, Outcome};
use crate::input;

/// Lines around a difference.
const CONTEXT: usize = 3;
/// The most pairs of lines that are compared.
const PAIRS_MAX: usize = 16_000_000;

/// Prints how manifests differ from what is applied.
pub(super) async fn diff(client: &Client, args: &DiffArgs) -> Outcome {
    let inputs = input::read_all(&args.files).map_err(Failure::usage)?;
    let loaded = api::load(inputs.iter().map(|input| (input.name.as_str(), input.bytes.as_slice())));
    let (objects, _) = loaded.accept().map_err(|complaints| {
        let text = api::complaint::to_text(&complaints);
        Failure::usage(anyhow!("use manifests with errors:\n{}", text.trim_end()))
    })?;
    let mut is_different = false;
    for wanted in objects.iter().filter_map(manifest_of) {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        let applied = match client.get::<Object>(&format!("/objects/{}", encode(name))).await {
            Ok(object) => api::yaml::to_yaml(&without_wishes(object.manifest, &wanted)),
            Err(error) if error.is_not_found() => String::new(),
            Err(error) => return Err(error.into()),
        };
        let lines = unified(&applied, &api::yaml::to_yaml(&wanted));
        is_different |= !lines.is_empty();
        if !lines.is_empty() {
            let mut out = io::stdout();
            writeln!(out, "--- {name} (applied)\n+++ {name} (files)")?;
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(if is_different { Exit::Different } else { Exit::Done })
}

/// What is applied, without the phase that a verb has set: files that say nothing about it leave it as it is.
fn without_wishes(mut applied: Value, wanted: &Value) -> Value {
    if wanted["spec"]["lifecycle"]["desiredPhase"].is_null()
        && let Some(lifecycle) = applied["spec"]["lifecycle"].as_object_mut()
    {
        lifecycle.remove("desiredPhase");
        if lifecycle.is_empty() && wanted["spec"]["lifecycle"].is_null() {
            applied["spec"].as_object_mut().expect("it has a field").remove("lifecycle");
        }
    }
    applied
}

/// The manifest of an object that runs, in the form that a site keeps.
fn manifest_of(object: &Loaded) -> Option<Value> {
    match object {
        Loaded::Pipeline(pipeline) => Some(json!(***pipeline)),
        Loaded::MonoVertex(mono) => Some(json!(***mono)),
        Loaded::ServingPipeline(_)
        | Loaded::Vertex(_)
        | Loaded::InterStepBufferService(_)
        | Loaded::Secret(_)
        | Loaded::ConfigMap(_) => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Both(&'a str),
    Less(&'a str),
    More(&'a str),
}

/// The differences in the unified form; none when the texts are the same.
fn unified(before: &str, after: &str) -> Vec<String> {
    let steps = steps(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let is_change = |step: &Step<'_>| !matches!(step, Step::Both(_));
    let changed: Vec<usize> = (0..steps.len()).filter(|&index| is_change(&steps[index])).collect();
    let mut lines = Vec::new();
    let mut next = 0;
    while next < changed.len() {
        let start = changed[next].saturating_sub(CONTEXT);
        let mut end = changed[next];
        while next < changed.len() && changed[next] <= end + 2 * CONTEXT {
            end = changed[next];
            next += 1;
        }
        let end = (end + CONTEXT + 1).min(steps.len());
        let count = |steps: &[Step<'_>]| {
            let more = steps.iter().filter(|step| matches!(step, Step::More(_))).count();
            let less = steps.iter().filter(|step| matches!(step, Step::Less(_))).count();
            (steps.len() - more, steps.len() - less)
        };
        let (skipped, part) = (count(&steps[..start]), count(&steps[start..end]));
        let first = |skipped: usize, length: usize| if length == 0 { skipped } else { skipped + 1 };
        lines.push(format!(
            "@@ -{},{} +{},{} @@",
            first(skipped.0, part.0),
            part.0,
            first(skipped.1, part.1),
            part.1
        ));
        lines.extend(steps[start..end].iter().map(|step| match step {
            Step::Both(line) => format!(" {line}"),
            Step::Less(line) => format!("-{line}"),
            Step::More(line) => format!("+{line}"),
        }));
    }
    lines
}

/// The way from one text to the other with the fewest changes.
fn steps<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Step<'a>> {
    let head = before.iter().zip(after).take_while(|(left, right)| left == right).count();
    let (rest_before, rest_after) = (&before[head..], &after[head..]);
    let tail = rest_before.iter().rev().zip(rest_after.iter().rev()).take_while(|(a, b)| a == b).count();
    let (left, end) = rest_before.split_at(rest_before.len() - tail);
    let right = &rest_after[..rest_after.len() - tail];
    let mut steps: Vec<Step<'a>> = before[..head].iter().map(|line| Step::Both(line)).collect();
    if left.len().saturating_mul(right.len()) > PAIRS_MAX {
        steps.extend(left.iter().map(|line| Step::Less(line)));
        steps.extend(right.iter().map(|line| Step::More(line)));
    } else {
        middle(left, right, &mut steps);
    }
    steps.extend(end.iter().map(|line| Step::Both(line)));
    steps
}

/// By the longest common subsequence.
fn middle<'a>(left: &[&'a str], right: &[&'a str], steps: &mut Vec<Step<'a>>) {
    let width = right.len() + 1;
    let mut common = vec![0_u32; (left.len() + 1) * width];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            common[i * width + j] = if left[i] == right[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            steps.push(Step::Both(left[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == right.len()
            || (i < left.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            steps.push(Step::Less(left[i]));
            i += 1;
        } else {
            steps.push(Step::More(right[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{unified, without_wishes};

    #[test]
    fn a_phase_that_a_verb_has_set_is_no_difference() {
        let paused = |more: bool| {
            let mut lifecycle = json!({"desiredPhase": "Paused"});
            if more {
                lifecycle["pauseGracePeriodSeconds"] = json!(5);
            }
            json!({"spec": {"lifecycle": lifecycle}})
        };
        let silent = json!({"spec": {}});
        assert_eq!(without_wishes(paused(false), &silent), silent);
        let grace = json!({"spec": {"lifecycle": {"pauseGracePeriodSeconds": 5}}});
        assert_eq!(without_wishes(paused(true), &grace), grace);
        let running = json!({"spec": {"lifecycle": {"desiredPhase": "Running"}}});
        assert_eq!(without_wishes(paused(false), &running), paused(false));
    }

    #[test]
    fn differences_come_with_their_surroundings() {
        let before = (1..=20).map(|line| line.to_string()).collect::<Vec<_>>().join("\n") + "\n";
        let after = before.replace("\n10\n", "\nten\n").replace("\n20\n", "\n20\n21\n");
        let expected = [
            "@@ -7,7 +7,7 @@",
            " 7",
            " 8",
            " 9",
            "-10",
            "+ten",
            " 11",
            " 12",
            " 13",
            "@@ -18,3 +18,4 @@",
            " 18",
            " 19",
            " 20",
            "+21",
        ];
        assert_eq!(unified(&before, &after), expected);
        assert!(unified(&before, &before).is_empty());
        assert_eq!(unified("", "a\n"), ["@@ -0,0 +1,1 @@", "+a"]);
    }
}
