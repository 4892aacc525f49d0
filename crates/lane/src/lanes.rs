//! The buffer of one process over a broker: its streams, what it knows of partitions, and who owns what here.
//!
//! Invariant: nothing in memory decides anything; a process that is gone loses nothing but its knowledge.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use model::door::buffer::{Bounds, Buffer, Claim, Claimed, Committer, Reader, Survey, VertexSettings};
use model::door::mail::Mail;
use model::door::{Class, Error};
use model::{Epoch, Name, Place, Progress, Slot, Topology, Unit, UnitId};
use smol_str::SmolStr;

use crate::bell::Bell;
use crate::broker::{Broker, Identity, StreamName};
use crate::claim::claim;
use crate::commit::UnitCommitter;
use crate::driver::{Driver, Pump, Pumps, drive};
use crate::failure::missing_stream;
use crate::gate::Gates;
use crate::ids::Ids;
use crate::link::{ATTEMPTS_MAX, Link, Pauses};
use crate::mail::Notes;
use crate::meta::StreamId;
use crate::names;
use crate::observer::Observer;
use crate::pen::Lane;
use crate::read::SlotReader;
use crate::record::{FRAME_OVERHEAD, FRAMES_MAX};
use crate::room::Room;
use crate::settings::Settings;

/// The largest payload of one frame. A server looks for the next frame of a slot among those of all slots, so fewer and
/// larger ones are found sooner: at 1 KiB a message 512 KiB was 1.5 times as slow.
const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The largest payload of one commit.
const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// At least as many bytes as stand beside the payload of a message: what is said of it, in whatever coding the broker
/// needs.
const META_BYTES_MAX: usize = 64 * 1024;

/// A stream of the pipeline.
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) name: StreamName,
    pub(crate) identity: Identity,
    /// The highest sequence that it is known to have reached. What is stored after that was known lies above it, or the
    /// stream has lost its end.
    high: AtomicU64,
}

impl Stream {
    pub(crate) fn new(id: StreamId, name: StreamName, identity: Identity) -> Self {
        Self { id, name, identity, high: AtomicU64::new(0) }
    }

    /// Notes a sequence that it has reached.
    pub(crate) fn reached(&self, sequence: u64) {
        self.high.fetch_max(sequence, Ordering::Relaxed);
    }

    pub(crate) fn high(&self) -> u64 {
        self.high.load(Ordering::Relaxed)
    }
}

pub(crate) struct Vertex {
    pub(crate) topology: Topology,
    pub(crate) rooms: Vec<Arc<Room>>,
    pub(crate) ids: Arc<Ids>,
    /// Which source it has, once that was noted.
    pub(crate) source: OnceLock<SmolStr>,
}

pub(crate) struct Inner<B> {
    pub(crate) link: Link<B>,
    pub(crate) settings: Settings,
    pub(crate) streams: BTreeMap<StreamId, Arc<Stream>>,
    pub(crate) vertices: BTreeMap<Name, Vertex>,
    pub(crate) gates: Gates,
    pub(crate) attempts: AtomicU64,
    pub(crate) bounds: Bounds,
    pub(crate) pumps: Pumps,
    /// Rings when a stream is full.
    pub(crate) trim: Bell,
    pub(crate) observer: futures::lock::Mutex<Option<Observer>>,
}

/// The buffer of one process.
pub struct Lanes<B: Broker> {
    inner: Arc<Inner<B>>,
}

fn bounds(message_bytes_max: usize) -> Bounds {
    let beside = (META_BYTES_MAX + FRAMES_MAX * FRAME_OVERHEAD).min(message_bytes_max / 2);
    let commit_bytes_max = COMMIT_BYTES_MAX.min(message_bytes_max - beside);
    let frame_bytes_max = FRAME_BYTES_MAX.min(commit_bytes_max);
    // A source had best write one such frame at a time: a commit of several is stored twice, and what a map makes of one
    // frame should fit into one too, though it grows a little.
    let lone_frame_bytes = Some(frame_bytes_max / 4 * 3);
    Bounds { frame_bytes_max, commit_bytes_max, lone_frame_bytes }
}

