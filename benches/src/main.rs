//! Measures Chitin beside runc and gVisor (runsc, systrap platform) on the same machine in the same run.
//!
//! `chitin-bench --out DIR [start|syscall|proc|fs|net]...` expects a containerd with the images `bench` and `net`, and
//! programs in `PATH`; `scripts/bench` provides them. Per benchmark it prints a table and writes `NAME.txt`,
//! `NAME.json` and `NAME.svg` into `DIR`.

mod container;
mod error;
mod micro;
mod net;
mod plot;
mod start;
mod table;

use error::BenchError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use table::Table;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), BenchError> {
    let mut out = PathBuf::from("results");
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => out = arguments.next().map(PathBuf::from).ok_or(BenchError::Usage)?,
            "start" | "syscall" | "proc" | "fs" | "net" => names.push(argument),
            _ => return Err(BenchError::Usage),
        }
    }
    if names.is_empty() {
        names = ["start", "syscall", "proc", "fs", "net"].map(String::from).to_vec();
    }
    std::fs::create_dir_all(&out).map_err(|source| BenchError::Write { path: out.clone(), source })?;
    for name in names {
        let tables = match name.as_str() {
            "syscall" => vec![("syscall", micro::measure(micro::Group::Syscall)?)],
            "proc" => vec![("proc", micro::measure(micro::Group::Proc)?)],
            "fs" => vec![("fs", micro::measure(micro::Group::Fs)?)],
            "net" => net::measure().into(),
            _ => vec![("start", start::measure()?)],
        };
        for (name, table) in tables {
            println!("\n{}", table.to_text());
            write(&out, name, &table)?;
        }
    }
    Ok(())
}

fn write(out: &Path, name: &str, table: &Table) -> Result<(), BenchError> {
    for (extension, content) in
        [("txt", table.to_text()), ("json", table.to_json()?), ("svg", plot::bars(table))]
    {
        let path = out.join(name).with_extension(extension);
        std::fs::write(&path, content).map_err(|source| BenchError::Write { path, source })?;
    }
    Ok(())
}
