//! `syscall`, `proc` and `fs`: groups of the micro-benchmark program under every runtime.

use crate::container::{Runtime, run_in};
use crate::error::BenchError;
use crate::table::{Row, Table};

/// A group of operations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Syscall,
    Proc,
    Fs,
}

impl Group {
    /// As the program and the command line call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::Proc => "proc",
            Self::Fs => "fs",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Syscall => "System calls, median per operation",
            Self::Proc => "Processes, threads and memory, median per operation",
            Self::Fs => "Files on the root file system, median per operation",
        }
    }
}

/// Runs the group once under each runtime; a runtime that fails leaves its column empty and a note.
pub(crate) fn measure(group: Group) -> Result<Table, BenchError> {
    let mut table = Table {
        title: group.title().into(),
        unit: "ns",
        columns: Vec::new(),
        rows: Vec::new(),
        notes: Vec::new(),
    };
    for runtime in Runtime::ALL {
        eprintln!("bench: {} under {}", group.name(), runtime.name());
        let results = match run_in(runtime, &["/bench/micro", group.name()]) {
            Ok((output, _)) => parse(&String::from_utf8_lossy(&output.stdout)),
            Err(error) => {
                table.notes.push(format!("{}: {error}", runtime.name()));
                Vec::new()
            }
        };
        add_column(&mut table, runtime.name(), &results);
    }
    Ok(table)
}

/// Lines of the form `name<TAB>nanoseconds`.
fn parse(output: &str) -> Vec<(String, f64)> {
    output
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once('\t')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

fn add_column(table: &mut Table, name: &str, results: &[(String, f64)]) {
    let before = table.columns.len();
    table.columns.push(name.to_owned());
    for (operation, _) in results {
        if !table.rows.iter().any(|row| row.name == *operation) {
            table.rows.push(Row { name: operation.clone(), values: vec![None; before] });
        }
    }
    for row in &mut table.rows {
        let value = results.iter().find(|(operation, _)| *operation == row.name).map(|(_, value)| *value);
        row.values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_when_a_runtime_fails() {
        let mut table =
            Table { title: String::new(), unit: "ns", columns: vec![], rows: vec![], notes: vec![] };
        add_column(&mut table, "runc", &parse("getpid\t101.0\nfork + exit\t5\nnoise\n"));
        add_column(&mut table, "runsc", &[]);
        add_column(&mut table, "chitin", &parse("getpid\t50\nnew\t1\n"));
        assert_eq!(table.rows.len(), 3);
        assert_eq!(table.rows[0].values, [Some(101.0), None, Some(50.0)]);
        assert_eq!(table.rows[2].values, [None, None, Some(1.0)]);
    }
}
