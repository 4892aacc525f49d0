//! Whoever looks, asks for a plan and acts: as unreliable as such programs are. It may look late, lose actions, do them
//! twice, stop between any two of them, and go on with an old plan while another controller is at work. Invariant: it
//! stores the memory of a plan, against the version it read, before it does anything else of the plan.

use std::collections::{BTreeMap, VecDeque};

use plan::seen::{Seen, WorkerName, WorkerState};
use plan::{Memory, Piece, Plan, Time, decide};

use super::audit::{Standing, There};
use super::scenario::Scenario;
use super::world::{Body, World};

/// Looks that are kept for those who look late.
pub(super) const LOOKS: usize = 5;

/// What is stored of the object beside its wishes.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) memory: Memory,
    pub(super) version: u64,
}

/// One controller.
#[derive(Debug, Default)]
pub(super) struct Controller {
    /// What is still to be done of a plan, and the number that it was made under.
    queue: VecDeque<(Act, u64)>,
    /// The version of the memory it has in its process; another one is read from the store.
    knows: u64,
}

/// Something to do.
#[derive(Clone, Debug)]
enum Act {
    Ensure(Piece),
    Retire(String, WorkerName),
}

/// What a turn of a controller came to.
pub(super) enum Turn {
    /// It was busy, or its plan was refused because another one was stored meanwhile.
    Nothing,
    /// It made a plan; `whole` when it was made from a fresh look and done in full.
    Planned { plan: Box<Plan>, whole: bool, before: There },
    /// It took over another shape.
    Wrong(String),
}

/// How unreliable everything is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) late: bool,
    pub(super) crashes: bool,
    pub(super) loses: bool,
    pub(super) slow: bool,
}

impl Controller {
    /// One turn.
    pub(super) fn turn(
        &mut self,
        world: &mut World,
        scenario: &mut Scenario,
        (store, looks): (&mut Store, &VecDeque<Seen>),
        faults: Faults,
    ) -> Turn {
        if let Some((act, number)) = self.queue.pop_front() {
            if let Err(wrong) = world.act(scenario, act, number) {
                return Turn::Wrong(wrong);
            }
            return Turn::Nothing;
        }
        let late = if faults.late { world.random.usize(..looks.len()) } else { 0 };
        let seen = &looks[looks.len() - 1 - late];
        if self.knows != store.version {
            store.memory = stored(&store.memory);
        }
        let plan = decide(&scenario.wanted(), seen, &store.memory, world.now);
        let before = world.there(scenario, &store.memory);
        store.version += 1;
        store.memory = plan.memory.clone();
        self.knows = store.version;
        let mut acts: VecDeque<(Act, u64)> = VecDeque::new();
        let number = plan.memory.lifecycle.number;
        // What goes comes before what comes as often as not.
        let retire =
            plan.retire.iter().map(|(vertex, name)| (Act::Retire(vertex.clone(), name.clone()), number));
        let ensure = plan.ensure.iter().map(|piece| (Act::Ensure(piece.clone()), number));
        acts.extend(ensure);
        acts.extend(retire);
        if faults.slow {
            self.queue = acts;
            return Turn::Planned { plan: Box::new(plan), whole: false, before };
        }
        let mut whole = late == 0;
        for (act, number) in acts {
            if faults.crashes && world.random.u8(..40) == 0 {
                self.knows = 0;
                whole = false;
                break;
            }
            if faults.loses && world.random.u8(..20) == 0 {
                whole = false;
                continue;
            }
            if let Err(wrong) = world.act(scenario, act, number) {
                return Turn::Wrong(wrong);
            }
        }
        Turn::Planned { plan: Box::new(plan), whole, before }
    }

    /// Forgets everything, as a process does that ends.
    pub(super) fn crash(&mut self) {
        self.queue.clear();
        self.knows = 0;
    }
}

/// The memory as another process reads it.
fn stored(memory: &Memory) -> Memory {
    let text = serde_json::to_string(memory).expect("a memory has a form to be stored in");
    serde_json::from_str(&text).expect("what was stored can be read")
}

