//! Logs over HTTP.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;

use super::caller::{Site, request, text};
use super::fake;

/// A site whose vertices `in` and `cat` have a log each.
async fn site_with_logs() -> (Site, [PathBuf; 2]) {
    let site = Site::start().await;
    let logs = ["in.log", "cat.log"].map(|name| site.dir.path().join(name));
    let mut object = fake::pipeline("p");
    for (vertex, log) in object.vertices.iter_mut().zip(&logs) {
        vertex.revisions[0].workers[0].containers[0].log = Some(log.display().to_string());
    }
    site.place.put(object);
    (site, logs)
}

fn write(path: &Path, second: u32, what: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "2026-01-01T00:00:{second:02}.000Z stdout F {what}").unwrap();
}

async fn get(site: &Site, query: &str) -> (StatusCode, String) {
    text(site.open(request("GET", &format!("/api/v2/logs?object=p{query}"), "")).await).await
}

/// Reads until the text is there.
async fn read_until(body: &mut Incoming, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let frame = body.frame().await.unwrap_or_else(|| panic!("ended after {text:?}")).unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    text
}

#[tokio::test]
async fn lines_of_several_logs_come_in_the_order_of_their_times() {
    let (site, [of_in, of_cat]) = site_with_logs().await;
    write(&of_in, 1, "a");
    write(&of_cat, 2, "b");
    write(&of_in, 3, "c");
    let (status, text) = get(&site, "&prefix=true").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        "in-0/udf | 2026-01-01T00:00:01.000Z stdout F a\ncat-0/udf | 2026-01-01T00:00:02.000Z stdout F b\n\
         in-0/udf | 2026-01-01T00:00:03.000Z stdout F c\n"
    );
    assert_eq!(get(&site, "&tail=1").await.1, "2026-01-01T00:00:03.000Z stdout F c\n");
    assert_eq!(get(&site, "&vertex=cat").await.1, "2026-01-01T00:00:02.000Z stdout F b\n");
    assert_eq!(get(&site, "&tail=0").await.1, "");
    let (status, body) = get(&site, "&replica=7").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("there are in-0/udf, cat-0/udf"), "{body}");
}

#[tokio::test]
async fn what_is_written_later_follows_also_from_containers_that_start_later() {
    let (site, [of_in, of_cat]) = site_with_logs().await;
    write(&of_in, 1, "first");
    let mut body = site.open(request("GET", "/api/v2/logs?object=p&follow=true", "")).await.into_body();
    read_until(&mut body, "first\n").await;
    write(&of_in, 2, "second");
    read_until(&mut body, "second\n").await;
    let late = of_cat.with_file_name("late.log");
    write(&late, 3, "late");
    site.place.change("p", |object| {
        let mut worker = object.vertices[1].revisions[0].workers[0].clone();
        worker.replica = 1;
        worker.containers[0].log = Some(late.display().to_string());
        object.vertices[1].revisions[0].workers.push(worker);
    });
    read_until(&mut body, "late\n").await;
    std::fs::rename(&of_in, of_in.with_extension("log.1")).unwrap();
    write(&of_in, 4, "fresh");
    read_until(&mut body, "fresh\n").await;
}

#[tokio::test]
async fn a_stream_ends_with_its_object() {
    let (site, [of_in, _]) = site_with_logs().await;
    write(&of_in, 1, "last");
    let body = site.open(request("GET", "/api/v2/logs?object=p&follow=true", "")).await;
    site.place.script(Box::new(|object| object.phase = "gone".to_owned()));
    assert!(text(body).await.1.ends_with("last\n"));
}
