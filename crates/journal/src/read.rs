//! Reading frames of a log: from memory where they are cached, else from the segments in few large reads, each
//! frame checked. The invariant: what is given out has the checksum it was appended with.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Place};
use crate::hub::{Segment, Shared};
use crate::index::{CACHE_OVERHEAD_BYTES, Slot};
use crate::locks::{lock, read};
use crate::transaction::{Entry, LogId};

/// Frames of one segment that are at most this far apart are read together.
const GAP_BYTES_MAX: u64 = 32 * 1024;
/// One read from the disk is at most this long, unless a single frame is longer.
const WINDOW_BYTES_MAX: u64 = 1024 * 1024;

/// A frame to be given out.
enum Found<F> {
    Cached(u64, Bytes),
    Stored(Slot, Arc<Segment<F>>),
}

impl<D: Disk> Shared<D> {
    pub(crate) fn read_log(
        &self,
        log: LogId,
        from: u64,
        max_bytes: usize,
        into: &mut Vec<Entry>,
    ) -> Result<usize, Error> {
        let before = into.len();
        let found = self.find_frames(log, from, max_bytes)?;
        let mut at = 0;
        while let Some(next) = found.get(at) {
            match next {
                Found::Cached(sequence, bytes) => {
                    into.push(Entry { sequence: *sequence, bytes: bytes.clone() });
                    at += 1;
                }
                Found::Stored(_, segment) => {
                    let run = run_length(&found[at..]);
                    let slots = found[at..at + run].iter().filter_map(|frame| match frame {
                        Found::Stored(slot, _) => Some(*slot),
                        Found::Cached(..) => None,
                    });
                    read_run(segment, &slots.collect::<Vec<_>>(), &self.place, into)?;
                    at += run;
                }
            }
        }
        Ok(into.len() - before)
    }

    /// Looks the frames up, holding the index no longer than that takes.
    fn find_frames(&self, log: LogId, from: u64, max_bytes: usize) -> Result<Vec<Found<D::File>>, Error> {
        let log = self.find_log(log)?;
        let index = lock(&log.index);
        // Taken while the index is locked: a segment is removed only after no index points to it.
        let segments = read(&self.segments);
        let mut found = Vec::new();
        let mut bytes = 0;
        for (slot, cached) in index.from(from) {
            bytes += slot.length() as usize + CACHE_OVERHEAD_BYTES;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(if let Some(bytes) = cached {
                Found::Cached(slot.sequence, bytes.clone())
            } else {
                let segment = segments.get(&slot.segment).expect("an unsettled frame's segment is there");
                Found::Stored(slot, Arc::clone(segment))
            });
        }
        Ok(found)
    }
}

/// How many of the frames, from the first on, are read at once.
fn run_length<F>(frames: &[Found<F>]) -> usize {
    let mut run = 0;
    let mut start = 0;
    let mut end = 0;
    let mut number = 0;
    for frame in frames {
        let Found::Stored(slot, segment) = frame else { break };
        let (slot_start, slot_end) = span(slot);
        if run == 0 {
            (start, number) = (slot_start, segment.number);
        } else if segment.number != number
            || slot_start < end
            || slot_start - end > GAP_BYTES_MAX
            || slot_end - start > WINDOW_BYTES_MAX
        {
            break;
        }
        end = slot_end;
        run += 1;
    }
    run
}

fn span(slot: &Slot) -> (u64, u64) {
    let start = u64::from(slot.offset);
    (start, start + u64::from(slot.length()))
}

/// Reads frames that lie close together, in order, with one call.
fn read_run<F: DiskFile>(
    segment: &Segment<F>,
    slots: &[Slot],
    place: &Place,
    into: &mut Vec<Entry>,
) -> Result<(), Error> {
    let (Some(first), Some(last)) = (slots.first(), slots.last()) else { return Ok(()) };
    let (start, _) = span(first);
    let (_, end) = span(last);
    let mut window = vec![0; (end - start) as usize];
    let read = segment.file.read_at(start, &mut window).map_err(|e| place.io("read", &segment.name, e))?;
    window.truncate(read);
    let useful: u64 = slots.iter().map(|slot| u64::from(slot.length())).sum();
    // Frames that share the window keep all of it alive; where it is mostly gaps they are copied out of it.
    let share = useful * 2 >= end - start;
    let window = Bytes::from(window);
    for slot in slots {
        let (from, to) = span(slot);
        let range = (from - start) as usize..(to - start) as usize;
        let Some(bytes) = window.get(range.clone()) else {
            return Err(place.damaged(&segment.name, from, to, "the file ends before the frame does"));
        };
        if crc32fast::hash(bytes) != slot.crc {
            return Err(place.damaged(&segment.name, from, to, "the checksum of the frame does not match"));
        }
        let bytes = if share { window.slice(range) } else { Bytes::copy_from_slice(bytes) };
        into.push(Entry { sequence: slot.sequence, bytes });
    }
    Ok(())
}

/// Reads and checks one frame.
pub(crate) fn read_frame<F: DiskFile>(
    segment: &Segment<F>,
    slot: Slot,
    place: &Place,
) -> Result<Bytes, Error> {
    let mut one = Vec::with_capacity(1);
    read_run(segment, &[slot], place, &mut one)?;
    Ok(one.pop().expect("one frame was read").bytes)
}