impl World {
    /// Does one thing. `current` when the plan is the latest one.
    fn act(&mut self, scenario: &mut Scenario, act: Act, number: u64) -> Result<(), String> {
        if self.forgotten {
            return Ok(());
        }
        // Orders of an earlier number are void.
        let sources = self.places.values().filter(|place| place.kind == api::resolve::VertexKind::Source);
        let obeyed = sources.map(|place| place.reading.1).max().unwrap_or(0);
        let piece = match act {
            Act::Ensure(piece) => piece,
            Act::Retire(vertex, name) => {
                let delay = self.random.i64(0..8) * self.tick_ms;
                let now = self.now;
                let body = self.places.get_mut(&vertex).and_then(|place| place.workers.get_mut(&name));
                if let Some(body) = body.filter(|body| body.state != WorkerState::Stopping) {
                    (body.state, body.since) = (WorkerState::Stopping, now);
                    body.gone_at = Some(Time::from_millis(now.millis() + delay));
                }
                return Ok(());
            }
        };
        match piece {
            Piece::Reading { vertex, on } => {
                if let Some(place) = self.places.get_mut(&vertex).filter(|place| number >= place.reading.1) {
                    place.reading = (on, number);
                }
            }
            Piece::Worker { vertex, name } => self.start(&vertex, name),
            Piece::Shares { vertex, shares } => {
                if let Some(place) = self.places.get_mut(&vertex) {
                    place.shares = shares;
                }
            }
            Piece::Keep { vertex, revisions } => {
                if let Some(place) = self.places.get_mut(&vertex) {
                    place.specs = revisions;
                }
            }
            Piece::Reshape if number >= obeyed && scenario.next.is_some() => {
                let (inside, open) = (self.inside(), self.is_open());
                if inside > 0 || open {
                    return Err(format!(
                        "another shape took over with {inside} messages inside, sources open: {open}"
                    ));
                }
                if scenario.take_over() {
                    self.reshape(&scenario.settings);
                }
            }
            Piece::Forget if number >= obeyed && scenario.deletion.is_some() => {
                let forced = scenario.deletion.is_some_and(|deletion| deletion.force);
                let inside = self.inside();
                if inside > 0 && !forced {
                    return Err(format!("the object was removed with {inside} messages inside"));
                }
                self.forgotten = true;
            }
            Piece::Reshape | Piece::Forget => {}
        }
        Ok(())
    }

    fn start(&mut self, vertex: &str, name: WorkerName) {
        let Some(place) = self.places.get_mut(vertex) else { return };
        if !place.specs.contains(&name.revision) {
            // The order to keep it was lost; the next plan says it again.
            return;
        }
        let delay = self.random.i64(0..6) * self.tick_ms;
        let now = self.now;
        place.workers.entry(name).or_insert_with(|| Body {
            state: WorkerState::Starting,
            since: now,
            restarts: 0,
            ready_at: Time::from_millis(now.millis() + delay),
            gone_at: None,
            hangs_until: now,
            followed: 0,
            holds: BTreeMap::new(),
        });
    }

    /// The workers of each vertex that are not told to go. One that the plan before did not want counts for nothing:
    /// only an order that was lost has kept it.
    pub(super) fn there(&self, scenario: &Scenario, memory: &Memory) -> There {
        let of = |settings: &api::resolve::VertexSettings| {
            let place = self.places.get(&settings.name)?;
            let remembered = memory.vertices.get(&settings.name);
            let standing = |(name, body): (&WorkerName, &Body)| {
                let wanted = remembered.is_some_and(|memory| memory.workers.contains(name));
                let ready = wanted && body.state == WorkerState::Ready;
                let proven = ready && self.now.since(body.since) >= settings.update.min_ready;
                Standing { name: name.clone(), ready, proven }
            };
            let stays = place.workers.iter().filter(|(_, body)| body.state != WorkerState::Stopping);
            Some((settings.name.clone(), stays.map(standing).collect()))
        };
        scenario.settings.vertices.iter().filter_map(of).collect()
    }
}
