//! Tests of the index of one log.

use super::*;

fn index(sequences: &[u64]) -> Index {
    let mut index = Index::default();
    for &sequence in sequences {
        let frame = Bytes::from(vec![0; sequence as usize]);
        let slot = Slot::new(sequence, 1, sequence as u32, sequence as u32, 0);
        assert_eq!(index.append(slot, frame), sequence as usize + CACHE_OVERHEAD_BYTES);
    }
    index
}

fn live(index: &Index) -> Vec<u64> {
    index.from(0).map(|(slot, _)| slot.sequence).collect()
}

fn cached(index: &Index) -> Vec<u64> {
    index.from(0).filter(|(_, bytes)| bytes.is_some()).map(|(slot, _)| slot.sequence).collect()
}

#[test]
fn a_slot_is_24_bytes() {
    assert_eq!(size_of::<Slot>(), 24);
}

#[test]
fn settling_one_in_the_middle_leaves_the_others_and_their_counts() {
    let mut index = index(&[2, 5, 9, 11]);
    let mut freed = Freed::default();
    index.settle_one(5, &mut freed);
    index.settle_one(5, &mut freed);
    index.settle_one(6, &mut freed);
    assert_eq!(live(&index), [2, 9, 11]);
    assert_eq!(freed.frames, [(1, 5)]);
    assert_eq!(index.stats(), LogStats { first: Some(2), last: 11, frames: 3, bytes: 22 });
    assert_eq!(index.settled_ranges(), [(3, 5)]);
    index.settle_one(2, &mut freed);
    assert_eq!((index.floor(), live(&index)), (5, vec![9, 11]));
    assert_eq!(index.settled_ranges(), []);
}

#[test]
fn settling_beyond_the_end_does_not_settle_what_comes_later() {
    let mut index = index(&[2, 5]);
    index.settle_through(100, &mut Freed::default());
    assert_eq!((index.floor(), index.stats().last), (5, 5));
    index.append(Slot::new(60, 1, 0, 0, 0), Bytes::new());
    assert_eq!(live(&index), [60]);
}

#[test]
fn everything_that_was_cached_leaves_the_cache_once() {
    let sequences: Vec<u64> = (1..=500).collect();
    let mut index = index(&sequences);
    let mut left: usize = sequences.iter().map(|s| *s as usize + CACHE_OVERHEAD_BYTES).sum();
    left -= index.evict(100);
    assert_eq!(cached(&index).first(), Some(&101));
    for sequence in (1..500).rev().filter(|sequence| sequence % 3 != 0) {
        let mut freed = Freed::default();
        index.settle_one(sequence, &mut freed);
        left -= freed.cache_bytes;
    }
    let mut freed = Freed::default();
    index.settle_through(500, &mut freed);
    assert_eq!(left, freed.cache_bytes);
    assert_eq!(index.stats(), LogStats { first: None, last: 500, frames: 0, bytes: 0 });
}

#[test]
fn marks_of_settled_frames_stay_within_twice_the_unsettled_ones() {
    let mut index = index(&[]);
    let mut freed = Freed::default();
    for sequence in 1..=10_000 {
        index.append(Slot::new(sequence, 1, 0, 0, 0), Bytes::new());
        if sequence > 1 {
            index.settle_one(sequence, &mut freed);
        }
    }
    assert_eq!(live(&index), [1]);
    assert_eq!(index.settled_ranges(), [(2, 10_000)]);
    assert!(index.slots.len() < 100, "{}", index.slots.len());
    assert_eq!(freed.frames.len(), 9999);
}

#[test]
fn a_moved_frame_is_found_at_its_new_place_only() {
    let mut index = index(&[2, 5, 9]);
    assert!(index.is_live_at(5, 1, 5));
    assert_eq!(index.relocate(Slot::new(5, 7, 70, 5, 0)), Some(1));
    assert!(!index.is_live_at(5, 1, 5));
    assert!(index.is_live_at(5, 7, 70));
    index.settle_through(5, &mut Freed::default());
    assert_eq!(index.relocate(Slot::new(5, 8, 80, 5, 0)), None);
}

#[test]
fn a_recovered_index_knows_what_was_settled_out_of_order() {
    let slots = [3, 4, 6, 8, 9].map(|s| Slot::new(s, 1, 0, 1, 0)).to_vec();
    let index = Index::recovered(2, 9, slots, |sequence| [3, 6, 8].contains(&sequence));
    assert_eq!((index.floor(), live(&index)), (3, vec![4, 9]));
    assert_eq!(index.settled_ranges(), [(5, 8)]);
    assert_eq!(cached(&index), []);
}
