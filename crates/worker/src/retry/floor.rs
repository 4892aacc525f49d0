//! Which frames of the retry slot are done: everything below a floor, and a set above it. Pure.

use std::collections::BTreeSet;

use model::{Position, Progress};

pub(super) struct Floor {
    position: Position,
    /// Read and not done.
    open: BTreeSet<u64>,
    above: BTreeSet<u64>,
    /// The largest sequence that was read: the floor cannot rise beyond it, since smaller ones than those in the set
    /// may not have been read yet.
    seen: Option<u64>,
}

impl Floor {
    pub(super) fn new(progress: Progress) -> Self {
        let Progress { position, above } = progress;
        Self { position, open: BTreeSet::new(), above: above.into_iter().collect(), seen: None }
    }

    pub(super) fn opened(&mut self, sequence: u64) {
        assert!(self.seen.is_none_or(|seen| seen < sequence), "a slot is read forwards");
        self.seen = Some(sequence);
        self.open.insert(sequence);
    }

    pub(super) fn done(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            assert!(self.open.remove(sequence), "a frame is done once");
            self.above.insert(*sequence);
        }
        let Some(seen) = self.seen else { return };
        let below = self.open.first().copied().unwrap_or(seen.saturating_add(1));
        if let Some(reached) = self.above.range(..below).next_back().copied() {
            self.position = self.position.max(Position::after(reached));
            self.above = self.above.split_off(&self.position.sequence);
        }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// How many are done above the floor.
    pub(super) fn above(&self) -> usize {
        self.above.len()
    }

    /// They themselves, ascending.
    pub(super) fn set(&self) -> Vec<u64> {
        self.above.iter().copied().collect()
    }

    pub(super) fn is_open(&self, sequence: u64) -> bool {
        self.open.contains(&sequence)
    }

    pub(super) fn nothing_open(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(floor: &Floor) -> (Position, Vec<u64>) {
        (floor.position(), floor.set())
    }

    #[test]
    fn the_floor_rises_over_what_is_done_and_keeps_the_rest_above() {
        let mut floor = Floor::new(Progress::default());
        for sequence in [3, 7, 12, 20] {
            floor.opened(sequence);
        }
        floor.done(&[12]);
        assert_eq!(shown(&floor), (Position::default(), vec![12]));
        floor.done(&[3]);
        assert_eq!(shown(&floor), (Position::after(3), vec![12]));
        floor.done(&[7]);
        assert_eq!(shown(&floor), (Position::after(12), vec![]));
        floor.done(&[20]);
        assert_eq!(shown(&floor), (Position::after(20), vec![]));
    }

    #[test]
    fn the_floor_does_not_rise_over_what_was_not_read_yet() {
        let mut floor = Floor::new(Progress { position: Position::after(1), above: vec![12, 20] });
        floor.opened(3);
        floor.done(&[3]);
        assert_eq!(shown(&floor), (Position::after(3), vec![12, 20]));
        floor.opened(7);
        floor.opened(25);
        floor.done(&[7]);
        assert_eq!(shown(&floor), (Position::after(20), vec![]));
    }

    #[test]
    fn the_floor_keeps_its_promise_whatever_the_order() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let all: Vec<u64> = (1..60).filter(|_| random.bool()).collect();
            let before: BTreeSet<u64> = all.iter().copied().filter(|_| random.u8(0..4) == 0).collect();
            let mut floor = Floor::new(Progress {
                position: Position::default(),
                above: before.iter().copied().collect(),
            });
            let mut unread: Vec<u64> = all.iter().copied().filter(|s| !before.contains(s)).rev().collect();
            let mut done = before.clone();
            let mut open = Vec::new();
            while !unread.is_empty() || !open.is_empty() {
                if !unread.is_empty() && (open.is_empty() || random.bool()) {
                    let next = unread.pop().unwrap();
                    floor.opened(next);
                    open.push(next);
                } else {
                    let one = open.swap_remove(random.usize(..open.len()));
                    floor.done(&[one]);
                    done.insert(one);
                }
                let (position, above) = shown(&floor);
                for sequence in &all {
                    let said = *sequence < position.sequence || above.contains(sequence);
                    assert_eq!(said, done.contains(sequence), "seed {seed}, frame {sequence}");
                }
            }
        }
    }
}
