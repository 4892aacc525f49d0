//! A simulated pipeline: slots, frames, units and owners as the buffer door promises them, owners that see only part of
//! it, and reports that are taken step by step, lost, late and out of order. What is really there is known here, so that
//! every watermark and every verdict can be held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Name, Place, Position, Slot, Time, Topology, Unit, UnitId};
use tidegate_keeper::{Feed, Graph, Keeper, Picture, Report, Settings, UnitReport, Vertex};

mod judge;
mod reports;

pub(crate) const MAX_DELAY_MS: i64 = 50;
/// Longer than any run: nothing is late.
const HOLD: Duration = Duration::from_secs(1_000_000);
const HOPS_MAX: u32 = 8;

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Everything is reported at one instant and at once, from what is really there.
    pub(crate) atomic: bool,
    /// Sources pause, and idle sources go on by the clock.
    pub(crate) idle: bool,
    /// How many rounds before the sources stop.
    pub(crate) rounds: u32,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    event: i64,
    hops: u32,
}

#[derive(Clone, Debug)]
struct Stored {
    sequence: u64,
    writer: Name,
    stamp: Option<Time>,
    messages: Vec<Message>,
}

impl Stored {
    fn earliest(&self) -> Time {
        Time::from_millis(
            self.messages.iter().map(|message| message.event).min().expect("a frame holds messages"),
        )
    }

    fn vote(&self) -> Time {
        self.earliest().max(self.stamp.unwrap_or(Time::MIN))
    }
}

/// What is really true of a unit.
#[derive(Clone, Debug, Default)]
struct Truth {
    epoch: u64,
    position: Position,
    above: BTreeSet<u64>,
    written: BTreeMap<Place, u64>,
    /// Messages of a source that are committed.
    committed: usize,
}

/// One life of an owner: what it believes.
#[derive(Clone, Debug)]
struct Owner {
    unit: UnitId,
    truth: Truth,
    through: u64,
    read: usize,
    empty_at: Option<Time>,
    latest: Option<i64>,
    stamp: Option<Time>,
    heard: u64,
    done: u64,
    /// User code hangs: nothing gets committed for a while.
    hangs: bool,
    /// A report that is being taken: its input is read, what was written is not.
    partial: Option<(u64, UnitReport)>,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) random: fastrand::Rng,
    pub(crate) keeper: Keeper,
    pub(crate) picture: Picture,
    manner: Manner,
    graph: Graph,
    clock: i64,
    sequence: u64,
    slots: BTreeMap<Place, Vec<Stored>>,
    units: BTreeMap<UnitId, Truth>,
    owners: Vec<Owner>,
    /// The messages of each source unit, as far as the world has got.
    outside: BTreeMap<UnitId, Vec<i64>>,
    network: Vec<(u32, Report)>,
    number: u64,
    pub(crate) stopping: bool,
    zombies: usize,
}

fn name(number: usize) -> Name {
    Name::new(format!("v{number}"))
}

fn random_graph(random: &mut fastrand::Rng) -> Graph {
    let sources = random.usize(1..=2);
    let count = sources + random.usize(1..=4);
    let mut graph = Graph::default();
    for number in 0..count {
        let feed = if number < sources {
            Feed::Source((0..random.u32(1..=2)).collect())
        } else {
            Feed::Slots(Topology { partitions: random.u16(1..=2), slots_per_partition: 1 })
        };
        graph.vertices.push(Vertex { name: name(number), feed, hold_watermark: HOLD });
    }
    let mut edges = BTreeSet::new();
    for to in sources..count {
        edges.insert((random.usize(..to), to));
        for from in 0..to {
            if random.u8(..) < 60 {
                edges.insert((from, to));
            }
        }
    }
    if random.u8(..) < 120 {
        let from = random.usize(sources..count);
        edges.insert((from, random.usize(sources..=from)));
    }
    graph.edges = edges.into_iter().map(|(from, to)| (name(from), name(to))).collect();
    graph
}

