//! `start`: how long a container takes from `ctr run` to its end, and what an idle one costs.

use crate::container::{Runtime, run, run_in, with_idle};
use crate::error::BenchError;
use crate::table::{Row, Table, median};
use std::path::Path;

const WARM_UPS: usize = 2;
const RUNS: usize = 9;

/// Measures every runtime; one that fails leaves its column empty and a note.
pub(crate) fn measure() -> Result<Table, BenchError> {
    let mut times = Row { name: "ctr run --rm … true".into(), values: Vec::new() };
    let mut best = Row { name: "fastest of them".into(), values: Vec::new() };
    let mut notes = Vec::new();
    for runtime in Runtime::ALL {
        eprintln!("bench: {} starts under {}", WARM_UPS + RUNS, runtime.name());
        let measured = start_times(runtime).unwrap_or_else(|error| {
            notes.push(format!("{}: {error}", runtime.name()));
            Vec::new()
        });
        best.values.push(measured.iter().copied().reduce(f64::min));
        times.values.push(median(measured));
    }
    for runtime in Runtime::ALL {
        match with_idle(runtime, |id| idle_memory(runtime, id)) {
            Ok(note) => notes.push(note),
            Err(error) => notes.push(format!("{}: no idle container: {error}", runtime.name())),
        }
    }
    notes.extend(sandbox_counters());
    Ok(Table {
        title: format!("Container start to exit, median of {RUNS}"),
        unit: "ms",
        columns: Runtime::ALL.iter().map(|runtime| runtime.name().to_owned()).collect(),
        rows: vec![times, best],
        notes,
    })
}

fn start_times(runtime: Runtime) -> Result<Vec<f64>, BenchError> {
    let mut times = Vec::new();
    for index in 0..WARM_UPS + RUNS {
        let (_, took) = run_in(runtime, &["true"])?;
        if index >= WARM_UPS {
            times.push(took.as_secs_f64() * 1000.0);
        }
    }
    Ok(times)
}

/// Proportional set sizes of the processes that belong to one idle container, with the guest's memory (the VMM's largest
/// anonymous mapping) apart.
fn idle_memory(runtime: Runtime, id: &str) -> String {
    let mut parts = Vec::new();
    let mut total = 0;
    for process in processes() {
        if !belongs(runtime, id, &process) {
            continue;
        }
        let Some((pss, guest)) = proportional_kib(process.pid) else { continue };
        total += pss;
        if process.name == "chitin-vmm" {
            parts.push(format!("{} {} KiB", process.name, pss - guest));
            parts.push(format!("guest memory {guest} KiB"));
        } else {
            parts.push(format!("{} {pss} KiB", process.name));
        }
    }
    format!("idle container, {}: {total} KiB ({})", runtime.name(), parts.join(", "))
}

struct Process {
    pid: u32,
    name: String,
    command: String,
}

fn belongs(runtime: Runtime, id: &str, process: &Process) -> bool {
    let helper = match runtime {
        Runtime::Runc => false,
        Runtime::Runsc => process.name.starts_with("runsc") || process.command.contains("runsc-sandbox"),
        Runtime::Chitin => process.name == "chitin-vmm",
    };
    helper
        || process.command.contains(id)
        || (runtime == Runtime::Runc && process.command.starts_with("sleep 1000"))
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let first = command.split(' ').next().unwrap_or_default();
            let name = Path::new(first).file_name()?.to_str()?.to_owned();
            Some(Process { pid, name, command })
        })
        .collect()
}

/// (PSS of the process, PSS of its largest mapping) in KiB.
fn proportional_kib(pid: u32) -> Option<(u64, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let (mut total, mut size, mut largest) = (0, 0, (0, 0));
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let value = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match key {
            "Size:" => size = value,
            "Pss:" => {
                total += value;
                if size > largest.0 {
                    largest = (size, value);
                }
            }
            _ => {}
        }
    }
    Some((total, largest.1))
}

/// What `chitin run --stats` says of a sandbox that runs `true`: first user instruction, exits by reason, memory.
fn sandbox_counters() -> Vec<String> {
    let Ok(root) = std::env::var("ROOTFS") else { return Vec::new() };
    match run("chitin", &["run", "--stats", &root, "--", "true"]) {
        Ok(output) => {
            let mut lines = vec!["one sandbox that runs `true`:".to_owned()];
            lines.extend(String::from_utf8_lossy(&output.stderr).lines().map(|line| format!("  {line}")));
            lines
        }
        Err(error) => vec![format!("chitin run: {error}")],
    }
}
