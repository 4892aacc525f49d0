//! Go duration strings, exact to the nanosecond. The invariant: what [`Duration`] prints parses back to the
//! same number, and what Go prints is what it prints. Whether a negative value makes sense is for `check`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANOS_PER_MICRO: i64 = 1_000;
const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MINUTE: i64 = 60 * NANOS_PER_SECOND;
const NANOS_PER_HOUR: i64 = 60 * NANOS_PER_MINUTE;

/// A span of time as a manifest writes it: `"100ms"`, `"1.5h"`, `"1h15m30.918s"`. It holds whole nanoseconds
/// and may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    nanos: i64,
}

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was written.
    #[error("it is empty")]
    Empty,
    /// A number was expected and something else was found.
    #[error("a number is missing before its unit")]
    NoNumber,
    /// A number without a unit, for example `30`.
    #[error("a unit is missing (ns, us, ms, s, m or h)")]
    NoUnit,
    /// A unit that does not exist, for example `1d`.
    #[error("its unit is unknown (ns, us, ms, s, m and h exist)")]
    UnknownUnit,
    /// More than about 292 years.
    #[error("it is too long")]
    TooLong,
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self { nanos: 0 };

    /// So many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// So many milliseconds; more than fit are held at the largest duration.
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis.saturating_mul(NANOS_PER_MILLI) }
    }

    /// So many seconds; more than fit are held at the largest duration.
    pub const fn from_secs(seconds: i64) -> Self {
        Self { nanos: seconds.saturating_mul(NANOS_PER_SECOND) }
    }

    /// The whole value in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// The whole value in milliseconds, cut towards zero.
    pub const fn as_millis(self) -> i64 {
        self.nanos / NANOS_PER_MILLI
    }

    /// True below zero.
    pub const fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The value as the standard library's type; a negative one, which `check` refuses, is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.nanos).unwrap_or(0))
    }
}

impl FromStr for Duration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (negative, mut rest) = match text.as_bytes().first() {
            None => return Err(Error::Empty),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(Error::NoNumber);
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (nanos, after) = leading_part(rest)?;
            total += nanos;
            // Go keeps the magnitude in 63 bits, with one more for the most negative value.
            if total > 1 << 63 {
                return Err(Error::TooLong);
            }
            rest = after;
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed).map(Self::from_nanos).map_err(|_| Error::TooLong)
    }
}

/// Takes one `number unit` from the front and gives its nanoseconds and what follows it.
fn leading_part(text: &str) -> Result<(i128, &str), Error> {
    let whole_len = digits(text);
    let (whole, after_whole) = text.split_at(whole_len);
    let (fraction, after_number) = match after_whole.strip_prefix('.') {
        Some(after_dot) => after_dot.split_at(digits(after_dot)),
        None => ("", after_whole),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(Error::NoNumber);
    }
    let unit_len = after_number.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_number.len());
    let (unit, rest) = after_number.split_at(unit_len);
    let scale = i128::from(unit_nanos(unit)?);
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Error::TooLong)? };
    let nanos = whole.checked_mul(scale).ok_or(Error::TooLong)?;
    Ok((nanos.checked_add(fraction_nanos(fraction, scale)).ok_or(Error::TooLong)?, rest))
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// The nanoseconds of the digits after the point; what is finer than a nanosecond is cut off, as Go does.
fn fraction_nanos(fraction: &str, scale: i128) -> i128 {
    // 18 digits of an hour are already far finer than a nanosecond.
    let kept = &fraction[..fraction.len().min(18)];
    let value = kept.bytes().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    value * scale / 10_i128.pow(kept.len() as u32)
}

fn unit_nanos(unit: &str) -> Result<i64, Error> {
    match unit {
        "" => Err(Error::NoUnit),
        "ns" => Ok(1),
        // The two signs for micro: U+00B5 and U+03BC.
        "us" | "\u{b5}s" | "\u{3bc}s" => Ok(NANOS_PER_MICRO),
        "ms" => Ok(NANOS_PER_MILLI),
        "s" => Ok(NANOS_PER_SECOND),
        "m" => Ok(NANOS_PER_MINUTE),
        "h" => Ok(NANOS_PER_HOUR),
        _ => Err(Error::UnknownUnit),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        let nanos = self.nanos.unsigned_abs();
        let second = NANOS_PER_SECOND.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < second {
            let (scale, unit) = match nanos {
                n if n < NANOS_PER_MICRO.unsigned_abs() => (1, "ns"),
                n if n < NANOS_PER_MILLI.unsigned_abs() => (NANOS_PER_MICRO.unsigned_abs(), "\u{b5}s"),
                _ => (NANOS_PER_MILLI.unsigned_abs(), "ms"),
            };
            return write_decimal(f, nanos, scale, unit);
        }
        let (hours, rest) = (nanos / NANOS_PER_HOUR.unsigned_abs(), nanos % NANOS_PER_HOUR.unsigned_abs());
        let (minutes, rest) =
            (rest / NANOS_PER_MINUTE.unsigned_abs(), rest % NANOS_PER_MINUTE.unsigned_abs());
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write_decimal(f, rest, second, "s")
    }
}

/// Writes `nanos / scale` with as many decimals as it needs.
fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u64, scale: u64, unit: &str) -> fmt::Result {
    write!(f, "{}", nanos / scale)?;
    let fraction = nanos % scale;
    if fraction > 0 {
        let width = scale.ilog10() as usize;
        let decimals = format!("{fraction:0width$}");
        write!(f, ".{}", decimals.trim_end_matches('0'))?;
    }
    f.write_str(unit)
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|error: Error| de::Error::custom(format_args!("`{text}` is no duration: {error}")))
    }
}

/// The `format` that marks a duration in our schemas.
pub(crate) const SCHEMA_FORMAT: &str = "go-duration";

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": SCHEMA_FORMAT })
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Error};

    #[test]
    fn go_durations_parse_exactly() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("1ns", 1),
            ("1us", 1_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h15m30.918273645s", 4_530_918_273_645),
            ("72h", 259_200_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("+5m", 300_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ];
        for (text, nanos) in table {
            assert_eq!(text.parse(), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        let table = [
            ("", Error::Empty),
            ("-", Error::NoNumber),
            ("s", Error::NoNumber),
            (".s", Error::NoNumber),
            ("30", Error::NoUnit),
            ("1h30", Error::NoUnit),
            ("1d", Error::UnknownUnit),
            ("1 s", Error::UnknownUnit),
            ("9223372036854775808ns", Error::TooLong),
            ("9999999999999999999999h", Error::TooLong),
            ("99999999999999999999999999999999999999999999999h", Error::TooLong),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Duration>(), Err(error), "{text}");
        }
    }

    #[test]
    fn printing_is_what_go_prints_and_parses_back() {
        let table = [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (305_000_000_000, "5m5s"),
            (305_001_000_000, "5m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (-90_000_000_000, "-1m30s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanos, text) in table {
            assert_eq!(Duration::from_nanos(nanos).to_string(), text);
            assert_eq!(text.parse(), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }
}