impl World {
    pub(crate) fn new(seed: u64, manner: Manner) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let graph = random_graph(&mut random);
        let idle = api::resolve::IdleSource {
            threshold: Duration::from_millis(40),
            increment_by: Duration::from_millis(30),
            step_interval: Duration::from_millis(20),
            init_source_delay: random.bool().then_some(Duration::from_millis(100)),
        };
        let settings = Settings::new(api::resolve::Watermark {
            enabled: true,
            max_delay: Duration::from_millis(if manner.idle { 0 } else { MAX_DELAY_MS as u64 }),
            idle: manner.idle.then_some(idle),
        });
        let (mut slots, mut units, mut outside) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for vertex in &graph.vertices {
            let id = |unit| UnitId { vertex: vertex.name.clone(), unit };
            match &vertex.feed {
                Feed::Source(numbers) => {
                    for number in numbers {
                        units.insert(id(Unit::Source(*number)), Truth::default());
                        outside.insert(id(Unit::Source(*number)), Vec::new());
                    }
                }
                Feed::Slots(topology) => {
                    let all = (0..u64::from(topology.slots())).map(|number| topology.slot(number));
                    for slot in all.chain([Slot::RETRY]) {
                        units.insert(id(Unit::Slot(slot)), Truth::default());
                        slots.insert(Place { vertex: vertex.name.clone(), slot }, Vec::new());
                    }
                }
            }
        }
        Self {
            seed,
            random,
            keeper: Keeper::new(graph.clone(), settings),
            picture: Picture::default(),
            manner,
            graph,
            clock: 1_000,
            sequence: 0,
            slots,
            units,
            owners: Vec::new(),
            outside,
            network: Vec::new(),
            number: 0,
            stopping: false,
            zombies: 0,
        }
    }

    fn now(&self) -> Time {
        Time::from_millis(self.clock)
    }

    fn watermark(&self, vertex: &Name) -> Option<Time> {
        self.picture.vertices.get(vertex)?.watermark
    }

    /// One round of anything that can happen.
    pub(crate) fn round(&mut self, round: u32) {
        self.clock += self.random.i64(0..=4);
        for unit in self.units.keys().cloned().collect::<Vec<_>>() {
            let live = self.owners.iter().any(|owner| self.owns(owner) && owner.unit == unit);
            if !live && self.random.u8(..) < 80 {
                self.claim(&unit);
            }
        }
        for _ in 0..self.owners.len() {
            if self.owners.is_empty() {
                break;
            }
            let at = self.random.usize(..self.owners.len());
            self.act(at, round);
        }
        if self.manner.atomic {
            self.report_all();
        }
        self.deliver(round);
        if self.manner.atomic || self.random.u8(..) < 100 {
            self.pass();
        }
    }

    fn owns(&self, owner: &Owner) -> bool {
        self.units[&owner.unit].epoch == owner.truth.epoch
    }

    fn claim(&mut self, unit: &UnitId) {
        let truth = self.units.get_mut(unit).expect("the unit exists");
        truth.epoch += self.random.u64(1..3);
        let owner = Owner {
            unit: unit.clone(),
            through: truth.position.sequence.saturating_sub(1),
            read: truth.committed,
            empty_at: None,
            latest: None,
            stamp: None,
            heard: self.picture.number,
            done: 0,
            hangs: false,
            partial: None,
            truth: truth.clone(),
        };
        self.owners.push(owner);
    }

    fn act(&mut self, at: usize, round: u32) {
        let calm = self.stopping && round > self.manner.rounds + 200;
        let slot = matches!(self.owners[at].unit.unit, Unit::Slot(_));
        let replaceable = !calm && (slot || !self.stopping);
        match self.random.u8(..100) {
            0..30 => self.read(at),
            30..60 if self.owners[at].hangs => self.owners[at].hangs = self.random.u8(..) < 230,
            30..60 => {
                self.owners[at].hangs = self.random.u8(..) < 8;
                if slot {
                    self.commit_slot(at);
                } else {
                    self.commit_source(at);
                }
            }
            60..85 if !self.manner.atomic => self.report(at, round),
            85..95 => {
                let vertex = self.owners[at].unit.vertex.clone();
                self.owners[at].stamp = self.watermark(&vertex);
                self.owners[at].heard = self.picture.number;
            }
            // Some end gracefully or not, others are replaced and go on as if nothing had happened.
            95..97 if replaceable => drop(self.owners.swap_remove(at)),
            97 if replaceable && self.owns(&self.owners[at]) => {
                let unit = self.owners[at].unit.clone();
                self.zombies += 1;
                self.claim(&unit);
            }
            98 if !self.owns(&self.owners[at]) => drop(self.owners.swap_remove(at)),
            _ => {}
        }
    }

    fn read(&mut self, at: usize) {
        let Owner { unit, .. } = self.owners[at].clone();
        if let Unit::Slot(slot) = unit.unit {
            let frames = &self.slots[&Place { vertex: unit.vertex, slot }];
            let through = self.owners[at].through;
            let next =
                frames.iter().filter(|frame| frame.sequence > through).take(self.random.usize(1..4)).last();
            if let Some(frame) = next {
                self.owners[at].through = frame.sequence;
            }
            return;
        }
        if self.stopping {
            return;
        }
        let (now, read) = (self.clock, self.owners[at].read);
        let outside = self.outside.get_mut(&unit).expect("the source exists");
        if read == outside.len() {
            if self.manner.idle && self.random.u8(..) < 200 {
                self.owners[at].empty_at = Some(Time::from_millis(now));
                return;
            }
            // With idle sources an event happens when it arrives; otherwise times are in order but for the delay.
            let jitter = self.random.i64(0..=MAX_DELAY_MS);
            outside.push(if self.manner.idle { now } else { read as i64 * 7 - jitter });
        }
        self.owners[at].empty_at = None;
        self.owners[at].read += 1;
    }

    fn commit_source(&mut self, at: usize) {
        let owner = self.owners[at].clone();
        let ready = owner.read - owner.truth.committed;
        if ready == 0 {
            return;
        }
        let count = self.random.usize(1..=ready);
        let events = &self.outside[&owner.unit][owner.truth.committed..][..count];
        let messages: Vec<_> = events.iter().map(|event| Message { event: *event, hops: 0 }).collect();
        let mut truth = owner.truth.clone();
        truth.committed += count;
        if self.commit(at, truth, &messages) {
            let latest = messages.iter().map(|message| message.event).max();
            self.owners[at].latest = self.owners[at].latest.max(latest);
        }
    }

    fn commit_slot(&mut self, at: usize) {
        let owner = self.owners[at].clone();
        let Unit::Slot(slot) = owner.unit.unit else { return };
        let Truth { position, above, .. } = &owner.truth;
        let place = Place { vertex: owner.unit.vertex.clone(), slot };
        let pick = self.random.usize(..);
        let frames = self.unsettled(&place, *position);
        let seen = frames.iter().take_while(|frame| frame.sequence <= owner.through);
        let open: Vec<_> = seen.filter(|frame| !above.contains(&frame.sequence)).collect();
        if open.is_empty() {
            return;
        }
        let mut truth = owner.truth.clone();
        if slot == Slot::RETRY {
            let frame = open[pick % open.len()].clone();
            truth.above.insert(frame.sequence);
            for settled in frames {
                if !truth.above.remove(&settled.sequence) {
                    break;
                }
                truth.position = Position::after(settled.sequence);
            }
            self.commit(at, truth, &frame.messages);
            return;
        }
        let frame = open[0].clone();
        let from = if frame.sequence == position.sequence { position.index as usize } else { 0 };
        let to = from + 1 + pick % (frame.messages.len() - from);
        truth.position = if to == frame.messages.len() {
            Position::after(frame.sequence)
        } else {
            Position { sequence: frame.sequence, index: to as u32 }
        };
        self.commit(at, truth, &frame.messages[from..to]);
    }

    /// The frames of a slot from a position on.
    fn unsettled(&self, place: &Place, position: Position) -> &[Stored] {
        let frames = &self.slots[place];
        &frames[frames.partition_point(|frame| frame.sequence < position.sequence)..]
    }

    /// Everything the messages became and the position, or nothing for an owner that is not the owner any more.
    fn commit(&mut self, at: usize, mut truth: Truth, messages: &[Message]) -> bool {
        if !self.owns(&self.owners[at]) {
            return false;
        }
        let (unit, stamp) = (self.owners[at].unit.clone(), self.owners[at].stamp);
        if let Some(watermark) = self.watermark(&unit.vertex) {
            for message in messages {
                let event = Time::from_millis(message.event);
                assert!(event >= watermark, "seed {}: {unit} writes {event} behind {watermark}", self.seed);
            }
        }
        let mut outputs: BTreeMap<Place, Vec<Message>> = BTreeMap::new();
        for message in messages {
            let hops = message.hops + 1;
            if matches!(unit.unit, Unit::Slot(_)) && hops < HOPS_MAX && self.random.u8(..) < 30 {
                let again = Place { vertex: unit.vertex.clone(), slot: Slot::RETRY };
                outputs.entry(again).or_default().push(Message { hops, ..*message });
                continue;
            }
            for (_, to) in self.graph.edges.iter().filter(|(from, _)| *from == unit.vertex) {
                let forward = *to > unit.vertex;
                if (forward || hops < HOPS_MAX) && self.random.u8(..) < 200 {
                    let own = |place: &&Place| place.vertex == *to && place.slot != Slot::RETRY;
                    let slots: Vec<_> = self.slots.keys().filter(own).collect();
                    let place = slots[self.random.usize(..slots.len())].clone();
                    outputs.entry(place).or_default().push(Message { hops, ..*message });
                }
            }
        }
        for (place, messages) in outputs {
            self.sequence += self.random.u64(1..3);
            let writer = unit.vertex.clone();
            let frame = Stored { sequence: self.sequence, writer, stamp, messages };
            truth.written.insert(place.clone(), frame.sequence);
            self.slots.get_mut(&place).expect("the slot exists").push(frame);
        }
        self.owners[at].truth = truth.clone();
        self.owners[at].done += messages.len() as u64;
        self.units.insert(unit, truth);
        true
    }

    /// How much of what it is about was in this run.
    pub(crate) fn richness(&self) -> (usize, usize) {
        (self.zombies, self.picture.vertices.values().filter(|picture| picture.watermark.is_some()).count())
    }
}
