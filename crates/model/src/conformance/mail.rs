//! What every place for notes must keep: one case for each promise of [`door::mail`](crate::door::mail).
//!
//! An implementation gives places and runs [`mail_conformance!`](crate::mail_conformance).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::wait::within;
use crate::door::mail::{Change, Mail, Watch};

/// Makes one `#[test]` for each case. `$run` is called with the case, an `AsyncFn(&dyn Mail)`, and with its name; it gives
/// the case a place with nothing in it.
#[macro_export]
macro_rules! mail_conformance {
    ($run:path) => {
        $crate::mail_conformance! { @cases $run;
            a_watch_begins_with_what_lies_there,
            a_watch_goes_on_with_each_latest,
            notes_of_one_key_come_in_their_order,
            a_note_that_is_taken_away_is_gone,
            taking_away_what_is_not_there_is_no_error,
            only_keys_below_are_watched,
            the_latest_comes_however_late_one_looks,
            two_watches_see_the_same,
            an_interrupted_wait_loses_nothing,
        }
    };
    (@cases $run:path; $($case:ident,)+) => {
        $(
            #[test]
            fn $case() {
                $run($crate::conformance::mail::$case, stringify!($case));
            }
        )+
    };
}

/// Notes that are written one after the other.
const MANY: u32 = 200;

async fn put(mail: &dyn Mail, key: &str, note: &str) {
    let note = Bytes::copy_from_slice(note.as_bytes());
    within("a note is left", mail.put(key, note)).await.expect("the place can be reached");
}

async fn remove(mail: &dyn Mail, key: &str) {
    within("a note is taken away", mail.remove(key)).await.expect("the place can be reached");
}

async fn watch(mail: &dyn Mail, under: &str) -> Box<dyn Watch> {
    within("a watch begins", mail.watch(under)).await.expect("the place can be reached")
}

async fn next(watch: &mut dyn Watch) -> Change {
    within("a change comes", watch.next()).await.expect("the place can be reached")
}

/// What is known of every key once this one has this note.
async fn until(watch: &mut dyn Watch, key: &str, note: Option<&str>) -> BTreeMap<String, Option<Bytes>> {
    let mut known = BTreeMap::new();
    loop {
        let change = next(watch).await;
        let is_it = change.key == key && change.note.as_deref() == note.map(str::as_bytes);
        known.insert(change.key, change.note);
        if is_it {
            return known;
        }
    }
}

fn text(note: Option<&Option<Bytes>>) -> Option<String> {
    note?.as_ref().map(|note| String::from_utf8_lossy(note).into_owned())
}

/// Every note that lies there comes, the latest of each key.
pub async fn a_watch_begins_with_what_lies_there(mail: &dyn Mail) {
    put(mail, "report.map.a-0", "old").await;
    put(mail, "report.map.a-0", "new").await;
    put(mail, "report.map.a-1", "other").await;
    put(mail, "report.map.z-0", "last").await;
    let known = until(watch(mail, "report.map").await.as_mut(), "report.map.z-0", Some("last")).await;
    assert_eq!(text(known.get("report.map.a-0")).as_deref(), Some("new"));
    assert_eq!(text(known.get("report.map.a-1")).as_deref(), Some("other"));
}

/// What is left later comes to those who watch already.
pub async fn a_watch_goes_on_with_each_latest(mail: &dyn Mail) {
    let mut watch = watch(mail, "orders.in").await;
    for note in ["1", "2", "3"] {
        put(mail, "orders.in.a-0", note).await;
        until(watch.as_mut(), "orders.in.a-0", Some(note)).await;
    }
}

/// Some may be left out, but none comes after a later one.
pub async fn notes_of_one_key_come_in_their_order(mail: &dyn Mail) {
    let mut watch = watch(mail, "report").await;
    for number in 0..MANY {
        put(mail, "report.out.b-1", &number.to_string()).await;
    }
    let mut last = None;
    while last != Some(MANY - 1) {
        let change = next(watch.as_mut()).await;
        let number: Option<u32> = text(Some(&change.note)).and_then(|text| text.parse().ok());
        assert!(number > last, "{number:?} came after {last:?}");
        last = number;
    }
}

