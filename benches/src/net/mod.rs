//! `net`: servers in a pod with a network namespace of its own, clients on the machine outside, and inside the pod.

mod counters;
mod load;
mod pod;

use crate::container::Runtime;
use crate::table::{Row, Table};
use counters::Counters;
use load::{ALL, Load};
use pod::Pod;

const PERCENTILES: [&str; 2] = ["p50", "p99"];

/// Measures every runtime: a table of rates and one of latencies, with their names. A load that fails leaves its fields
/// empty and a note.
pub(crate) fn measure() -> [(&'static str, Table); 2] {
    let mut rates = table("Network, units per second: more is better", "1/s");
    let mut latencies = table("Network, latency: less is better", "us");
    for runtime in Runtime::ALL {
        eprintln!("bench: net under {}", runtime.name());
        let pod = Pod::start(runtime);
        if let Err(error) = &pod {
            rates.notes.push(format!("{}: {error}", runtime.name()));
        }
        let pod = pod.ok();
        for load in &ALL {
            measure_one(runtime, pod.as_ref(), load, &mut rates, &mut latencies);
        }
        let ping = pod.as_ref().and_then(|_| load::ping().ok());
        set(&mut latencies, "ping, mean", runtime, ping);
    }
    [("net", rates), ("net-latency", latencies)]
}

fn measure_one(runtime: Runtime, pod: Option<&Pod>, load: &Load, rates: &mut Table, latencies: &mut Table) {
    if pod.is_some() {
        eprintln!("bench:   {}", load.name);
    }
    let before = Counters::now();
    let measured = pod.map(|pod| load.run(pod)).and_then(|outcome| match outcome {
        Ok(measured) => Some(measured),
        Err(error) => {
            rates.notes.push(format!("{}: {}: {error}", runtime.name(), load.name));
            None
        }
    });
    if let Some(measured) = &measured {
        let cost = before.until_now().per(measured.units);
        rates.notes.push(format!("{}: {}: {cost}", runtime.name(), load.name));
    }
    let rate = measured.as_ref().map(|measured| measured.rate);
    set(rates, &format!("{} ({})", load.name, load.unit), runtime, rate);
    if load.has_latency() {
        for (index, percentile) in PERCENTILES.iter().enumerate() {
            let value = measured.as_ref().and_then(|measured| measured.percentiles.get(index).copied());
            set(latencies, &format!("{}, {percentile}", load.name), runtime, value);
        }
    }
}

/// Puts a value into the runtime's column of a row, which is made if it is not there.
fn set(table: &mut Table, name: &str, runtime: Runtime, value: Option<f64>) {
    let column = table.columns.iter().position(|column| column == runtime.name());
    let place = table.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
        table.rows.push(Row { name: name.into(), values: vec![None; table.columns.len()] });
        table.rows.len() - 1
    });
    if let Some(field) = column.and_then(|column| table.rows.get_mut(place)?.values.get_mut(column)) {
        *field = value;
    }
}

fn table(title: &str, unit: &'static str) -> Table {
    Table {
        title: title.into(),
        unit,
        columns: Runtime::ALL.iter().map(|runtime| runtime.name().to_owned()).collect(),
        rows: Vec::new(),
        notes: Vec::new(),
    }
}
