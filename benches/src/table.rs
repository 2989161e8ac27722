//! A table of measurements: one row per operation, one column per runtime.

use crate::error::BenchError;
use serde::Serialize;
use std::fmt::Write;

/// Measurements side by side.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    /// What it shows.
    pub(crate) title: String,
    /// Unit of the values, such as `ns`.
    pub(crate) unit: &'static str,
    /// Runtimes.
    pub(crate) columns: Vec<String>,
    /// Operations.
    pub(crate) rows: Vec<Row>,
    /// Other findings, one a line.
    pub(crate) notes: Vec<String>,
}

/// One operation under every runtime.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Operation.
    pub(crate) name: String,
    /// One value per column; none where it could not be measured.
    pub(crate) values: Vec<Option<f64>>,
}

impl Table {
    /// The table as text with aligned columns, and the last column as a multiple of the first.
    pub(crate) fn to_text(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(12);
        let mut text = format!("{} ({})\n\n{:width$}", self.title, self.unit, "");
        for column in &self.columns {
            let _ = write!(text, "{column:>14}");
        }
        let _ = writeln!(text, "{:>16}", self.ratio_name());
        for row in &self.rows {
            let _ = write!(text, "{:width$}", row.name);
            for value in &row.values {
                let _ = write!(text, "{:>14}", value.map_or_else(|| "-".into(), number));
            }
            let _ = writeln!(
                text,
                "{:>16}",
                row.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"))
            );
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}");
        }
        text.push('\n');
        text
    }

    /// The table as JSON.
    ///
    /// # Errors
    /// When a value is not a number.
    pub(crate) fn to_json(&self) -> Result<String, BenchError> {
        serde_json::to_string_pretty(self).map_err(BenchError::Json)
    }

    fn ratio_name(&self) -> String {
        match (self.columns.first(), self.columns.last()) {
            (Some(first), Some(last)) => format!("{last}/{first}"),
            _ => String::new(),
        }
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some((*self.values.last()?)? / (*self.values.first()?)?)
    }
}

/// A number with as many digits as it deserves, thousands set apart.
pub(crate) fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The middle value, none of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            title: "Calls".into(),
            unit: "ns",
            columns: vec!["runc".into(), "chitin".into()],
            rows: vec![
                Row { name: "getpid".into(), values: vec![Some(400.0), Some(100.0)] },
                Row { name: "fork".into(), values: vec![Some(1_234_567.0), None] },
            ],
            notes: vec!["a note".into()],
        }
    }

    #[test]
    fn text_has_ratios_and_gaps() {
        let text = table().to_text();
        assert!(text.contains("chitin/runc"));
        assert!(text.lines().any(|line| line.starts_with("getpid") && line.ends_with("0.25")));
        assert!(
            text.lines()
                .any(|line| line.starts_with("fork") && line.contains("1,234,567") && line.ends_with('-'))
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(3.25), "3.2");
        assert_eq!(number(999.4), "999");
        assert_eq!(number(1_000.0), "1,000");
        assert_eq!(number(12_345_678.0), "12,345,678");
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }
}
