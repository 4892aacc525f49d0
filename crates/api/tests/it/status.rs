//! What statuses look like to those who read them.

use api::spec::status::{
    Activity, ActivityState, Drain, DrainReason, DrainVerdict, DrainWindow, DrainWindowState,
    MonoVertexStatus, PipelineStatus, Remaining, Revision, RevisionState, RolledBack, Rollout, RolloutInput,
    RolloutKind, RolloutVerdict, RolloutVerdictKind, VertexStatus,
};
use serde_json::json;
use tidegate_api as api;

#[test]
fn a_status_without_extensions_shows_none() {
    let shown = serde_json::to_value(PipelineStatus::default()).unwrap();
    assert_eq!(shown, json!({}));
    let shown = serde_json::to_value(MonoVertexStatus::default()).unwrap();
    assert_eq!(shown, json!({"phase": "", "desiredReplicas": 0, "replicas": 0}));
}

#[test]
fn a_drain_names_what_is_left_and_why() {
    let remaining = Remaining {
        vertex: "out".to_owned(),
        partition: Some(1),
        messages: 7,
        reason: Some(DrainReason::SinkRefusing),
        message: None,
    };
    let windows = vec![DrainWindow {
        vertex: "r".to_owned(),
        partition: 0,
        count: 2,
        state: DrainWindowState::Checkpointed,
    }];
    let drain = Drain {
        remaining: 7,
        vertices: vec![remaining],
        verdict: DrainVerdict::CutOff,
        windows,
        estimate_seconds: Some(3),
        ..Drain::default()
    };
    let status = PipelineStatus { drain: Some(drain), ..PipelineStatus::default() };
    let shown = serde_json::to_value(&status).unwrap();
    let expected = json!({"drain": {
        "remaining": 7,
        "vertices": [{"vertex": "out", "partition": 1, "messages": 7, "reason": "SinkRefusing"}],
        "estimateSeconds": 3,
        "verdict": "cutOff",
        "windows": [{"vertex": "r", "partition": 0, "count": 2, "state": "checkpointed"}],
    }});
    assert_eq!(shown, expected);
    assert_eq!(serde_json::from_value::<PipelineStatus>(shown).unwrap(), status);
}

#[test]
fn a_rollout_keeps_its_verdict_and_what_it_was_made_from() {
    let verdict = RolloutVerdict {
        kind: RolloutVerdictKind::InsufficientData,
        inputs: vec![RolloutInput {
            name: "errorRatio".to_owned(),
            updated: Some(0.5),
            ..RolloutInput::default()
        }],
        ..RolloutVerdict::default()
    };
    let rollout = Rollout {
        kind: RolloutKind::Canary,
        step: Some(2),
        steps: Some(5),
        weight: Some(10),
        verdict: Some(verdict),
        rolled_back: Some(RolledBack { from: "b".to_owned(), to: "a".to_owned(), ..RolledBack::default() }),
        ..Rollout::default()
    };
    let status = VertexStatus {
        rollout: Some(rollout),
        activity: Some(Activity { state: ActivityState::Stuck, ..Activity::default() }),
        revisions: vec![Revision {
            number: 1,
            hash: "a".to_owned(),
            created_at: None,
            state: RevisionState::Serving,
        }],
        replicas_reason: Some("the backlog".to_owned()),
        ..VertexStatus::default()
    };
    let shown = serde_json::to_value(&status).unwrap();
    assert_eq!(
        shown["rollout"],
        json!({
            "kind": "Canary", "step": 2, "steps": 5, "weight": 10,
            "verdict": {"kind": "insufficientData", "inputs": [{"name": "errorRatio", "updated": 0.5}]},
            "rolledBack": {"from": "b", "to": "a", "reason": ""},
        })
    );
    assert_eq!(shown["activity"], json!({"state": "Stuck"}));
    assert_eq!(shown["revisions"], json!([{"number": 1, "hash": "a", "state": "Serving"}]));
    assert_eq!(shown["replicasReason"], "the backlog");
    assert_eq!(serde_json::from_value::<VertexStatus>(shown).unwrap(), status);
}