/// Whoever watches hears that it is gone, and it does not lie there for those who come later.
pub async fn a_note_that_is_taken_away_is_gone(mail: &dyn Mail) {
    let mut early = watch(mail, "report.map").await;
    put(mail, "report.map.a-0", "here").await;
    until(early.as_mut(), "report.map.a-0", Some("here")).await;
    remove(mail, "report.map.a-0").await;
    until(early.as_mut(), "report.map.a-0", None).await;
    put(mail, "report.map.b-0", "after").await;
    let known = until(watch(mail, "report.map").await.as_mut(), "report.map.b-0", Some("after")).await;
    assert_eq!(text(known.get("report.map.a-0")), None);
}

/// Twice is as good as once.
pub async fn taking_away_what_is_not_there_is_no_error(mail: &dyn Mail) {
    remove(mail, "report.map.a-9").await;
    put(mail, "report.map.a-9", "here").await;
    remove(mail, "report.map.a-9").await;
    remove(mail, "report.map.a-9").await;
}

/// Keys begin with whole tokens.
pub async fn only_keys_below_are_watched(mail: &dyn Mail) {
    put(mail, "report.mapper.a-0", "longer").await;
    put(mail, "orders.map.a-0", "other").await;
    put(mail, "report.map.a-0", "below").await;
    put(mail, "report.map.z-0", "last").await;
    let known = until(watch(mail, "report.map").await.as_mut(), "report.map.z-0", Some("last")).await;
    let keys: Vec<_> = known.keys().map(String::as_str).collect();
    assert_eq!(keys, ["report.map.a-0", "report.map.z-0"]);
    let one = watch(mail, "report.map.a-0").await;
    let mut one = one;
    assert_eq!(next(one.as_mut()).await.key, "report.map.a-0");
}

/// A watch that is not looked at for long still ends with the latest.
pub async fn the_latest_comes_however_late_one_looks(mail: &dyn Mail) {
    let mut watch = watch(mail, "report").await;
    for number in 0..MANY {
        put(mail, &format!("report.v.a-{}", number % 3), &number.to_string()).await;
    }
    let mut latest = BTreeMap::new();
    while latest.len() < 3 || latest.values().max() != Some(&Some(MANY - 1)) {
        let change = next(watch.as_mut()).await;
        latest.insert(change.key, text(Some(&change.note)).and_then(|text| text.parse::<u32>().ok()));
    }
    let mut all: Vec<_> = latest.into_values().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, [MANY - 3, MANY - 2, MANY - 1]);
}

/// Nobody takes a note from anybody else.
pub async fn two_watches_see_the_same(mail: &dyn Mail) {
    let (mut one, mut other) = (watch(mail, "report").await, watch(mail, "report").await);
    put(mail, "report.v.a-0", "seen by all").await;
    until(one.as_mut(), "report.v.a-0", Some("seen by all")).await;
    until(other.as_mut(), "report.v.a-0", Some("seen by all")).await;
}

/// A wait that is dropped is as if it had not been.
pub async fn an_interrupted_wait_loses_nothing(mail: &dyn Mail) {
    let mut watch = watch(mail, "report").await;
    for number in 0..MANY / 10 {
        let note = number.to_string();
        {
            let mut wait = std::pin::pin!(watch.next());
            // One look, and then nobody waits any more.
            let looked = std::future::poll_fn(|context| std::task::Poll::Ready(wait.as_mut().poll(context)));
            drop(looked.await);
        }
        put(mail, "report.v.a-0", &note).await;
        until(watch.as_mut(), "report.v.a-0", Some(&note)).await;
    }
}
