//! Every route and every refusal.

use hyper::StatusCode;
use platform::place::Wish;
use serde_json::json;

use super::caller::{Site, request, text};
use super::fake;

#[tokio::test]
async fn objects_are_listed_and_found_by_name() {
    let site = Site::start().await;
    assert_eq!(site.get("/api/v2/objects").await, (StatusCode::OK, json!([])));
    site.place.put(fake::pipeline("b"));
    site.place.put(fake::pipeline("a"));
    let (status, list) = site.get("/api/v2/objects").await;
    assert_eq!((status, &list[0]["name"], &list[1]["name"]), (StatusCode::OK, &json!("a"), &json!("b")));
    let (status, object) = site.get("/api/v2/objects/a").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(object, serde_json::to_value(fake::pipeline("a")).unwrap());
}

#[tokio::test]
async fn every_refusal_has_a_status_of_its_kind_and_one_form() {
    let site = Site::start().await;
    site.place.put(fake::pipeline("p"));
    let files = json!({"files": [{"name": "p.yaml", "text": "nonsense"}]}).to_string();
    let promote = json!({"wish": "promote", "full": false}).to_string();
    for (method, path, body, status, kind) in [
        ("GET", "/api/v2/objects/nope", "", StatusCode::NOT_FOUND, "notFound"),
        ("GET", "/api/v2/objects/broken", "", StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        ("GET", "/api/v2/objects/nope/why", "", StatusCode::NOT_FOUND, "notFound"),
        ("GET", "/api/v2/objects/nope/history", "", StatusCode::NOT_FOUND, "notFound"),
        ("GET", "/api/v2/objects/nope/incidents", "", StatusCode::NOT_FOUND, "notFound"),
        ("GET", "/api/v2/logs?object=nope", "", StatusCode::NOT_FOUND, "notFound"),
        ("GET", "/api/v2/logs?object=p", "", StatusCode::NOT_FOUND, "notFound"),
        ("GET", "/api/v2/logs?object=p&tail=10001", "", StatusCode::BAD_REQUEST, "invalid"),
        ("GET", "/api/v2/logs?object=p&tail=x", "", StatusCode::BAD_REQUEST, "invalid"),
        ("GET", "/api/v2/logs?object=p&colour=red", "", StatusCode::BAD_REQUEST, "invalid"),
        ("GET", "/api/v2/events?limit=0", "", StatusCode::BAD_REQUEST, "invalid"),
        ("GET", "/api/v2/events?after=-1", "", StatusCode::BAD_REQUEST, "invalid"),
        ("GET", "/api/v2/watch?after=x", "", StatusCode::BAD_REQUEST, "invalid"),
        ("DELETE", "/api/v2/objects/nope", "", StatusCode::NOT_FOUND, "notFound"),
        ("DELETE", "/api/v2/objects/p?force=perhaps", "", StatusCode::BAD_REQUEST, "invalid"),
        ("POST", "/api/v2/apply", "{", StatusCode::BAD_REQUEST, "invalid"),
        ("POST", "/api/v2/apply", "[1]", StatusCode::BAD_REQUEST, "invalid"),
        ("POST", "/api/v2/apply", &files, StatusCode::BAD_REQUEST, "invalid"),
        ("POST", "/api/v2/objects/p/wishes", "{\"wish\":\"dance\"}", StatusCode::BAD_REQUEST, "invalid"),
        ("POST", "/api/v2/objects/p/wishes", &promote, StatusCode::CONFLICT, "conflict"),
        ("GET", "/api/v2/nope", "", StatusCode::NOT_FOUND, "notFound"),
        ("GET", "/", "", StatusCode::NOT_FOUND, "notFound"),
        ("PUT", "/api/v2/objects", "", StatusCode::METHOD_NOT_ALLOWED, "invalid"),
    ] {
        let (found, body) = site.ask(method, path, body).await;
        assert_eq!(found, status, "{method} {path}: {body}");
        assert_eq!(body["error"]["kind"], kind, "{method} {path}: {body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{method} {path}");
        assert!(body["error"]["complaints"].is_array(), "{method} {path}");
    }
    let (_, body) = site.ask("POST", "/api/v2/apply", &files).await;
    assert_eq!(body["error"]["complaints"], json!(["p.yaml:1: error: nonsense"]));
    assert_eq!(site.place.wishes(), []);
}

#[tokio::test]
async fn manifests_are_applied_as_they_were_sent() {
    let site = Site::start().await;
    site.place.answer(vec![fake::applied("p", "configured", &["live", "rolling"])]);
    let sent = json!({
        "files": [{"name": "/p.yaml", "text": "kind: Pipeline", "imageMap": "images: {}"}],
        "exec": ["cat=python3 udf.py"], "dryRun": true,
    });
    let (status, body) = site.ask("POST", "/api/v2/apply", &sent.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&body[0]["class"], &body[0]["changes"][1]["class"]), (&json!("rolling"), &json!("rolling")));
    let [applied] = &site.place.applied()[..] else { panic!("applied once") };
    assert!(applied.dry_run);
    assert_eq!(applied.exec, ["cat=python3 udf.py"]);
    assert_eq!(applied.files[0].image_map.as_deref(), Some("images: {}"));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_it_is_understood() {
    let site = Site::start().await;
    let apply = |size: usize| json!({"files": [{"name": "p", "text": "x".repeat(size)}]}).to_string();
    let (status, _) = site.ask("POST", "/api/v2/apply", &apply(15 * 1024 * 1024)).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = site.ask("POST", "/api/v2/apply", &apply(16 * 1024 * 1024)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(body["error"]["kind"], "invalid");
    assert_eq!(site.place.applied().len(), 1);
}

#[tokio::test]
async fn wishes_reach_the_place() {
    let site = Site::start().await;
    site.place.put(fake::pipeline("p"));
    let scale = json!({"wish": "scale", "vertex": "cat", "replicas": 3}).to_string();
    let (status, _) = site.ask("POST", "/api/v2/objects/p/wishes", &scale).await;
    assert_eq!(status, StatusCode::OK);
    let (_, object) = site.ask("POST", "/api/v2/objects/p/wishes", "{\"wish\":\"pause\"}").await;
    assert_eq!(object["phase"], "Pausing (draining, 9 left)");
    let (status, _) = site.ask("DELETE", "/api/v2/objects/p?force=true", "").await;
    assert_eq!(status, StatusCode::OK);
    site.ask("DELETE", "/api/v2/objects/p", "").await;
    let wishes: Vec<Wish> = site.place.wishes().into_iter().map(|(_, wish)| wish).collect();
    assert_eq!(
        wishes,
        [
            Wish::Scale { vertex: Some("cat".to_owned()), replicas: Some(3) },
            Wish::Pause,
            Wish::Delete { force: true },
            Wish::Delete { force: false },
        ]
    );
}

#[tokio::test]
async fn events_are_given_by_object_number_and_limit() {
    let site = Site::start().await;
    for (object, reason) in [("p", "Paused"), ("q", "Paused"), ("p", "Resumed")] {
        site.place.say(object, plan::Event::normal("", reason, "it was asked for"));
    }
    let reasons = |body: serde_json::Value| {
        let events = body.as_array().unwrap().clone();
        events.iter().map(|event| format!("{}{}", event["number"], event["reason"])).collect::<Vec<_>>()
    };
    let of = async |query: &str| reasons(site.get(&format!("/api/v2/events{query}")).await.1);
    assert_eq!(of("").await, ["1\"Paused\"", "2\"Paused\"", "3\"Resumed\""]);
    assert_eq!(of("?object=p&after=1").await, ["3\"Resumed\""]);
    assert_eq!(of("?limit=1").await, ["1\"Paused\""]);
}

#[tokio::test]
async fn incidents_findings_and_histories_are_told() {
    let site = Site::start().await;
    let mut object = fake::pipeline("p");
    object.phase = "Pausing".to_owned();
    site.place.put(object);
    let (_, body) = site.get("/api/v2/objects/p/incidents").await;
    assert_eq!(body[0]["message"], "it divided by zero");
    let (_, body) = site.get("/api/v2/objects/p/why").await;
    assert_eq!(body[0]["what"], "cat has 9 messages left and no worker");
    let (_, body) = site.get("/api/v2/objects/p/history").await;
    assert_eq!((&body["cat"][1]["state"], &body["cat"][1]["number"]), (&json!("RolledBack"), &json!(2)));
}

#[tokio::test]
async fn a_watch_answers_when_something_changes() {
    let site = Site::start().await;
    let (_, first) = site.get("/api/v2/watch?after=0").await;
    let version = first["version"].as_u64().unwrap();
    let path = format!("/api/v2/watch?after={version}");
    let waiting = site.get(&path);
    let changing = async {
        site.place.put(fake::pipeline("p"));
    };
    let ((status, then), ()) = tokio::join!(waiting, changing);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(then["version"], version + 1);
}

#[tokio::test]
async fn metrics_and_liveness_are_plain_text_and_the_version_is_told() {
    let site = Site::start().await;
    let response = site.open(request("GET", "/metrics", "")).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert_eq!(text(response).await, (StatusCode::OK, "# EOF\n".to_owned()));
    let live = site.open(request("GET", "/livez", "")).await;
    assert_eq!(text(live).await, (StatusCode::OK, "ok\n".to_owned()));
    let (_, version) = site.get("/api/v2/version").await;
    assert_eq!(version["process"], std::process::id());
    assert_eq!(version["apiVersion"], api::API_VERSION);
}
