//! The commands that look: `state`, `list`, `ps`, `events`, and `spec`.

use super::daemon::{ContainerError, Daemon, status_name};
use super::fail;
use super::lifecycle::IdArgs;
use crate::ledger::Record;
use crate::log::rfc3339;
use crate::spec;
use clap::{Args, ValueEnum};
use containerd_shim_protos::api;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

/// What `chitin list` takes.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Prints ids alone.
    #[arg(long, short)]
    quiet: bool,
    /// Form of the output.
    #[arg(long, short, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// What `chitin events` takes.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Seconds between two reports.
    #[arg(long, default_value_t = 5)]
    interval: u64,
    /// Reports once.
    #[arg(long)]
    stats: bool,
    /// Container id.
    id: String,
}

/// What `chitin spec` takes.
#[derive(Debug, Args)]
pub(super) struct SpecArgs {
    /// The bundle's directory.
    #[arg(long, short, default_value = ".")]
    bundle: PathBuf,
}

/// `chitin state`: the JSON document of the OCI runtime specification.
pub(super) fn state(namespace: &str, args: &IdArgs) -> ExitCode {
    match Record::find(namespace, &args.id) {
        Some(record) => {
            println!("{:#}", describe(&record));
            ExitCode::SUCCESS
        }
        None => {
            fail(&ContainerError::Unknown(args.id.clone()));
            ExitCode::FAILURE
        }
    }
}

fn describe(record: &Record) -> Value {
    let state = Daemon::of(&record.namespace, &record.id).and_then(|mut daemon| daemon.state());
    let (status, pid) = match &state {
        Ok(state) => (status_name(state.status.enum_value_or_default()), state.pid),
        Err(_) => ("stopped", 0),
    };
    let created = record.created().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let bundle = record.bundle().map(|bundle| bundle.display().to_string()).unwrap_or_default();
    json!({
        "ociVersion": "1.0.2",
        "id": record.id,
        "pid": if status == "stopped" { 0 } else { pid },
        "status": status,
        "rootfs": format!("{bundle}/rootfs"),
        "bundle": bundle,
        "created": rfc3339(created.unwrap_or_default()),
        "owner": "",
    })
}

/// `chitin list`.
pub(super) fn list(namespace: &str, args: &ListArgs) -> ExitCode {
    let records: Vec<_> = Record::all().into_iter().filter(|record| record.namespace == namespace).collect();
    if args.quiet {
        for record in &records {
            println!("{}", record.id);
        }
        return ExitCode::SUCCESS;
    }
    let containers: Vec<_> = records.iter().map(describe).collect();
    if args.format == Format::Json {
        println!("{}", Value::from(containers));
        return ExitCode::SUCCESS;
    }
    println!("{:<24} {:<8} {:<10} {:<32} BUNDLE", "ID", "PID", "STATUS", "CREATED");
    for container in &containers {
        let text = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
        println!(
            "{:<24} {:<8} {:<10} {:<32} {}",
            text("id"),
            container.get("pid").and_then(Value::as_u64).unwrap_or_default(),
            text("status"),
            text("created"),
            text("bundle")
        );
    }
    ExitCode::SUCCESS
}

/// `chitin ps`: pids as the container sees them.
pub(super) fn ps(namespace: &str, args: &IdArgs) -> ExitCode {
    let request = api::PidsRequest { id: args.id.clone(), ..api::PidsRequest::default() };
    let listed = Daemon::of(namespace, &args.id)
        .and_then(|mut daemon| daemon.call_own::<api::PidsResponse>("Pids", &request));
    match listed {
        Ok(listed) => {
            println!("PID");
            for process in listed.processes {
                println!("{}", process.pid);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// `chitin debug`: what the container's tasks are doing.
pub(super) fn debug(namespace: &str, args: &IdArgs) -> ExitCode {
    let request = api::StatsRequest { id: args.id.clone(), ..api::StatsRequest::default() };
    let report = Daemon::of(namespace, &args.id)
        .and_then(|mut daemon| daemon.call_own::<api::StatsResponse>("Debug", &request));
    match report {
        // The service answers this one with the finished text.
        Ok(response) => {
            print!("{}", String::from_utf8_lossy(&response.stats.value));
            ExitCode::SUCCESS
        }
        Err(error) => {
            fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// `chitin events`: a line of JSON with counters, at intervals, until the container ends.
pub(super) fn events(namespace: &str, args: &EventsArgs) -> ExitCode {
    let request = api::StatsRequest { id: args.id.clone(), ..api::StatsRequest::default() };
    let mut daemon = match Daemon::of(namespace, &args.id) {
        Ok(daemon) => daemon,
        Err(error) => {
            fail(&error);
            return ExitCode::FAILURE;
        }
    };
    loop {
        match daemon.call_own::<api::StatsResponse>("Stats", &request) {
            // The service answers this one with the finished JSON text.
            Ok(response) => println!("{}", String::from_utf8_lossy(&response.stats.value)),
            Err(error) => {
                fail(&error);
                return ExitCode::FAILURE;
            }
        }
        if args.stats {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(Duration::from_secs(args.interval.max(1)));
        match daemon.state() {
            Ok(state) if state.status != api::Status::STOPPED.into() => (),
            _ => return ExitCode::SUCCESS,
        }
    }
}

/// `chitin spec`: writes a `config.json` to start from.
pub(super) fn write_spec(args: &SpecArgs) -> ExitCode {
    let path = args.bundle.join("config.json");
    let text = match serde_json::to_string_pretty(&spec::bundle_spec()) {
        Ok(text) => text,
        Err(error) => {
            fail(&error);
            return ExitCode::FAILURE;
        }
    };
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chitin: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
