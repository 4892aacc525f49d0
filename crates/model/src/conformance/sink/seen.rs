//! What holds for sinks whose outside can be looked at.

use std::pin::pin;

use bytes::Bytes;

use super::super::wait::{polled, within};
use super::Bench;
use super::kit::{close, message, messages, succeeded, value, write};
use crate::Time;

fn values(numbers: impl IntoIterator<Item = u64>) -> Vec<Bytes> {
    numbers.into_iter().map(value).collect()
}

/// When a write has returned, what is done is outside, once, in the order of writing.
pub async fn what_is_done_is_outside_in_order(bench: &mut dyn Bench) {
    let mut sink = within("open", bench.open()).await;
    let mut first = 0;
    for count in [1, 3, 250, 1, 20] {
        write(&mut *sink, messages(first, count)).await;
        first += count;
        assert_eq!(within("look outside", bench.outside()).await, values(0..first));
    }
    close(&mut *sink).await;
    assert_eq!(within("look outside", bench.outside()).await, values(0..first));
}

/// Values are neither cut nor changed: empty ones, large ones, and bytes that are no text.
pub async fn values_arrive_as_they_are(bench: &mut dyn Bench) {
    let mut sink = within("open", bench.open()).await;
    let all =
        [Bytes::new(), Bytes::from_static(b"\xff\x00\t\r"), Bytes::from(vec![b'x'; 300_000]), Bytes::new()];
    let numbered = (0..).zip(&all).map(|(number, value)| message(number, value.clone()));
    write(&mut *sink, numbered.collect()).await;
    close(&mut *sink).await;
    assert_eq!(within("look outside", bench.outside()).await, all);
}

/// What a former life has written stays, whether or not it was closed, and the next is added to it.
pub async fn a_later_life_goes_on(bench: &mut dyn Bench) {
    for life in 0..4 {
        let mut sink = within("open", bench.open()).await;
        write(&mut *sink, messages(life * 10, 10)).await;
        if life % 2 == 0 {
            close(&mut *sink).await;
        }
        drop(sink);
        assert_eq!(within("look outside", bench.outside()).await, values(0..life * 10 + 10));
    }
}

/// A write that is given up leaves its own messages outside or not, each at most once and in order, and those of
/// every other write as they are.
pub async fn an_abandoned_write_harms_no_other(bench: &mut dyn Bench) {
    let mut sink = within("open", bench.open()).await;
    let mut random = fastrand::Rng::with_seed(4);
    let (mut first, mut certain, mut open) = (0, Vec::new(), Vec::new());
    for _ in 0..40 {
        let count = random.u64(1..30);
        let batch = messages(first, count);
        let numbers = first..first + count;
        first += count;
        if random.bool() {
            write(&mut *sink, batch).await;
            certain.extend(numbers);
        } else {
            let writing = pin!(sink.write(&batch, Time::UNKNOWN));
            drop(polled(writing, random.u32(1..4)).await.and_then(succeeded));
            open.extend(numbers);
        }
    }
    write(&mut *sink, messages(first, 1)).await;
    certain.push(first);
    close(&mut *sink).await;
    let outside = within("look outside", bench.outside()).await;
    let possible = values(0..=first);
    let mut places = Vec::new();
    for found in &outside {
        let place = possible.iter().position(|value| value == found);
        places.push(place.unwrap_or_else(|| panic!("{found:?} was never written")) as u64);
    }
    let certain_places: Vec<_> = places.iter().copied().filter(|place| certain.contains(place)).collect();
    assert_eq!(certain_places, certain, "what was done is outside, once and in order");
    let open_places: Vec<_> = places.iter().copied().filter(|place| open.contains(place)).collect();
    assert!(open_places.is_sorted_by(|one, next| one < next), "{open_places:?} are doubled or out of order");
}
