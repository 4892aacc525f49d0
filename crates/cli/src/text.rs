//! Numbers, times and tables for people. Pure. Invariant: the same value always reads the same, in every command.

use std::time::Duration;

use plan::Time;

/// A rate with one digit behind the point as long as that says something.
pub(crate) fn rate(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { grouped(value.round() as u64) }
}

/// A number in groups of three digits.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time span: `12 s`, `3 min`, `5 h`, `12 d`.
pub(crate) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", grouped(seconds / 86_400)),
    }
}

/// How long ago a moment was.
pub(crate) fn age(now: Time, then: Time) -> String {
    span(now.since(then))
}

/// A line no longer than the width.
pub(crate) fn clip(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Rows as lines with columns below each other; numbers are to the right, everything else to the left.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let is_number: Vec<bool> = (0..columns)
        .map(|column| {
            let mut cells = rows.iter().skip(1).filter_map(|row| row.get(column));
            cells.all(|cell| cell.chars().all(|digit| digit.is_ascii_digit() || " .-".contains(digit)))
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if is_number[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{grouped, rate, span, table};

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(grouped), ["0", "999", "1 000", "12 345 678"]);
        assert_eq!([0.04, 99.94, 99.96, 1_500.4].map(rate), ["0.0", "99.9", "100", "1 500"]);
    }

    #[test]
    fn time_spans_have_one_unit() {
        let spans = [12, 119, 180, 7_200, 172_800 * 2].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["12 s", "119 s", "3 min", "2 h", "4 d"]);
    }

    #[test]
    fn columns_of_numbers_are_to_the_right() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["A", "N"]), row(["bb", "1 000"]), row(["c", "-"])]),
            ["A       N", "bb  1 000", "c       -"]
        );
    }
}
