//! What must be true when everything has arrived: each input has exactly one decided outcome, and all of it is there;
//! order per slot; counts without a gap; and that nobody said "nothing is inside" while something was.

use std::collections::{BTreeMap, HashMap};

use model::{Place, Slot, Unit, UnitId};

use super::ledger::{Book, Ledger};
use super::plan::Plan;
use super::token::{Step, Token, Way};

const WAYS: [Way; 3] = [Way::Onward, Way::Retry, Way::Cycle];

/// Fails when anything is not as it must be.
pub(crate) fn check(ledger: &Ledger, plan: &Plan) {
    check_all_is_read(ledger);
    let book = ledger.lock();
    let outcome = Outcome::of(&book);
    for source in 0..plan.sources {
        for offset in 0..plan.inputs {
            let root = Token::root(source, offset);
            if let Err(missing) = outcome.resolve(&root) {
                panic!("input {source}/{offset} is lost: {missing}");
            }
        }
    }
    check_order(&book);
    check_counts(&book, plan);
    check_empty(&book);
}

/// Fails when a frame was stored and never read. For streams that lost their last messages this is all there is to say:
/// whoever knew of those may be gone too, but what came after must not be taken for them and passed over.
pub(crate) fn check_all_is_read(ledger: &Ledger) {
    let book = ledger.lock();
    for (place, stored) in &book.stored {
        let read = book.slots.get(place);
        for sequence in stored {
            let is_read = read.is_some_and(|read| read.contains_key(sequence));
            assert!(is_read, "frame {sequence} of {place} was stored and passed over; {:?}", book.taken);
        }
    }
}

struct Outcome<'a> {
    book: &'a Book,
    /// Answers about a message, of which one counts.
    answers: HashMap<&'a Token, Vec<u32>>,
}

impl<'a> Outcome<'a> {
    fn of(book: &'a Book) -> Self {
        let mut answers: HashMap<&Token, Vec<u32>> = HashMap::new();
        for (number, answer) in book.answers.iter().enumerate() {
            answers.entry(&answer.about).or_default().push(number as u32);
        }
        Self { book, answers }
    }

    /// Whether everything that became of a message is where it belongs.
    fn resolve(&self, token: &Token) -> Result<(), String> {
        if self.book.outside.contains_key(token) {
            return Ok(());
        }
        if let Some(decided) = self.book.decided.get(token) {
            return self.resolve_answer(token, *decided);
        }
        // Nothing of it was ever seen: then an answer counts of which nothing is to be seen.
        let answers = self.answers.get(token).map_or(&[][..], Vec::as_slice);
        if answers.iter().any(|answer| self.resolve_answer(token, *answer).is_ok()) {
            return Ok(());
        }
        let at = self.book.found.get(token);
        Err(format!("{token:?} became nothing; it was seen at {at:?}, {} answers about it", answers.len()))
    }

    fn resolve_answer(&self, token: &Token, number: u32) -> Result<(), String> {
        let answer = &self.book.answers[number as usize];
        for index in 0..answer.results {
            let children = WAYS.map(|way| token.step(Step { answer: number, index, way }));
            let seen = children.iter().find(|child| self.book.found.contains_key(*child));
            match seen {
                Some(child) => self.resolve(child)?,
                None if answer.may_be_left_out.contains(&index) => {}
                None => {
                    return Err(format!("result {index} of answer {number} about {token:?} was never seen"));
                }
            }
        }
        Ok(())
    }
}

/// In every slot the frames of one unit lie in the order of what they were made from.
fn check_order(book: &Book) {
    for (place, frames) in &book.slots {
        let mut last: BTreeMap<UnitId, (u64, u32)> = BTreeMap::new();
        let mut epochs = BTreeMap::new();
        for (sequence, frame) in frames {
            let writer = UnitId { vertex: frame.writer.vertex.clone(), unit: frame.writer.unit };
            let epoch = epochs.entry(writer.clone()).or_insert(frame.writer.epoch);
            assert!(
                frame.writer.epoch >= *epoch,
                "{place}: frame {sequence} was written under an old number"
            );
            *epoch = frame.writer.epoch;
            if writer.unit == Unit::Slot(Slot::RETRY) {
                continue;
            }
            for token in &frame.tokens {
                let from = made_from(book, &writer, token);
                let former = last.insert(writer.clone(), from);
                assert!(
                    former.is_none_or(|former| former <= from),
                    "{place}: frame {sequence} of {writer} holds what was made from {from:?}, after {former:?}"
                );
            }
        }
    }
}

/// Where in the input of its writer lies what a message was made from.
fn made_from(book: &Book, writer: &UnitId, token: &Token) -> (u64, u32) {
    let (parent, _) = token.parent().expect("what lies in a slot was made from something");
    if parent.steps.is_empty() {
        return (u64::from(parent.offset), 0);
    }
    let (place, sequence, index) = &book.found[&parent];
    let own = Place { vertex: writer.vertex.clone(), slot: place.slot };
    assert_eq!((&own, writer.unit), (place, Unit::Slot(place.slot)), "a unit makes messages from its input");
    (*sequence, *index)
}

/// What each unit wrote is counted without a gap and without a repetition.
fn check_counts(book: &Book, plan: &Plan) {
    let mut written: BTreeMap<UnitId, Vec<(u64, u64, &Place, u64)>> = BTreeMap::new();
    for (place, frames) in &book.slots {
        for (sequence, frame) in frames {
            let writer = UnitId { vertex: frame.writer.vertex.clone(), unit: frame.writer.unit };
            let entry = (frame.cumulative, frame.tokens.len() as u64, place, *sequence);
            written.entry(writer).or_default().push(entry);
        }
    }
    for (unit, mut frames) in written {
        frames.sort_unstable();
        let mut total = 0;
        for (cumulative, count, place, sequence) in frames {
            total += count;
            assert_eq!(
                cumulative, total,
                "{unit}: frame {sequence} of {place} says how many messages were written so far ({plan:?})"
            );
        }
    }
}

/// Whenever a survey said that nothing is inside, nothing was.
fn check_empty(book: &Book) {
    let mut last_out: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for (token, outside) in &book.outside {
        let out = last_out.entry((token.source, token.offset)).or_default();
        *out = (*out).max(outside.moment);
    }
    for (input, from) in &book.inside {
        let Some(until) = last_out.get(input) else { continue };
        let wrong = book.empty.iter().find(|(began, ended)| began > from && ended < until);
        if let Some((began, ended)) = wrong {
            panic!(
                "the survey from {began} to {ended} says that nothing is inside; input {input:?} is from {from} to {until}"
            );
        }
    }
}
