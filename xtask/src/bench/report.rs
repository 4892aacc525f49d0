//! From measured figures to a table that can stand in a document.
//!
//! What is measured is the cases' matter. Invariant: a row is the median of as many values as there were runs, and
//! the spread stands beside it.

use std::fmt::Write;

use anyhow::{Result, ensure};

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Figure {
    /// A value with its unit.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    case: &'static str,
    name: String,
    unit: &'static str,
    smallest: f64,
    median: f64,
    largest: f64,
}

/// The rows of a case: one for each figure, over all runs.
///
/// Fails if the runs do not all give the same figures in the same order.
pub(super) fn medians(case: &'static str, runs: &[Vec<Figure>]) -> Result<Vec<Row>> {
    let Some(first) = runs.first() else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for (index, figure) in first.iter().enumerate() {
        let mut values = Vec::new();
        for run in runs {
            let same = run.len() == first.len() && run[index].name == figure.name;
            ensure!(same, "the runs of `{case}` give different figures");
            values.push(run[index].value);
        }
        values.sort_by(f64::total_cmp);
        rows.push(Row {
            case,
            name: figure.name.clone(),
            unit: figure.unit,
            smallest: values[0],
            median: median(&values),
            largest: values[values.len() - 1],
        });
    }
    Ok(rows)
}

/// The middle of sorted values; of an even number, the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The rows as a Markdown table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = "| case | figure | median | from – to | unit |\n|---|---|--:|--:|---|\n".to_owned();
    for Row { case, name, unit, smallest, median, largest } in rows {
        let (smallest, median, largest) = (number(*smallest), number(*median), number(*largest));
        writeln!(text, "| {case} | {name} | {median} | {smallest} – {largest} | {unit} |")
            .expect("a String takes any text");
    }
    text
}

/// Three digits that count, and thousands apart.
fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.*}", if value < 10.0 { 2 } else { 1 });
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_with_its_spread() {
        let runs = [3.0, 1.0, 2.0].map(|value| vec![Figure::new("rate", value, "msg/s")]);
        let rows = medians("mono", &runs).unwrap();
        assert_eq!((rows[0].smallest, rows[0].median, rows[0].largest), (1.0, 2.0, 3.0));
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn runs_that_give_different_figures_are_an_error() {
        let runs = [vec![Figure::new("a", 1.0, "s")], vec![Figure::new("b", 1.0, "s")]];
        assert!(medians("mono", &runs).is_err());
    }

    #[test]
    fn a_table_can_stand_in_a_document() {
        let rows = medians("mono", &[vec![Figure::new("rate", 5_123_456.7, "msg/s")]]).unwrap();
        let text = table(&rows);
        assert_eq!(text.lines().last(), Some("| mono | rate | 5 123 457 | 5 123 457 – 5 123 457 | msg/s |"));
        assert_eq!([number(0.123), number(12.34), number(999.6)], ["0.12", "12.3", "1 000"]);
    }
}
