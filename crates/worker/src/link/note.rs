//! The notes between a worker in another process and whoever gives it orders, and their bytes: protobuf, so that two
//! versions of the program understand each other. docs/format/notes.md has every field. Invariant: what is encoded is
//! read back the same, and fields that a reader does not know are passed over.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use model::door::Error;
use model::{Epoch, Incarnation, Slot, Time, Unit};
use prost::Message;

use super::unreadable;
use crate::handle::UnitReport;
use crate::signals::{Latency, Signals};

/// What a worker shall own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// The life that they are for.
    pub incarnation: Incarnation,
    /// The number that whoever gave them knows them by.
    pub number: u64,
    /// The units, each with the number of this ownership.
    pub units: BTreeMap<Unit, Epoch>,
    /// Finish everything and end.
    pub stop: bool,
    /// Finish only what cannot be left half done.
    pub cut: bool,
    /// The watermark of the vertex.
    pub watermark: Time,
}

/// What a worker is, apart from its units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its source has nothing more to give.
    pub is_exhausted: bool,
    /// Its user code answers that it is ready; true without user code.
    pub is_ready: bool,
    /// Where its source listens.
    pub urls: Vec<String>,
    /// Whom the worker runs for, in whatever words the one who started it has for a version.
    pub revision: String,
}

/// A named error of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// The container.
    pub container: String,
    /// A stable word for what happened.
    pub code: String,
    /// What happened, in one sentence.
    pub message: String,
    /// Stack trace or other detail.
    pub details: String,
    /// Ids of the messages concerned.
    pub messages: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at_millis: u64,
}

impl Notice {
    /// When it happened.
    pub fn at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.at_millis)
    }
}

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which life says it.
    pub incarnation: Incarnation,
    /// Grows with every report of this life.
    pub number: u64,
    /// See [`Hand::followed`](crate::Hand::followed).
    pub followed: u64,
    /// Every unit that was claimed and is not released.
    pub units: Vec<UnitReport>,
    /// What it has done.
    pub signals: Signals,
    /// What it is.
    pub standing: Standing,
    /// The latest named errors, oldest first.
    pub notices: Vec<Notice>,
    /// How many there were in all.
    pub notices_total: u64,
}

/// What of a report others wait for: orders that were followed, units that came or went, a source that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) followed: u64,
    pub(super) standing: Standing,
    pub(super) notices_total: u64,
    pub(super) held: Vec<(Unit, Epoch)>,
}

impl Report {
    pub(super) fn moves(&self) -> Moves {
        Moves {
            followed: self.followed,
            standing: self.standing.clone(),
            notices_total: self.notices_total,
            held: self.units.iter().map(|unit| (unit.unit, unit.epoch)).collect(),
        }
    }

    /// Whether it says anything else at all, time aside.
    pub(super) fn differs_from(&self, earlier: &Self) -> bool {
        let timeless = |report: &Self| {
            let mut report = report.clone();
            report.number = 0;
            for unit in &mut report.units {
                unit.since_progress = Duration::ZERO;
            }
            report
        };
        timeless(self) != timeless(earlier)
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let Self { incarnation, number, followed, units, signals, standing, notices, notices_total } = self;
        let Standing { is_exhausted, is_ready, urls, revision } = standing.clone();
        let notice = |notice: &Notice| {
            let Notice { container, code, message, details, messages, at_millis } = notice.clone();
            NoticeNote { container, code, message, details, messages, at_millis }
        };
        let note = ReportNote {
            incarnation: incarnation.0,
            number: *number,
            followed: *followed,
            units: units.iter().map(UnitNote::of).collect(),
            signals: Some(SignalsNote::of(signals)),
            is_exhausted,
            is_ready,
            urls,
            revision,
            notices: notices.iter().map(notice).collect(),
            notices_total: *notices_total,
        };
        Bytes::from(note.encode_to_vec())
    }

