//! What the demo images do with one message.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::{Message, Time};
use serde_json::Value;
use smol_str::SmolStr;

use super::{Demo, Made};

/// The start of 2022 and of 2023, in milliseconds since the epoch.
const YEAR_2022_MS: i64 = 1_640_995_200_000;
const YEAR_2023_MS: i64 = 1_672_531_200_000;
/// Payloads that are remembered at the same time; beyond it a payload is let go at once.
const REMEMBERED_MAX: usize = 1 << 20;

pub(super) fn cat(message: &Message) -> Vec<Made> {
    vec![Made { keys: message.keys.clone(), ..Made::plain(message.value.clone()) }]
}

/// An integer as Go reads one: a sign, digits, 64 bits.
fn integer(payload: &[u8]) -> Option<i64> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

pub(super) fn even_odd_tags(message: &Message) -> Vec<Made> {
    let Some(number) = integer(&message.value) else {
        return vec![Made::drop()];
    };
    let (key, tag) = if number % 2 == 0 { ("even", "even-tag") } else { ("odd", "odd-tag") };
    vec![Made {
        keys: vec![SmolStr::new_static(key)],
        tags: vec![SmolStr::new_static(tag)],
        ..Made::plain(message.value.clone())
    }]
}

pub(super) fn even_odd_keys(message: &Message) -> Vec<Made> {
    let number = integer(&message.value).and_then(|number| i32::try_from(number).ok()).unwrap_or(0);
    let key = if number % 2 == 0 { "even" } else { "odd" };
    vec![Made { keys: vec![SmolStr::new_static(key)], ..Made::plain(message.value.clone()) }]
}

pub(super) fn flat_map(message: &Message) -> Vec<Made> {
    parts(&message.value).map(Made::plain).collect()
}

pub(super) fn flat_map_keys(message: &Message) -> Vec<Made> {
    parts(&message.value).map(|part| Made { keys: message.keys.clone(), ..Made::plain(part) }).collect()
}

fn parts(payload: &Bytes) -> impl Iterator<Item = Bytes> {
    payload.split(|byte| *byte == b',').map(|part| payload.slice_ref(part))
}

pub(super) fn filter_id(message: &Message) -> Vec<Made> {
    pass(message, small_id)
}

pub(super) fn filter(message: &Message) -> Vec<Made> {
    pass(message, |fields| {
        let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        small_id(fields) && text("msg") == "hello" && text("desc").contains("good")
    })
}

fn pass(message: &Message, wanted: impl Fn(&serde_json::Map<String, Value>) -> bool) -> Vec<Made> {
    let fields = serde_json::from_slice(&message.value);
    let passes = fields.is_ok_and(|fields| wanted(&fields));
    vec![if passes { Made::plain(message.value.clone()) } else { Made::drop() }]
}

/// Whether there is an id, as a number (cut to an integer) or as text, and it is below 100.
fn small_id(fields: &serde_json::Map<String, Value>) -> bool {
    let id = match fields.get("id") {
        Some(Value::Number(number)) => number.as_f64().map(|number| number as i64),
        Some(Value::String(text)) => integer(text.as_bytes()),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    id.is_some_and(|id| id < 100)
}

pub(super) fn tickgen(message: &Message) -> Vec<Made> {
    let Ok(fields) = serde_json::from_slice::<serde_json::Map<String, Value>>(&message.value) else {
        return Vec::new();
    };
    let value = fields.get("Data").and_then(|data| data.get("value")).and_then(Value::as_u64).unwrap_or(0);
    let created = fields.get("Createdts").and_then(Value::as_i64).unwrap_or(0);
    let text = format!(r#"{{"Value":{value},"Time":"{}"}}"#, rfc_3339(Time::from_nanos(created)));
    vec![Made { keys: message.keys.clone(), ..Made::plain(text.into()) }]
}

/// The time in UTC, to the second.
fn rfc_3339(time: Time) -> String {
    let (seconds, _) = time.parts();
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of year 0; months are counted from March, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

pub(super) fn now(message: &Message) -> Vec<Made> {
    // A clock before 1970 counts as 1970.
    let now = Time::default().after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    vec![Made { keys: message.keys.clone(), event_time: Some(now), ..Made::plain(message.value.clone()) }]
}

pub(super) fn event_time_filter(message: &Message) -> Vec<Made> {
    let (year_2022, year_2023) = (Time::from_millis(YEAR_2022_MS), Time::from_millis(YEAR_2023_MS));
    if message.event_time < year_2022 {
        return vec![Made { event_time: Some(message.event_time), ..Made::drop() }];
    }
    let (start, tag) = if message.event_time < year_2023 {
        (year_2022, "within_year_2022")
    } else {
        (year_2023, "after_year_2022")
    };
    vec![Made {
        tags: vec![SmolStr::new_static(tag)],
        event_time: Some(start),
        ..Made::plain(message.value.clone())
    }]
}

/// How often each payload has come, until it is let go.
#[derive(Default)]
pub(super) struct Retry {
    seen: Mutex<HashMap<Bytes, u8>>,
}

impl Demo for Retry {
    fn act(&self, message: &Message) -> Vec<Made> {
        let mut seen = self.seen.lock().expect("nothing panics while the map is locked");
        let before = seen.get(&message.value).copied().unwrap_or(0);
        let full = before == 0 && seen.len() >= REMEMBERED_MAX;
        if before >= 2 || full {
            seen.remove(&message.value);
            return vec![Made::plain(message.value.clone())];
        }
        // The payload may be part of something much larger, which need not be kept.
        seen.insert(Bytes::copy_from_slice(&message.value), before + 1);
        vec![Made { tags: vec![SmolStr::new_static("retry")], ..Made::plain(message.value.clone()) }]
    }
}
