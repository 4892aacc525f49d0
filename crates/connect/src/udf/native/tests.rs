//! Each stand-in does what its description says, message by message.

use futures::FutureExt;
use model::Origin;

use super::*;

/// What the stand-in for `image` makes of a payload: (keys, value, tags) of each result.
fn results(image: &str, payloads: &[&'static str]) -> Vec<Vec<(String, String, String)>> {
    let Some(StandIn { code: Code::Map(make), .. }) = stand_in(image) else {
        panic!("no map stands in for {image}")
    };
    let message = |payload: &&'static str| {
        let offset = Origin::Numbered { number: 1, partition: 0 };
        let mut message = Message::from_source("in".into(), offset, (*payload).into(), Time::from_millis(5));
        message.keys = vec!["k".into()];
        message
    };
    let messages = Arc::new(payloads.iter().map(message).collect::<Vec<_>>());
    let replies = make("v".into()).map(messages, Time::UNKNOWN).now_or_never().unwrap().unwrap();
    let show = |output: &Message| {
        let value = String::from_utf8(output.value.to_vec()).unwrap();
        (output.keys.join(":"), value, output.tags.join(":"))
    };
    replies.iter().map(|reply| reply.outputs.iter().map(show).collect()).collect()
}

fn one(keys: &str, value: &str, tags: &str) -> Vec<(String, String, String)> {
    vec![(keys.to_owned(), value.to_owned(), tags.to_owned())]
}

#[test]
fn the_repository_name_counts_and_nothing_else() {
    for image in [
        "map-cat",
        "quay.io/numaio/numaflow-go/map-cat:stable",
        "mirror.example.com:5000/x/map-cat@sha256:00",
        "quay.io/numaio/numaflow-rs/map-cat:v0.2",
    ] {
        assert_eq!(results(image, &["a"]), [one("k", "a", "")], "{image}");
    }
    for image in ["", "nginx", "quay.io/numaio/numaflow-go/map-cat-not:stable", "a/map-cat/b"] {
        assert!(stand_in(image).is_none(), "{image}");
    }
}

#[test]
fn even_and_odd_follow_the_language_of_the_image() {
    let go = results("quay.io/numaio/numaflow-go/map-even-odd:stable", &["12", "-7", "x", "1.5", ""]);
    assert_eq!(go[0], one("even", "12", "even-tag"));
    assert_eq!(go[1], one("odd", "-7", "odd-tag"));
    assert_eq!(go[2..], [one("", "", DROP), one("", "", DROP), one("", "", DROP)]);
    let rust = results("quay.io/numaio/numaflow-rs/map-even-odd:stable", &["3", "x"]);
    assert_eq!(rust, [one("odd", "3", ""), one("even", "x", "")]);
    assert!(stand_in("quay.io/numaio/numaflow-python/even-odd:stable").is_none());
}

#[test]
fn payloads_are_cut_at_commas() {
    let cut = results("quay.io/numaio/numaflow-go/map-flatmap:stable", &["a,,b", "", "alone"]);
    let values: Vec<Vec<&str>> =
        cut.iter().map(|made| made.iter().map(|one| one.1.as_str()).collect()).collect();
    assert_eq!(values, [vec!["a", "", "b"], vec![""], vec!["alone"]]);
    assert!(cut.iter().flatten().all(|one| one.0.is_empty()));
}

#[test]
fn filters_look_into_json() {
    let payloads = [r#"{"id":99.9}"#, r#"{"id":"7"}"#, r#"{"id":100}"#, "{}", "no json", r#"{"id":null}"#];
    let passed: Vec<bool> =
        results("map-filter-id", &payloads).iter().map(|made| made[0].2.is_empty()).collect();
    assert_eq!(passed, [true, true, false, false, false, false]);
    let payloads = [
        r#"{"id":1,"msg":"hello","desc":"all good"}"#,
        r#"{"id":1,"msg":"hello","desc":"bad"}"#,
        r#"{"id":1,"msg":"hi","desc":"good"}"#,
    ];
    let passed: Vec<bool> =
        results("map-filter", &payloads).iter().map(|made| made[0].2.is_empty()).collect();
    assert_eq!(passed, [true, false, false]);
}

#[test]
fn ticks_become_readable() {
    let payloads = [
        r#"{"Data":{"value":42,"padding":"AAAA"},"Createdts":1709210096999999999}"#,
        r#"{"Data":{"value":1},"Createdts":951782400000000000}"#,
        r#"{"Data":{},"Createdts":-1}"#,
        "no json",
    ];
    let ticks = results("map-tickgen", &payloads);
    assert_eq!(ticks[0], one("k", r#"{"Value":42,"Time":"2024-02-29T12:34:56Z"}"#, ""));
    assert_eq!(ticks[1], one("k", r#"{"Value":1,"Time":"2000-02-29T00:00:00Z"}"#, ""));
    assert_eq!(ticks[2], one("k", r#"{"Value":0,"Time":"1969-12-31T23:59:59Z"}"#, ""));
    assert!(ticks[3].is_empty());
}

#[test]
fn a_payload_is_let_go_the_third_time() {
    let rounds = results("map-retry", &["a", "b", "a", "a", "a"]);
    let tags: Vec<&str> = rounds.iter().map(|made| made[0].2.as_str()).collect();
    assert_eq!(tags, ["retry", "retry", "retry", "", "retry"]);
}

#[test]
fn transformers_set_the_event_time() {
    let at = |image: &str, millis: i64| {
        let Some(StandIn { code: Code::Map(make), .. }) = stand_in(image) else { panic!("{image} is a map") };
        let offset = Origin::Numbered { number: 1, partition: 0 };
        let message = Message::from_source("in".into(), offset, "x".into(), Time::from_millis(millis));
        let replies = make("in".into()).map(Arc::new(vec![message]), Time::UNKNOWN).now_or_never().unwrap();
        replies.unwrap().remove(0).outputs.remove(0)
    };
    let filter = "quay.io/numaio/numaflow-go/mapt-event-time-filter:stable";
    assert_eq!(at(filter, 1_640_995_199_999).tags, [DROP]);
    let within = at(filter, 1_660_000_000_000);
    assert_eq!(
        (within.event_time.millis(), within.tags.join("")),
        (1_640_995_200_000, "within_year_2022".to_owned())
    );
    assert_eq!(at(filter, 1_672_531_200_000).tags, ["after_year_2022"]);
    let now = at("quay.io/numaio/numaflow-rs/source-transformer-now:stable", 5);
    assert!(now.event_time.millis() > 1_700_000_000_000);
    assert_eq!(now.id.to_string(), "in-1-0-0");
}

#[test]
fn a_sink_is_there_too() {
    assert!(matches!(
        stand_in("quay.io/numaio/numaflow-rs/sink-log:stable"),
        Some(StandIn { code: Code::Sink(_), .. })
    ));
}
