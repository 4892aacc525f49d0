//! What everybody saw, and what must be true of it. Every call at the door is noted here when it begins and when it
//! returns; most rules are checked at once, the rest by [`verdict`](super::verdict) when everything has arrived.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::door::buffer::{Commit, Committed, Stored, Survey};
use model::frame::Writer;
use model::{Epoch, Place, Position, Progress, Slot, Unit, UnitId};

use super::token::{Step, Token};

#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
pub(crate) struct Book {
    /// Grows with everything that is noted.
    pub(crate) moment: u64,
    pub(crate) answers: Vec<Answer>,
    pub(crate) units: BTreeMap<UnitId, UnitBook>,
    pub(crate) slots: BTreeMap<Place, BTreeMap<u64, FrameBook>>,
    /// Frames whose commits have returned.
    pub(crate) stored: BTreeMap<Place, BTreeSet<u64>>,
    /// The answer that counts for a message that was handed to user code.
    pub(crate) decided: HashMap<Token, u32>,
    /// Where a message lies.
    pub(crate) found: HashMap<Token, (Place, u64, u32)>,
    /// What was written outside.
    pub(crate) outside: HashMap<Token, Outside>,
    /// For each source input the moment from which it is inside for certain.
    pub(crate) inside: BTreeMap<(u32, u32), u64>,
    /// Surveys that said that nothing is inside: when they began and ended.
    pub(crate) empty: Vec<(u64, u64)>,
    pub(crate) fatal: Option<String>,
    /// Something may be taken away, and then it is enough that somebody says so in the end.
    pub(crate) lenient: bool,
    /// What was taken away, and when the last of it was.
    pub(crate) taken: Vec<String>,
    pub(crate) taken_at: u64,
    /// The first thing that was not as it must be, where that is not the end of it.
    pub(crate) wrong: Option<String>,
    pub(crate) counts: Counts,
}

/// What a life came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) claims: u64,
    pub(crate) lost: u64,
    pub(crate) commits: u64,
    pub(crate) abandoned: u64,
    pub(crate) left_out: u64,
    pub(crate) written: u64,
    pub(crate) repeated: u64,
    pub(crate) surveys: u64,
    pub(crate) empty_surveys: u64,
    pub(crate) kills: u64,
    pub(crate) suspensions: u64,
    pub(crate) cut_off: u64,
    pub(crate) moves: u64,
}

/// What user code once said about a message.
pub(crate) struct Answer {
    pub(crate) about: Token,
    pub(crate) results: u8,
    /// Results that may be left out for want of room.
    pub(crate) may_be_left_out: BTreeSet<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct UnitBook {
    /// The highest number under which a claim has returned.
    pub(crate) epoch: Epoch,
    /// Progress that is durable.
    pub(crate) floor: Progress,
}

pub(crate) struct FrameBook {
    pub(crate) writer: Writer,
    pub(crate) cumulative: u64,
    pub(crate) tokens: Vec<Token>,
}

pub(crate) struct Outside {
    pub(crate) times: u32,
    /// When the commit that covers it was first begun.
    pub(crate) moment: u64,
    /// A commit that covers it has returned.
    pub(crate) settled: bool,
}

/// A claim that has returned.
pub(crate) struct Held {
    pub(crate) unit: UnitId,
    pub(crate) epoch: Epoch,
    /// How far it has read.
    next: Position,
    above: Vec<u64>,
}

/// A survey that has begun, and what it must find.
pub(crate) struct Surveying {
    began: u64,
    units: Vec<(UnitId, UnitBook)>,
}

/// A commit that has begun.
pub(crate) struct Begun {
    moment: u64,
    /// Somebody else had claimed the unit before.
    taken: bool,
}

impl Ledger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// User code speaks.
    pub(crate) fn answer(&self, about: &Token, results: u8) -> u32 {
        let mut book = self.lock();
        let answer = Answer { about: about.clone(), results, may_be_left_out: BTreeSet::new() };
        book.answers.push(answer);
        book.answers.len() as u32 - 1
    }

    pub(crate) fn may_be_left_out(&self, step: Step) {
        self.lock().answers[step.answer as usize].may_be_left_out.insert(step.index);
    }

    pub(crate) fn fatal(&self, text: String) {
        self.lock().fatal.get_or_insert(text);
    }

    pub(crate) fn claimed(&self, unit: &UnitId, epoch: Epoch, progress: &Progress) -> Held {
        let mut book = self.lock();
        book.moment += 1;
        book.counts.claims += 1;
        let known = book.units.entry(unit.clone()).or_default();
        known.epoch = known.epoch.max(epoch);
        // A claim that was overtaken before it returned may have been told an older progress than is known here.
        if known.epoch == epoch {
            let floor = std::mem::replace(&mut known.floor, progress.clone());
            book.expect_grown(unit, &floor, progress);
        }
        Held { unit: unit.clone(), epoch, next: progress.position, above: progress.above.clone() }
    }

