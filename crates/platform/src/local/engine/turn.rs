//! What an engine does again and again: notes what has ended and who is heard of, has decided who owns what, and tells the
//! workers. Invariant: dropping a turn half-way loses nothing; the next one does what it did not.

use std::collections::BTreeMap;
use std::time::Duration;

use plan::Time;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::crew::Crew;
use super::error::unreadable;
use super::keeping::WorkerView;
use super::parts::Ways;
use super::{Engine, Error};

/// The time between turns while nothing happens.
const TURN_EVERY: Duration = Duration::from_millis(100);
/// The time between turns while units change hands, at first and when that takes long.
const TURN_SOON: Duration = Duration::from_millis(5);
const TURN_LATER: Duration = Duration::from_millis(50);
/// So many turns in a row are made soon.
const SOON_MAX: u32 = 200;

impl Engine {
    /// Everything that has to happen again and again: notes what has ended, decides who owns what, tells the workers.
    /// To be called whenever [`Engine::changed`] returns. Dropping the future loses nothing.
    pub async fn turn(&mut self) -> Result<(), Error> {
        let outcome = self.turn_once().await;
        if outcome.is_err() {
            self.due = Instant::now() + TURN_EVERY;
        }
        outcome
    }

    async fn turn_once(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let time = Time::from_millis(now.millis());
        self.reap(time)?;
        self.hear(time)?;
        let (mut wanted, mut lives) = (BTreeMap::new(), Vec::new());
        for crew in self.crews.values_mut() {
            crew.look(time);
            for found in crew.found() {
                self.keeping.adopt(&crew.name, found.incarnation, &found.units, now);
            }
            wanted.insert(crew.name.clone(), crew.wanted());
            lives.extend(crew.lives().into_iter().map(|(life, gone)| WorkerView {
                vertex: crew.name.clone(),
                incarnation: life.incarnation,
                handle: life.handle,
                gone,
            }));
        }
        if self.adopts(&lives) {
            self.due = Instant::now() + TURN_EVERY;
            return self.keeping.hold(&lives, now).await.map_err(|error| unreadable(&error));
        }
        self.picture = self.keeping.turn(&lives, &wanted, now).await.map_err(|error| unreadable(&error))?;
        let mut is_moving = false;
        for crew in self.crews.values_mut() {
            let name = crew.name.clone();
            is_moving |= crew.act(|incarnation| self.keeping.is_clear(&name, incarnation));
            is_moving |= !self.keeping.is_settled(&name);
        }
        self.soon = if is_moving { self.soon.saturating_add(1) } else { 0 };
        let wait = match self.soon {
            0 => TURN_EVERY,
            1..=SOON_MAX => TURN_SOON,
            _ => TURN_LATER,
        };
        self.due = Instant::now() + wait;
        Ok(())
    }

    /// Returns when a turn is worth its while: something has ended or become ready, units are changing hands, or nothing
    /// has happened for 100 ms. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        if !self.joined.is_empty() {
            return;
        }
        tokio::select! {
            Some(joined) = self.tasks.join_next_with_id() => self.joined.push_back(joined),
            () = self.changed.notified() => {}
            () = tokio::time::sleep_until(self.due) => {}
        }
    }

    /// Has the next turn made soon unless everything that was asked of a vertex is so: wishes are repeated all the time.
    pub(super) fn hurry_if_asked(&mut self, vertex: &str) {
        if self.crews.get(vertex).is_some_and(|crew| crew.is_asked) {
            self.hurry();
        }
    }

    /// Has the next turn made soon.
    pub(super) fn hurry(&mut self) {
        self.due = self.due.min(Instant::now() + TURN_SOON);
    }

    /// Takes note of workers away that are heard of for the first time, and forgets those that were never asked for and
    /// have fallen silent.
    fn hear(&mut self, now: Time) -> Result<(), Error> {
        let Ways::Away(away) = &self.parts.ways else { return Ok(()) };
        for (vertex, name) in away.names() {
            let Some(crew) = self.crews.get_mut(&vertex) else { continue };
            if let Some(member) = crew.hear_of(&name, now)? {
                let id = self.tasks.spawn(member.run()).id();
                self.names.insert(id, (vertex, name));
            }
        }
        self.crews.values_mut().for_each(Crew::leave_silent_strangers);
        Ok(())
    }

    /// Whether owners so far are still being learnt.
    fn adopts(&mut self, lives: &[WorkerView]) -> bool {
        let Some(adoption) = &self.adoption else { return false };
        let workers = self.crews.values().flat_map(|crew| crew.workers.values());
        let mut asked_for = workers.filter(|worker| !worker.is_stranger && !worker.is_retired);
        let everybody_is_heard = asked_for.all(|worker| worker.shown.life().is_some());
        let survey = self.parts.buffer.is_some().then(|| self.keeping.survey());
        if adoption.is_over(survey, lives, everybody_is_heard) {
            self.adoption = None;
        }
        self.adoption.is_some()
    }

    /// Takes note of tasks that have ended.
    fn reap(&mut self, now: Time) -> Result<(), Error> {
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.joined.push_back(joined);
        }
        while let Some(joined) = self.joined.pop_front() {
            let id = joined.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
            let (vertex, name) = self.names.remove(&id).expect("every task has a name");
            if let Err(error) = joined {
                let worker = format!("{vertex}-{}-{}", name.revision, name.replica);
                return Err(Error::Task { worker, why: error.to_string() });
            }
            if let Some(crew) = self.crews.get_mut(&vertex) {
                crew.ended(&name, now);
            }
        }
        Ok(())
    }
}