async fn look<B: Broker>(
    link: &Link<B>,
    id: StreamId,
    name: StreamName,
) -> Result<(StreamId, Arc<Stream>), Error> {
    let state = link.state(&name, Pauses::at_most(ATTEMPTS_MAX)).await;
    let state = state.map_err(|error| missing_stream(&name, error))?;
    Ok((id.clone(), Arc::new(Stream::new(id, name, state.identity))))
}

impl<B: Broker> Lanes<B> {
    /// The buffer for the vertices of a pipeline. Its streams have to be there. The driver has to be polled for as long
    /// as the buffer is used.
    pub async fn open(broker: Arc<B>, settings: Settings) -> Result<(Arc<Self>, Driver), Error> {
        let link = Link::new(broker);
        let mut ids = vec![
            (StreamId::Units, names::units(&settings.prefix)),
            (StreamId::Notes, names::notes(&settings.prefix)),
            (StreamId::Ids, names::ids(&settings.prefix)),
        ];
        let mut vertices = BTreeMap::new();
        for vertex in &settings.vertices {
            let VertexSettings { name, topology, .. } = vertex;
            for partition in 0..topology.partitions {
                let stream = names::partition(&settings.prefix, name, partition);
                ids.push((StreamId::Partition(name.clone(), partition), stream));
            }
            let rooms = (0..topology.partitions).map(|_| Arc::new(Room::new(vertex))).collect();
            let vertex = Vertex {
                topology: *topology,
                rooms,
                ids: Arc::new(Ids::new(name.clone())),
                source: OnceLock::new(),
            };
            vertices.insert(name.clone(), vertex);
        }
        let looks: Vec<_> = ids.into_iter().map(|(id, name)| look(&link, id, name)).collect();
        let streams = try_join_all(looks).await?.into_iter().collect();
        let bounds = bounds(link.broker.limits().message_bytes_max);
        let inner = Arc::new(Inner {
            link,
            settings,
            streams,
            vertices,
            gates: Gates::default(),
            attempts: AtomicU64::new(0),
            bounds,
            pumps: Pumps::default(),
            trim: Bell::default(),
            observer: futures::lock::Mutex::new(None),
        });
        let driver = drive(inner.clone());
        Ok((Arc::new(Self { inner }), driver))
    }

    /// Where the processes of the pipeline leave each other notes.
    pub fn mail(&self) -> Arc<dyn Mail> {
        Arc::new(Notes::new(self.inner.clone()))
    }

    /// Claims a unit and gives it up at once: whatever was decided in it is stored, and no former owner can add
    /// anything. Gives the progress, which is final until somebody claims the unit.
    pub async fn seal(&self, wish: Claim) -> Result<Progress, Error> {
        let mut pen = claim(&self.inner, &wish).await?;
        let mut record = pen.next_record();
        record.owner = None;
        pen.write_record(record, bytes::Bytes::new()).await?;
        Ok(pen.progress)
    }

    /// Notes which source a vertex has, as the word `identity` for it, before any of its units is claimed. When that was
    /// another one before, the former word is given, and each source unit of the vertex begins afresh when it is claimed
    /// next: a position means nothing in another source. What the units have written stays.
    pub async fn note_source(&self, vertex: &str, identity: &str) -> Result<Option<String>, Error> {
        crate::source::note(&self.inner, vertex, identity).await
    }

    /// The highest number any unit was ever owned under. Whoever assigns units afresh begins above it.
    pub async fn highest_epoch(&self) -> Result<Epoch, Error> {
        let survey = crate::observer::glance(&self.inner).await?;
        Ok(survey.units.iter().map(|unit| unit.epoch).max().unwrap_or_default())
    }

    /// How long the broker has not answered anything. Beyond [`LEASE`](crate::LEASE) this process has to assume that its
    /// units belong to others: it must not write outside, nor acknowledge to a source.
    pub fn out_of_reach(&self) -> Duration {
        self.inner.link.silent_for()
    }

