//! A bar chart of a [`Table`] as SVG: a group of bars per row on a logarithmic axis, since the values of one table span
//! many orders of magnitude.

use crate::table::{Table, number};
use std::fmt::Write;

const LEFT: f64 = 230.0;
const WIDTH: f64 = 560.0;
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;
const TOP: f64 = 60.0;
const COLOURS: [&str; 4] = ["#8a8f98", "#d9963a", "#2a7f62", "#5b6abf"];

/// Draws the table.
pub(crate) fn bars(table: &Table) -> String {
    let (low, high) = decades(table);
    let group = BAR * count(table.columns.len()) + GAP;
    let height = TOP + group * count(table.rows.len()) + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\">{} ({}, logarithmic)</text>\n",
        LEFT + WIDTH + 110.0,
        escape(&table.title),
        table.unit,
    );
    for (index, column) in table.columns.iter().enumerate() {
        let x = LEFT + 110.0 * count(index);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"34\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"44\">{}</text>",
            colour(index),
            x + 17.0,
            escape(column),
        );
    }
    for (row_index, row) in table.rows.iter().enumerate() {
        let top = TOP + group * count(row_index);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            top + (group - GAP) / 2.0 + 4.0,
            escape(&row.name),
        );
        for (index, value) in row.values.iter().enumerate() {
            let Some(value) = value else { continue };
            let length = ((value.max(f64::MIN_POSITIVE).log10() - low) / (high - low) * WIDTH).max(1.0);
            let y = top + BAR * count(index);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                BAR - 2.0,
                colour(index),
                LEFT + length + 5.0,
                y + 11.0,
                number(*value),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The powers of ten that enclose all values, at least one apart.
fn decades(table: &Table) -> (f64, f64) {
    let logs = table
        .rows
        .iter()
        .flat_map(|row| row.values.iter().flatten())
        .filter(|v| **v > 0.0)
        .map(|v| v.log10());
    let (low, high) = logs.fold((f64::MAX, f64::MIN), |(low, high), log| (low.min(log), high.max(log)));
    if low > high { (0.0, 1.0) } else { (low.floor() - 0.3, high.ceil().max(low.floor() + 1.0)) }
}

fn colour(index: usize) -> &'static str {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or("black")
}

/// A small count as a coordinate.
fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(0.0, f64::from)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;

    #[test]
    fn every_value_has_a_bar() {
        let table = Table {
            title: "a < b".into(),
            unit: "ns",
            columns: vec!["one".into(), "two".into()],
            rows: vec![
                Row { name: "x".into(), values: vec![Some(10.0), Some(1000.0)] },
                Row { name: "y".into(), values: vec![None, Some(0.5)] },
            ],
            notes: vec![],
        };
        let svg = bars(&table);
        assert!(svg.contains("a &lt; b"));
        // The background, two legend marks and three values.
        assert_eq!(svg.matches("<rect").count(), 6);
    }
}
