//! Batches that are taken together, and batches that are cut.

use bytes::Bytes;
use model::{Name, Time};

use super::*;

fn message(number: u64, size: usize) -> Message {
    let origin = Origin::Numbered { number, partition: 0 };
    Message::from_source(Name::new("in"), origin, Bytes::from(vec![b'x'; size]), Time::MIN)
}

fn frame(index: u32) -> Position {
    Position { sequence: 7, index }
}

/// A batch of a frame from its message 2 on: `outputs` says for each message the sizes of its results.
fn batch(outputs: &[&[usize]], back: &[u32]) -> Processed {
    let mut processed = Processed {
        steps: Steps::in_frame(frame(2)),
        end: Position::after(7),
        taken: outputs.len() as u32,
        back: back.iter().map(|place| (*place, message(u64::from(*place), 10))).collect(),
        ..Processed::default()
    };
    for (place, sizes) in (0u32..).zip(outputs) {
        processed.offsets.push(Origin::Numbered { number: u64::from(place), partition: 0 });
        processed.answers.push((Receipt { offset: Bytes::new(), partition: place as i32 }, Answer::Done));
        for size in *sizes {
            processed.outputs.push(message(u64::from(place), *size));
            processed.of.push(place);
        }
    }
    processed
}

fn shown(bundle: &Bundle) -> (Vec<usize>, Vec<u32>, usize, Vec<i32>, Position, u32) {
    let sizes = bundle.outputs.iter().map(|message| message.value.len()).collect();
    let answers = bundle.answers.iter().map(|(receipt, _)| receipt.partition).collect();
    (sizes, bundle.of.clone(), bundle.back.len(), answers, bundle.end, bundle.taken)
}

#[test]
fn batches_are_taken_together_up_to_the_bound() {
    let mut ready = Ready::default();
    for outputs in [&[&[100][..], &[100]][..], &[&[][..], &[300]], &[&[900]]] {
        assert!(ready.push(batch(outputs, &[]), 1300).is_empty());
    }
    let bundle = ready.collect(1300);
    let expected = (vec![100, 100, 300], vec![0, 1, 3], 0, vec![0, 1, 0, 1], Position::after(7), 4);
    assert_eq!(shown(&bundle), expected);
    assert_eq!(ready.collect(1300).outputs.len(), 1);
    assert_eq!((ready.is_empty(), ready.bytes()), (true, 0));
}

#[test]
fn a_batch_is_cut_between_messages_and_each_part_knows_how_far_it_goes() {
    let mut ready = Ready::default();
    let large = batch(&[&[400, 400], &[], &[400, 100], &[200]], &[1]);
    assert!(ready.push(large, 1300).is_empty());
    assert_eq!(shown(&ready.collect(1300)), (vec![400, 400], vec![0, 0], 1, vec![0, 1], frame(4), 2));
    let rest = (vec![400, 100, 200], vec![0, 0, 1], 0, vec![2, 3], Position::after(7), 2);
    assert_eq!(shown(&ready.collect(1300)), rest);
    assert!(ready.is_empty());
}

#[test]
fn results_of_one_message_that_fit_no_commit_are_taken_out_and_told() {
    let mut ready = Ready::default();
    let oversized = ready.push(batch(&[&[100], &[800, 800], &[100]], &[]), 1300);
    assert_eq!((oversized.len(), oversized[0].results), (1, 2));
    assert!(oversized[0].bytes > 1600);
    let rest = (vec![100, 100], vec![0, 2], 0, vec![0, 1, 2], Position::after(7), 3);
    assert_eq!(shown(&ready.collect(1300)), rest);
}

#[test]
fn positions_of_a_source_are_only_counted_when_each_message_has_its_own() {
    let at = |sequence| Position { sequence, index: 0 };
    assert_eq!(Steps::between(at(10), at(15), 5).after(3), at(13));
    assert_eq!(Steps::between(at(10), at(500), 5).after(3), at(10));
    assert_eq!(Steps::between(at(10), at(10), 5).after(3), at(10));
}
