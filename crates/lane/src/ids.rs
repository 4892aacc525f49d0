//! The ids that a vertex has committed, so that a message that comes again from outside is recognised, also after a
//! crash and by another process.
//!
//! They lie in lanes of a stream of their own, one frame for each commit, decided together with what they came with.
//! An id that one unit of this process is about to commit is reserved: another unit that sees it waits for the outcome.
//! Between processes there is no reservation: the same id that reaches two of them within the time that a stored commit
//! takes to be heard of is stored by both.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use model::door::buffer::{Claim, IDS_REMEMBERED};
use model::{Name, Unit};
use smol_str::SmolStr;

use crate::bell::Bell;
use crate::wire::{self, Error, Fields};

/// Who has reserved an id: a unit and the number of its claim.
pub(crate) type Holder = (Unit, u64);

pub(crate) struct Ids {
    pub(crate) vertex: Name,
    kept: Mutex<Kept>,
    pub(crate) changed: Bell,
    /// Held while the outcome of somebody's commit is found out, and while a claim makes that superfluous.
    pub(crate) resolving: futures::lock::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    known: HashSet<SmolStr>,
    commits: BTreeMap<u64, (Unit, Vec<SmolStr>)>,
    reserved: HashMap<SmolStr, Holder>,
    /// Owners that went away in the middle of a commit.
    orphans: HashMap<Holder, Claim>,
    /// The last sequence that was read; none before everything that was there at first was read.
    through: Option<u64>,
    /// What is not needed any more, by unit.
    forgotten: BTreeMap<Unit, u64>,
    broken: Option<String>,
}

