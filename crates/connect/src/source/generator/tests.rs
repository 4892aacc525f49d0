//! What a generator makes and when.

use super::*;

fn settings() -> Settings {
    Settings { messages_per_unit: 10, ..Settings::new("in".into(), 3) }
}

async fn read(opened: &mut Opened, max: usize, wait_ms: u64) -> Batch {
    opened.source.read(max, Duration::from_millis(wait_ms)).await.unwrap().unwrap()
}

fn texts(batch: &Batch) -> Vec<String> {
    batch.messages.iter().map(|message| String::from_utf8(message.value.to_vec()).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_payload_has_the_agreed_shape() {
    let mut opened = open(settings()).unwrap();
    let batch = read(&mut opened, 2, 0).await;
    for (message, text) in batch.messages.iter().zip(texts(&batch)) {
        let Origin::Numbered { number, partition: 3 } = message.offset else {
            panic!("{:?}", message.offset)
        };
        assert_eq!(text, format!(r#"{{"id":"{number}-3","value":{}}}"#, message.event_time.nanos()));
        assert_eq!(message.id.to_string(), format!("in-{number}-3-0"));
        assert!(message.attributes.is_empty());
        assert!(message.keys.is_empty());
    }
    let mut with_value = open(Settings { value: Some(u64::MAX), message_bytes: 11, ..settings() }).unwrap();
    let batch = read(&mut with_value, 1, 0).await;
    let text = texts(&batch).remove(0);
    let padding = text.split_once(r#","value":18446744073709551615,"padding":["#).unwrap().1;
    let bytes: Vec<u8> =
        padding.strip_suffix("]}").unwrap().split(',').map(|byte| byte.parse().unwrap()).collect();
    assert_eq!(bytes.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn padding_of_every_length_is_json_with_that_many_numbers() {
    for message_bytes in [0, 8, 9, 15, 16, 17, 100, 1024] {
        let mut opened = open(Settings { message_bytes, ..settings() }).unwrap();
        let batch = read(&mut opened, 1, 0).await;
        let json: serde_json::Value = serde_json::from_slice(&batch.messages[0].value).unwrap();
        let padding = json.get("padding").and_then(|padding| padding.as_array()).map_or(0, Vec::len);
        assert_eq!(padding, message_bytes.saturating_sub(8));
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_the_whole_payload() {
    let payload = Some(Bytes::from_static(b"exactly this"));
    let mut opened = open(Settings { payload, value: Some(1), message_bytes: 99, ..settings() }).unwrap();
    assert_eq!(texts(&read(&mut opened, 2, 0).await), ["exactly this", "exactly this"]);
}

#[tokio::test(start_paused = true)]
async fn each_unit_of_time_gives_its_quota_and_no_more() {
    let mut opened = open(settings()).unwrap();
    let start = Instant::now();
    let mut counts = Vec::new();
    while start.elapsed() < Duration::from_millis(2500) {
        let batch = read(&mut opened, 4, 250).await;
        counts.push(batch.messages.len());
    }
    assert_eq!(counts.iter().sum::<usize>(), 30, "{counts:?}");
    assert_eq!(counts[..7], [4, 4, 2, 0, 0, 0, 4], "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn missed_units_are_not_made_up_for() {
    let mut opened = open(settings()).unwrap();
    assert_eq!(read(&mut opened, 4, 0).await.messages.len(), 4);
    tokio::time::advance(Duration::from_millis(5300)).await;
    assert_eq!(read(&mut opened, 100, 0).await.messages.len(), 10, "one quota, not five, and none left over");
    let before = Instant::now();
    assert_eq!(read(&mut opened, 100, 10_000).await.messages.len(), 10);
    assert_eq!(before.elapsed().as_millis(), 700, "units start at fixed instants");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_read_takes_nothing_with_it() {
    let mut opened = open(settings()).unwrap();
    let all = read(&mut opened, 10, 0).await;
    assert_eq!(all.end, Some(Position { sequence: 10, index: 0 }));
    for _ in 0..5 {
        let pending = opened.source.read(10, Duration::from_secs(9));
        tokio::time::timeout(Duration::from_millis(100), pending).await.unwrap_err();
    }
    let next = read(&mut opened, 100, 9000).await;
    assert_eq!((next.messages.len(), next.end), (10, Some(Position { sequence: 20, index: 0 })));
}

#[tokio::test(start_paused = true)]
async fn the_count_goes_on_after_a_restart() {
    let mut opened = open(Settings { keys: 3, ..settings() }).unwrap();
    opened.source.resume(Position { sequence: 100, index: 0 }).await.unwrap();
    let batch = read(&mut opened, 4, 0).await;
    assert_eq!(batch.end, Some(Position { sequence: 104, index: 0 }));
    let keys: Vec<_> = batch.messages.iter().map(|message| message.keys[0].as_str()).collect();
    assert_eq!(keys, ["key-1", "key-2", "key-0", "key-1"]);
}

#[tokio::test(start_paused = true)]
async fn keys_go_round_and_bound_the_rate() {
    let mut opened = open(Settings { keys: 4, ..settings() }).unwrap();
    let batch = read(&mut opened, 100, 0).await;
    assert_eq!(batch.messages.len(), 8, "10 is rounded down to a multiple of 4");
    let mut few = open(Settings { keys: 200, messages_per_unit: 2, ..settings() }).unwrap();
    let batch = read(&mut few, 100, 0).await;
    let keys: Vec<_> = batch.messages.iter().map(|message| message.keys[0].as_str()).collect();
    assert_eq!(keys, ["key-0", "key-1"], "there are no more keys than messages");
}

#[tokio::test(start_paused = true)]
async fn jitter_moves_event_times_back_by_whole_seconds() {
    let jitter = Duration::from_secs(30);
    let mut opened = open(Settings { jitter, messages_per_unit: 1000, ..settings() }).unwrap();
    let batch = read(&mut opened, 1000, 0).await;
    let mut seen = std::collections::BTreeSet::new();
    for (message, text) in batch.messages.iter().zip(texts(&batch)) {
        let Origin::Numbered { number, .. } = message.offset else { panic!("{:?}", message.offset) };
        let back = number - message.event_time.nanos() as u64;
        assert_eq!(back % 1_000_000_000, 0);
        assert!(back < 30_000_000_000);
        seen.insert(back);
        assert!(text.ends_with(&format!(r#""value":{}}}"#, message.event_time.nanos())));
    }
    assert!(seen.len() > 20, "{} different shifts", seen.len());

    let mut short = open(Settings { jitter: Duration::from_millis(900), ..settings() }).unwrap();
    let message = read(&mut short, 1, 0).await.messages.remove(0);
    let Origin::Numbered { number, .. } = message.offset else { panic!("{:?}", message.offset) };
    assert_eq!(message.event_time.nanos() as u64, number, "less than a second is no jitter");
}

#[tokio::test(start_paused = true)]
async fn numbers_grow_across_reads() {
    let mut opened = open(Settings { messages_per_unit: 100_000, ..settings() }).unwrap();
    let mut last = 0;
    for _ in 0..200 {
        for message in read(&mut opened, 500, 0).await.messages {
            let Origin::Numbered { number, .. } = message.offset else { panic!("{:?}", message.offset) };
            assert!(number > last);
            last = number;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_zero_waits_and_gives_nothing() {
    let mut opened = open(Settings { messages_per_unit: 0, keys: 3, ..settings() }).unwrap();
    let before = Instant::now();
    assert_eq!(read(&mut opened, 10, 300).await.messages.len(), 0);
    assert_eq!(before.elapsed().as_millis(), 300);
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let unit = Duration::from_millis(9);
    let refused = |settings| open(settings).err().unwrap().to_string();
    assert_eq!(
        refused(Settings { unit, ..settings() }),
        "generate messages every 9ms: the shortest `duration` is 10ms; set a longer one and a larger `rpu`"
    );
    assert_eq!(
        refused(Settings { message_bytes: 262_145, ..settings() }),
        "generate messages of 262145 bytes: `msgSize` is at most 262144"
    );
}