    /// How often that was longer than [`LEASE`](crate::LEASE), the present silence included. What was read before the
    /// count changed must not be written outside after it. Readers look again who owns their unit before they go on.
    pub fn lapses(&self) -> u64 {
        self.inner.link.lapses()
    }
}

impl<B> Inner<B> {
    pub(crate) fn stream(&self, id: &StreamId) -> Result<&Arc<Stream>, Error> {
        self.streams.get(id).ok_or_else(|| {
            let what = match id {
                StreamId::Units | StreamId::Notes | StreamId::Ids => "the pipeline's own stream".to_owned(),
                StreamId::Partition(vertex, partition) => format!("partition {partition} of vertex {vertex}"),
            };
            Error::new(Class::Fatal, format!("find {what} in the buffer: it was not announced"))
        })
    }

    pub(crate) fn vertex(&self, name: &str) -> Result<&Vertex, Error> {
        self.vertices.get(name).ok_or_else(|| {
            Error::new(Class::Fatal, format!("find vertex {name} in the buffer: it was not announced"))
        })
    }

    /// The room of a place; what is there is looked at from now on.
    pub(crate) fn room(&self, place: &Place) -> Result<&Arc<Room>, Error> {
        let vertex = self.vertex(&place.vertex)?;
        let known = place.slot == Slot::RETRY || place.slot.number < vertex.topology.slots_per_partition;
        vertex.rooms.get(usize::from(place.slot.partition)).filter(|_| known).ok_or_else(|| {
            Error::new(Class::Fatal, format!("find slot {place} in the buffer: the vertex has no such slot"))
        })
    }

    /// A stream is full: everything that may go should.
    pub(crate) fn full(&self) {
        self.trim.ring();
    }

    /// Notes a mark in a lane.
    pub(crate) fn marked(&self, unit: &UnitId, lane: &Lane, sequence: u64) {
        if let StreamId::Partition(vertex, partition) = &lane.stream.id
            && let Some(room) = self.vertices.get(vertex)
        {
            room.rooms[usize::from(*partition)].note_mark(unit, sequence);
            // What former owners left there is ours to remove.
            self.pumps.want(Pump::Room(vertex.clone(), *partition));
        }
    }
}

#[async_trait]
impl<B: Broker> Buffer for Lanes<B> {
    fn bounds(&self) -> Bounds {
        self.inner.bounds
    }

    async fn claim(&self, wish: Claim) -> Result<Claimed, Error> {
        let inner = &self.inner;
        let vertex = inner.vertex(&wish.unit.vertex)?;
        let own = match wish.unit.unit {
            Unit::Slot(slot) => {
                let place = Place { vertex: wish.unit.vertex.clone(), slot };
                Some((slot, inner.room(&place)?.clone()))
            }
            Unit::Source(_) => None,
        };
        {
            let _resolving = vertex.ids.resolving.lock().await;
            vertex.ids.adopt(wish.unit.unit);
        }
        let pen = claim(inner, &wish).await?;
        // Another claim of this process may have overtaken it, and have moved on from what this one found.
        pen.holding.check()?;
        // What a former owner had reserved and not committed is nobody's.
        vertex.ids.let_go_before(wish.unit.unit, pen.holding.claim);
        let progress = pen.progress.clone();
        inner.gates.reach(&pen.holding, pen.commit, &progress);
        let reader = own.as_ref().map(|(slot, room)| {
            room.settle(slot.number, &progress);
            let reader = SlotReader::new(inner.clone(), pen.holding.clone(), *slot, &progress);
            Box::new(reader) as Box<dyn Reader>
        });
        let ids = vertex.ids.clone();
        let committer: Box<dyn Committer> = Box::new(UnitCommitter::new(pen, own, ids));
        Ok(Claimed { progress, reader, committer })
    }

    async fn survey(&self) -> Result<Survey, Error> {
        crate::observer::survey(&self.inner).await
    }
}
