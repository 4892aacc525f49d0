//! How serving ends.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use tidegate_server::End;

use super::caller::{Site, request};
use super::fake;

#[tokio::test]
async fn a_caller_may_ask_for_the_end_and_gets_an_answer() {
    let mut site = Site::start().await;
    let (status, _) = site.ask("POST", "/api/v2/shutdown", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(site.serving.join_next().await.unwrap().unwrap(), End::Asked);
    assert!(!site.socket.exists());
    // Ending the place is for whoever started it.
    assert!(!site.place.is_shut_down());
}

#[tokio::test]
async fn the_end_lets_those_who_wait_go_at_once() {
    let mut site = Site::start().await;
    let log = site.dir.path().join("log");
    std::fs::write(&log, "2026-01-01T00:00:00.000Z stdout F one\n").unwrap();
    let mut object = fake::pipeline("p");
    object.vertices[1].revisions[0].workers[0].containers[0].log = Some(log.display().to_string());
    site.place.put(object);
    let mut logs = site.open(request("GET", "/api/v2/logs?object=p&follow=true", "")).await.into_body();
    assert!(logs.frame().await.unwrap().unwrap().is_data());
    site.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(4), site.serving.join_next()).await;
    assert_eq!(ended.unwrap().unwrap().unwrap(), End::Told);
    assert!(logs.frame().await.is_none());
}