    /// Reads a report from its bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let note = ReportNote::decode(bytes.clone()).map_err(|error| unreadable("read a report", error))?;
        let notice = |note: NoticeNote| {
            let NoticeNote { container, code, message, details, messages, at_millis } = note;
            Notice { container, code, message, details, messages, at_millis }
        };
        Ok(Self {
            incarnation: Incarnation(note.incarnation),
            number: note.number,
            followed: note.followed,
            units: note.units.into_iter().map(UnitNote::into_report).collect(),
            signals: note.signals.unwrap_or_default().into_signals(),
            standing: Standing {
                is_exhausted: note.is_exhausted,
                is_ready: note.is_ready,
                urls: note.urls,
                revision: note.revision,
            },
            notices: note.notices.into_iter().map(notice).collect(),
            notices_total: note.notices_total,
        })
    }
}

impl Orders {
    /// No orders for this life.
    pub fn none(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            number: 0,
            units: BTreeMap::new(),
            stop: false,
            cut: false,
            watermark: Time::UNKNOWN,
        }
    }

    /// Their bytes.
    pub fn encode(&self) -> Bytes {
        let Self { incarnation, number, units, stop, cut, watermark } = self;
        let owned = |(unit, epoch): (&Unit, &Epoch)| OwnedNote { unit: Some(unit_id(*unit)), epoch: epoch.0 };
        let note = OrdersNote {
            incarnation: incarnation.0,
            number: *number,
            units: units.iter().map(owned).collect(),
            stop: *stop,
            cut: *cut,
            watermark: time(*watermark),
        };
        Bytes::from(note.encode_to_vec())
    }

    /// Reads orders from their bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let note = OrdersNote::decode(bytes.clone()).map_err(|error| unreadable("read orders", error))?;
        let OrdersNote { incarnation, number, units, stop, cut, watermark } = note;
        let owned = |note: OwnedNote| (unit_of(note.unit.unwrap_or_default()), Epoch(note.epoch));
        Ok(Self {
            incarnation: Incarnation(incarnation),
            number,
            units: units.into_iter().map(owned).collect(),
            stop,
            cut,
            watermark: watermark.map_or(Time::UNKNOWN, Time::from_nanos),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct OrdersNote {
    #[prost(fixed64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    number: u64,
    #[prost(message, repeated, tag = "3")]
    units: Vec<OwnedNote>,
    #[prost(bool, tag = "4")]
    stop: bool,
    #[prost(bool, tag = "5")]
    cut: bool,
    #[prost(sint64, optional, tag = "6")]
    watermark: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OwnedNote {
    #[prost(message, optional, tag = "1")]
    unit: Option<UnitId>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
}

/// A source unit, or a slot.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct UnitId {
    #[prost(uint32, optional, tag = "1")]
    source: Option<u32>,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint32, tag = "3")]
    slot: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnitNote {
    #[prost(message, optional, tag = "1")]
    unit: Option<UnitId>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(uint64, tag = "4")]
    in_hand: u64,
    #[prost(uint64, tag = "5")]
    done: u64,
    #[prost(sint64, optional, tag = "6")]
    latest: Option<i64>,
    #[prost(sint64, optional, tag = "7")]
    empty_at: Option<i64>,
    #[prost(uint64, optional, tag = "8")]
    outside: Option<u64>,
    #[prost(sint64, optional, tag = "9")]
    rests_until: Option<i64>,
    #[prost(uint64, tag = "10")]
    since_progress_nanos: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SignalsNote {
    #[prost(uint64, tag = "1")]
    frames_read: u64,
    #[prost(uint64, tag = "2")]
    read: u64,
    #[prost(uint64, tag = "3")]
    done: u64,
    #[prost(uint64, tag = "4")]
    written: u64,
    #[prost(uint64, tag = "5")]
    user_code_errors: u64,
    #[prost(uint64, tag = "6")]
    write_errors: u64,
    #[prost(uint64, tag = "7")]
    user_code_drops: u64,
    #[prost(uint64, tag = "8")]
    nacks: u64,
    #[prost(uint64, tag = "9")]
    platform_drops: u64,
    #[prost(uint64, tag = "10")]
    latency_nanos: u64,
    #[prost(uint64, repeated, tag = "11")]
    latency_buckets: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NoticeNote {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, tag = "2")]
    code: String,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    details: String,
    #[prost(string, repeated, tag = "5")]
    messages: Vec<String>,
    #[prost(uint64, tag = "6")]
    at_millis: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReportNote {
    #[prost(fixed64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    number: u64,
    #[prost(uint64, tag = "3")]
    followed: u64,
    #[prost(message, repeated, tag = "4")]
    units: Vec<UnitNote>,
    #[prost(message, optional, tag = "5")]
    signals: Option<SignalsNote>,
    #[prost(bool, tag = "6")]
    is_exhausted: bool,
    #[prost(bool, tag = "7")]
    is_ready: bool,
    #[prost(string, repeated, tag = "8")]
    urls: Vec<String>,
    #[prost(string, tag = "9")]
    revision: String,
    #[prost(message, repeated, tag = "10")]
    notices: Vec<NoticeNote>,
    #[prost(uint64, tag = "11")]
    notices_total: u64,
}

fn unit_id(unit: Unit) -> UnitId {
    match unit {
        Unit::Source(number) => UnitId { source: Some(number), partition: 0, slot: 0 },
        Unit::Slot(Slot { partition, number }) => {
            UnitId { source: None, partition: u32::from(partition), slot: u32::from(number) }
        }
    }
}

fn unit_of(id: UnitId) -> Unit {
    match id.source {
        Some(number) => Unit::Source(number),
        // Numbers of slots are written from 16 bits; a larger one is nobody's slot.
        None => Unit::Slot(Slot { partition: id.partition as u16, number: id.slot as u16 }),
    }
}

fn time(time: Time) -> Option<i64> {
    (time != Time::UNKNOWN).then(|| time.nanos())
}

impl UnitNote {
    fn of(report: &UnitReport) -> Self {
        let UnitReport {
            unit,
            epoch,
            sequence,
            in_hand,
            done,
            latest,
            empty_at,
            outside,
            rests_until,
            since_progress,
        } = report;
        Self {
            unit: Some(unit_id(*unit)),
            epoch: epoch.0,
            sequence: *sequence,
            in_hand: *in_hand,
            done: *done,
            latest: latest.map(Time::nanos),
            empty_at: empty_at.map(Time::nanos),
            outside: *outside,
            rests_until: rests_until.map(Time::nanos),
            since_progress_nanos: u64::try_from(since_progress.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn into_report(self) -> UnitReport {
        UnitReport {
            unit: unit_of(self.unit.unwrap_or_default()),
            epoch: Epoch(self.epoch),
            sequence: self.sequence,
            in_hand: self.in_hand,
            done: self.done,
            latest: self.latest.map(Time::from_nanos),
            empty_at: self.empty_at.map(Time::from_nanos),
            outside: self.outside,
            rests_until: self.rests_until.map(Time::from_nanos),
            since_progress: Duration::from_nanos(self.since_progress_nanos),
        }
    }
}

impl SignalsNote {
    fn of(signals: &Signals) -> Self {
        let Signals {
            frames_read,
            read,
            done,
            written,
            user_code_errors,
            write_errors,
            user_code_drops,
            nacks,
            platform_drops,
            latency,
        } = signals;
        Self {
            frames_read: *frames_read,
            read: *read,
            done: *done,
            written: *written,
            user_code_errors: *user_code_errors,
            write_errors: *write_errors,
            user_code_drops: *user_code_drops,
            nacks: *nacks,
            platform_drops: *platform_drops,
            latency_nanos: latency.nanos,
            latency_buckets: latency.buckets().to_vec(),
        }
    }

    fn into_signals(self) -> Signals {
        Signals {
            frames_read: self.frames_read,
            read: self.read,
            done: self.done,
            written: self.written,
            user_code_errors: self.user_code_errors,
            write_errors: self.write_errors,
            user_code_drops: self.user_code_drops,
            nacks: self.nacks,
            platform_drops: self.platform_drops,
            latency: Latency::from_parts(self.latency_nanos, self.latency_buckets),
        }
    }
}