    /// What a reader was given.
    pub(crate) fn read(&self, held: &mut Held, place: &Place, frames: &[Stored]) {
        assert!(!frames.is_empty(), "{place}: a read gives at least one frame");
        let mut book = self.lock();
        book.moment += 1;
        for frame in frames {
            book.read_one(held, place, frame);
        }
    }

    pub(crate) fn commit_begins(&self, held: &Held) -> Begun {
        let mut book = self.lock();
        book.moment += 1;
        let known = &book.units[&held.unit];
        Begun { moment: book.moment, taken: known.epoch > held.epoch }
    }

    pub(crate) fn committed(&self, held: &Held, begun: &Begun, commit: &Commit, committed: &Committed) {
        let mut book = self.lock();
        book.moment += 1;
        book.counts.commits += 1;
        let is_sink = held.unit.vertex == "out" || held.unit.vertex == "side";
        let durable = is_sink || committed.stored.iter().any(Option::is_some);
        let unit = &held.unit;
        book.expect(!begun.taken || !durable, || {
            let epoch = held.epoch.0;
            format!("{unit}: a commit under {epoch} is stored that began after a claim under a higher one had returned")
        });
        assert_eq!(committed.stored.len(), commit.outputs.len(), "{unit}: each output has an answer");
        if durable {
            let known = book.units.get_mut(unit).expect("it was claimed");
            // The claim of another may have returned already with all of this.
            if known.epoch == held.epoch {
                let floor = std::mem::replace(&mut known.floor, commit.progress.clone());
                book.expect_grown(unit, &floor, &commit.progress);
            } else {
                let floor = known.floor.clone();
                book.expect_grown(unit, &commit.progress, &floor);
            }
        }
        for (output, stored) in commit.outputs.iter().zip(&committed.stored) {
            if let Some(sequence) = stored
                && begun.moment > book.taken_at
            {
                let fresh = book.stored.entry(output.to.clone()).or_default().insert(*sequence);
                book.expect(fresh, || format!("{unit}: {} has another frame {sequence}", output.to));
            }
        }
        book.counts.left_out += committed.stored.iter().filter(|stored| stored.is_none()).count() as u64;
    }

    /// Something is written outside. `settled` follows when its commit has returned.
    pub(crate) fn write_outside(&self, held: &Held, token: &Token) {
        let mut book = self.lock();
        book.moment += 1;
        book.counts.written += 1;
        let (moment, newest) = (book.moment, book.units[&held.unit].epoch == held.epoch);
        let fresh = Outside { times: 0, moment, settled: false };
        let outside = book.outside.entry(token.clone()).or_insert(fresh);
        outside.times += 1;
        let (settled, times) = (outside.settled, outside.times);
        book.counts.repeated += u64::from(times > 1);
        book.expect(!settled || !newest, || {
            let unit = &held.unit;
            format!("{unit}: {token:?} is written outside again though a commit that covers it has returned")
        });
    }

    pub(crate) fn settled_outside(&self, tokens: &[Token]) {
        let mut book = self.lock();
        for token in tokens {
            book.outside.get_mut(token).expect("it was written").settled = true;
        }
    }

    /// The frames of a partition after a sequence are gone.
    pub(crate) fn gone(&self, vertex: &str, partition: u16, after: u64, text: String) {
        let mut book = self.lock();
        book.moment += 1;
        book.taken_at = book.moment;
        book.taken.push(text);
        let lies_there = |place: &Place| place.vertex == vertex && place.slot.partition == partition;
        for (_, stored) in book.stored.iter_mut().filter(|(place, _)| lies_there(place)) {
            stored.retain(|sequence| *sequence <= after);
        }
        for (_, read) in book.slots.iter_mut().filter(|(place, _)| lies_there(place)) {
            read.retain(|sequence, _| *sequence <= after);
        }
    }

    /// Source inputs below this are inside, for certain.
    pub(crate) fn source_at(&self, source: u32, offset: u64) {
        let mut book = self.lock();
        let moment = book.moment;
        for input in 0..offset as u32 {
            book.inside.entry((source, input)).or_insert(moment);
        }
    }

    pub(crate) fn sources_are_at(&self, sources: u32, inputs: u32) -> bool {
        let book = self.lock();
        (0..sources).all(|source| inputs == 0 || book.inside.contains_key(&(source, inputs - 1)))
    }

    pub(crate) fn survey_begins(&self) -> Surveying {
        let mut book = self.lock();
        book.moment += 1;
        let units = book.units.iter().map(|(unit, known)| (unit.clone(), known.clone())).collect();
        Surveying { began: book.moment, units }
    }