pub(crate) fn encode(ids: &[SmolStr]) -> Bytes {
    let mut out = Vec::with_capacity(ids.iter().map(|id| id.len() + 2).sum());
    for id in ids {
        wire::put_bytes(&mut out, id.as_bytes());
    }
    Bytes::from(out)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<SmolStr>, Error> {
    let mut fields = Fields::new(bytes);
    let mut ids = Vec::new();
    while !fields.is_empty() {
        ids.push(SmolStr::new(fields.text("an id")?));
    }
    Ok(ids)
}

/// What looking ids up came to.
pub(crate) enum Looked {
    Known(Vec<bool>),
    /// Somebody has one of them reserved.
    Wait,
    /// Somebody who is gone has, and whether that is committed is open.
    Orphan(Holder, Claim),
}

impl Ids {
    pub(crate) fn new(vertex: Name) -> Self {
        Self {
            vertex,
            kept: Mutex::default(),
            changed: Bell::default(),
            resolving: futures::lock::Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics while the ids are locked")
    }

    /// Whether everything through a sequence was read, or why it cannot be.
    pub(crate) fn has_read(&self, sequence: u64) -> Result<bool, String> {
        let kept = self.lock();
        match &kept.broken {
            Some(broken) => Err(broken.clone()),
            None => Ok(kept.through.is_some_and(|through| through >= sequence)),
        }
    }

    /// Notes how far the stream was read.
    pub(crate) fn read_through(&self, sequence: u64) {
        let mut kept = self.lock();
        kept.through = kept.through.max(Some(sequence));
        drop(kept);
        self.changed.ring();
    }

    /// Notes that the stream cannot be read.
    pub(crate) fn fail(&self, why: String) {
        self.lock().broken = Some(why);
        self.changed.ring();
    }

    /// Which of these are known; the others are reserved for `holder` until it commits or lets go of them. An id that
    /// comes twice in one call is known the second time.
    pub(crate) fn look_up(&self, holder: Holder, ids: &[SmolStr]) -> Looked {
        let mut kept = self.lock();
        let others = ids.iter().filter_map(|id| kept.reserved.get(id)).filter(|other| **other != holder);
        let others: Vec<Holder> = others.copied().collect();
        if let Some(orphan) = others.iter().find_map(|other| Some((*other, kept.orphans.get(other)?.clone())))
        {
            return Looked::Orphan(orphan.0, orphan.1);
        }
        if !others.is_empty() {
            return Looked::Wait;
        }
        let mut own = HashSet::new();
        let known: Vec<_> = ids.iter().map(|id| kept.known.contains(id) || !own.insert(id)).collect();
        for (id, known) in ids.iter().zip(&known) {
            if !known {
                kept.reserved.insert(id.clone(), holder);
            }
        }
        Looked::Known(known)
    }

    /// Who went away in the middle of a commit as this holder, if that is still open.
    pub(crate) fn orphan(&self, holder: Holder) -> Option<Claim> {
        self.lock().orphans.get(&holder).cloned()
    }

    /// Nobody needs to find out what became of this unit's commits: a claim does.
    pub(crate) fn adopt(&self, unit: Unit) {
        self.lock().orphans.retain(|holder, _| holder.0 != unit);
    }

    /// Notes that a holder went away in the middle of a commit.
    pub(crate) fn leave(&self, holder: Holder, claim: Claim) {
        let mut kept = self.lock();
        if kept.reserved.values().any(|other| *other == holder) {
            kept.orphans.insert(holder, claim);
        }
        drop(kept);
        self.changed.ring();
    }

    /// Lets go of everything that this holder has reserved.
    pub(crate) fn let_go(&self, holder: Holder) {
        self.keep_reserved(|other| *other != holder);
    }

    /// Lets go of everything that earlier claims of the unit have reserved.
    pub(crate) fn let_go_before(&self, unit: Unit, claim: u64) {
        self.keep_reserved(|holder| holder.0 != unit || holder.1 >= claim);
    }

    fn keep_reserved(&self, keep: impl Fn(&Holder) -> bool) {
        let mut kept = self.lock();
        kept.orphans.retain(|holder, _| keep(holder));
        if kept.reserved.is_empty() {
            return;
        }
        kept.reserved.retain(|_, holder| keep(holder));
        drop(kept);
        self.changed.ring();
    }

    /// Notes ids that are durable, and forgets the oldest beyond the bound.
    pub(crate) fn remember(&self, unit: Unit, sequence: u64, ids: Vec<SmolStr>) {
        let mut kept = self.lock();
        for id in &ids {
            kept.known.insert(id.clone());
            kept.reserved.remove(id);
        }
        kept.commits.entry(sequence).or_insert((unit, ids));
        while let Some((oldest, (unit, ids))) = kept.commits.first_key_value() {
            if kept.known.len() < IDS_REMEMBERED + ids.len() {
                break;
            }
            let (oldest, unit) = (*oldest, *unit);
            kept.forgotten.insert(unit, oldest);
            for id in kept.commits.remove(&oldest).map(|(_, ids)| ids).unwrap_or_default() {
                kept.known.remove(&id);
            }
        }
        drop(kept);
        self.changed.ring();
    }

    /// What may be removed from the stream: for each unit, through which sequence.
    pub(crate) fn forgotten(&self) -> BTreeMap<Unit, u64> {
        std::mem::take(&mut self.lock().forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_reserved_for_one_until_they_are_known() {
        let ids = Ids::new(SmolStr::new("in"));
        let (first, second) = ((Unit::Source(0), 1), (Unit::Source(1), 1));
        let some = [SmolStr::new("a"), SmolStr::new("b"), SmolStr::new("a")];
        assert!(matches!(ids.look_up(first, &some), Looked::Known(known) if known == [false, false, true]));
        assert!(matches!(ids.look_up(second, &some[..1]), Looked::Wait));
        ids.remember(Unit::Source(0), 5, vec![SmolStr::new("a")]);
        assert!(matches!(ids.look_up(second, &some[..1]), Looked::Known(known) if known == [true]));
        assert!(matches!(ids.look_up(second, &some), Looked::Wait));
        ids.let_go(first);
        assert!(matches!(ids.look_up(second, &some), Looked::Known(known) if known == [true, false, true]));
        assert_eq!(decode(&encode(&some)).unwrap(), some);
    }

    #[test]
    fn the_oldest_commits_are_forgotten_beyond_the_bound() {
        let ids = Ids::new(SmolStr::new("in"));
        let batch =
            |from: usize| (from..from + 1000).map(|id| SmolStr::new(id.to_string())).collect::<Vec<_>>();
        let commits = IDS_REMEMBERED / 1000 + 3;
        for number in 0..commits {
            ids.remember(Unit::Source(0), number as u64 + 1, batch(number * 1000));
        }
        assert_eq!(ids.forgotten(), BTreeMap::from([(Unit::Source(0), 3)]));
        let holder = (Unit::Source(0), 1);
        assert!(matches!(ids.look_up(holder, &batch(2000)), Looked::Known(known) if known == [false; 1000]));
        assert!(matches!(ids.look_up(holder, &batch(3000)), Looked::Known(known) if known == [true; 1000]));
    }
}