    /// Whether a survey says that nothing is inside.
    pub(crate) fn surveyed(&self, surveying: Surveying, survey: &Survey) -> bool {
        let Surveying { began, units } = surveying;
        let mut book = self.lock();
        book.moment += 1;
        book.counts.surveys += 1;
        for slot in &survey.slots {
            let level = &slot.level;
            assert_eq!(level.frames > 0, level.messages > 0, "{}: frames hold messages", level.place);
            assert_eq!(level.frames > 0, !slot.writers.is_empty(), "{}: frames have writers", level.place);
        }
        for (id, known) in units {
            let found = survey.unit(&id).map(|found| found.epoch);
            book.expect(found >= Some(known.epoch), || {
                format!(
                    "{id} was claimed under {:?}, and a survey that began later finds {found:?}",
                    known.epoch
                )
            });
            let Unit::Slot(slot) = id.unit else { continue };
            let place = Place { vertex: id.vertex.clone(), slot };
            let level = survey.slot(&place).map(|slot| slot.level.progress.clone());
            book.expect_grown(&id, &known.floor, &level.unwrap_or_default());
        }
        let empty = survey.slots.iter().all(|slot| slot.level.frames == 0);
        if empty {
            let ended = book.moment;
            book.empty.push((began, ended));
            book.counts.empty_surveys += 1;
        }
        empty
    }
}

impl Book {
    /// Something is not as it must be.
    fn wrong(&mut self, text: String) {
        assert!(self.lenient, "{text}");
        self.wrong.get_or_insert(text);
    }

    fn expect(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.wrong(text());
        }
    }

    fn read_one(&mut self, held: &mut Held, place: &Place, stored: &Stored) {
        let sequence = stored.sequence;
        let again = sequence < held.next.sequence || held.above.contains(&sequence);
        self.expect(!again, || format!("{place}: frame {sequence} is given twice, or is done"));
        // What a former owner still reads may have been trimmed.
        if self.units[&held.unit].epoch == held.epoch
            && let Some(missed) = self.missed(held, place, sequence)
        {
            let text =
                format!("{place}: frame {sequence} is given, and {missed}, which lies before it, was not");
            self.wrong(text);
        }
        held.next = held.next.max(Position::after(sequence));
        let messages = match stored.frame.messages(sequence, place.slot.partition) {
            Ok(messages) => messages,
            Err(error) => panic!("{place}: frame {sequence} cannot be read: {error}"),
        };
        let tokens: Vec<Token> = messages.iter().map(Token::of).collect();
        let known = self.slots.entry(place.clone()).or_default();
        if let Some(former) = known.get(&sequence) {
            let same = former.tokens == tokens;
            return self.expect(same, || format!("{place}: frame {sequence} reads the same each time"));
        }
        let header = &stored.frame.header;
        let (writer, cumulative) = (header.writer.clone(), header.cumulative);
        known.insert(sequence, FrameBook { writer, cumulative, tokens: tokens.clone() });
        for (index, token) in tokens.into_iter().enumerate() {
            self.find(token, &(place.clone(), sequence, index as u32));
        }
    }

    /// A frame that is known to lie before this one and has not been given.
    fn missed(&self, held: &Held, place: &Place, sequence: u64) -> Option<u64> {
        let passed = held.next.sequence..sequence.max(held.next.sequence);
        let stored = self.stored.get(place).into_iter().flat_map(|stored| stored.range(passed.clone()));
        let read = self.slots.get(place).into_iter().flat_map(|read| read.range(passed.clone()));
        let mut known = read.map(|(at, _)| at).chain(stored);
        known.find(|at| !held.above.contains(at)).copied()
    }

    /// A message is seen in a slot for the first time.
    fn find(&mut self, token: Token, at: &(Place, u64, u32)) {
        if let Some(former) = self.found.insert(token.clone(), at.clone()) {
            self.wrong(format!("{token:?} lies twice: at {former:?} and at {at:?}"));
        }
        let mut child = token;
        while let Some((parent, step)) = child.parent() {
            let decided = *self.decided.entry(parent.clone()).or_insert(step.answer);
            self.expect(decided == step.answer, || {
                format!("two answers about {parent:?} count: {decided} and {}, seen at {at:?}", step.answer)
            });
            child = parent;
        }
    }

    /// A progress is not behind another.
    fn expect_grown(&mut self, unit: &UnitId, before: &Progress, after: &Progress) {
        let kept = |done: &u64| *done < after.position.sequence || after.above.contains(done);
        let above = unit.unit != Unit::Slot(Slot::RETRY) || before.above.iter().all(kept);
        let holds = above && after.position >= before.position;
        self.expect(holds, || format!("{unit}: the progress went back: {before:?}, then {after:?}"));
    }
}
