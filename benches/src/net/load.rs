//! The loads, and what their clients print.

use super::pod::{Pod, client};
use crate::error::BenchError;
use serde_json::Value;
use std::time::Instant;

/// Where the client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On the machine, over the wire.
    Outside,
    /// In the pod, over its loopback.
    Inside,
}

/// How to read what the client prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Wrk,
    Redis,
    Iperf,
    /// A checksum of so many megabytes.
    Checksum(u32),
}

/// Something to measure.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    place: Place,
    format: Format,
    command: &'static str,
}

/// What was measured.
#[derive(Debug, PartialEq)]
pub(crate) struct Measured {
    /// Units per second.
    pub(crate) rate: f64,
    /// p50 and p99 in microseconds, where the client tells them.
    pub(crate) percentiles: Vec<f64>,
    /// How many units there were.
    pub(crate) units: f64,
}

const fn outside(name: &'static str, unit: &'static str, format: Format, command: &'static str) -> Load {
    Load { name, unit, place: Place::Outside, format, command }
}

/// All of them. `benches/net/serve` starts what answers.
pub(crate) const ALL: [Load; 9] = [
    outside(
        "nginx 4 KiB, 64 connections",
        "requests",
        Format::Wrk,
        "wrk -t1 -c64 -d6s --latency http://10.199.0.2:80/4k",
    ),
    outside(
        "redis SET",
        "requests",
        Format::Redis,
        "redis-benchmark --csv -c 20 -n 6000 -t set -h 10.199.0.2",
    ),
    outside(
        "redis GET",
        "requests",
        Format::Redis,
        "redis-benchmark --csv -c 20 -n 6000 -t get -h 10.199.0.2",
    ),
    outside(
        "redis GET by 16",
        "requests",
        Format::Redis,
        "redis-benchmark --csv -c 20 -n 40000 -P 16 -t get -h 10.199.0.2",
    ),
    Load {
        name: "redis SET in the pod",
        unit: "requests",
        place: Place::Inside,
        format: Format::Redis,
        command: "redis-benchmark --csv -c 20 -n 6000 -t set -h 127.0.0.1",
    },
    Load {
        name: "redis GET in the pod",
        unit: "requests",
        place: Place::Inside,
        format: Format::Redis,
        command: "redis-benchmark --csv -c 20 -n 6000 -t get -h 127.0.0.1",
    },
    outside("iperf3 to the pod", "Mbit", Format::Iperf, "iperf3 -J -t 5 -c 10.199.0.2"),
    outside("iperf3 from the pod", "Mbit", Format::Iperf, "iperf3 -J -R -t 5 -c 10.199.0.2"),
    outside("file of 100 MB by HTTP", "MB", Format::Checksum(100), "/bench/download http://10.199.0.2/100m"),
];

const PING: &str = "ping -q -c 20 10.199.0.2";

impl Load {
    /// Whether the client tells percentiles of latency.
    pub(crate) fn has_latency(&self) -> bool {
        matches!(self.format, Format::Wrk | Format::Redis)
    }

    /// What follows `-n`.
    fn requests(&self) -> f64 {
        let mut words = self.command.split(' ').skip_while(|word| *word != "-n").skip(1);
        words.next().and_then(|word| word.parse().ok()).unwrap_or(1.0)
    }

    /// Lets the client run and reads what it prints.
    ///
    /// # Errors
    /// When the client fails or prints something else.
    pub(crate) fn run(&self, pod: &Pod) -> Result<Measured, BenchError> {
        let words: Vec<&str> = self.command.split(' ').collect();
        let start = Instant::now();
        let output = match self.place {
            Place::Outside => client(&words)?,
            Place::Inside => pod.exec(&words)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let measured = match self.format {
            Format::Wrk => wrk(&output),
            Format::Redis => redis(&output, self.requests()),
            Format::Iperf => iperf(&output),
            Format::Checksum(units) => checksum(&output, f64::from(units), seconds),
        };
        measured.ok_or_else(|| BenchError::Output { program: self.command.into(), output })
    }
}

/// The mean round trip in microseconds.
///
/// # Errors
/// When ping fails.
pub(crate) fn ping() -> Result<f64, BenchError> {
    let output = client(&PING.split(' ').collect::<Vec<_>>())?;
    mean_round_trip(&output).ok_or_else(|| BenchError::Output { program: PING.into(), output })
}

/// `round-trip min/avg/max = 0.1/0.2/0.3 ms`
fn mean_round_trip(output: &str) -> Option<f64> {
    let (_, values) = output.lines().find(|line| line.contains("min/avg/max"))?.split_once('=')?;
    Some(values.split('/').nth(1)?.trim().parse::<f64>().ok()? * 1000.0)
}

/// Lines such as `50%  1.23ms`, `1234 requests in 6.00s, 5MB read`, `Requests/sec: 205.67`; errors spoil the measurement.
fn wrk(output: &str) -> Option<Measured> {
    let after = |key: &str| output.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    let duration = |text: &str| {
        let digits = text.trim_end_matches(char::is_alphabetic);
        let factor = match &text[digits.len()..] {
            "us" => 1.0,
            "ms" => 1_000.0,
            "s" => 1_000_000.0,
            _ => return None,
        };
        Some(digits.parse::<f64>().ok()? * factor)
    };
    if output.contains("Socket errors") || output.contains("Non-2xx") {
        return None;
    }
    let requests = output.lines().find(|line| line.contains(" requests in "))?;
    Some(Measured {
        rate: after("Requests/sec:")?.parse().ok()?,
        percentiles: vec![duration(after("50%")?)?, duration(after("99%")?)?],
        units: requests.split_whitespace().next()?.parse().ok()?,
    })
}

/// A heading, then `"SET","1234.5","avg","min","p50","p95","p99","max"` with latencies in milliseconds.
fn redis(output: &str, units: f64) -> Option<Measured> {
    let line = output.lines().rfind(|line| line.starts_with('"'))?;
    let fields: Vec<f64> =
        line.split(',').skip(1).filter_map(|field| field.trim_matches('"').parse().ok()).collect();
    let [rate, _, _, p50, _, p99, _] = fields[..] else { return None };
    Some(Measured { rate, percentiles: vec![p50 * 1000.0, p99 * 1000.0], units })
}

fn iperf(output: &str) -> Option<Measured> {
    let report: Value = serde_json::from_str(output).ok()?;
    let received = report.get("end")?.get("sum_received")?;
    let megabits = received.get("bits_per_second")?.as_f64()? / 1e6;
    Some(Measured {
        rate: megabits,
        percentiles: vec![],
        units: megabits * received.get("seconds")?.as_f64()?,
    })
}

/// Of 100,000,000 bytes of the line that `benches/net/serve` repeats.
fn checksum(output: &str, units: f64, seconds: f64) -> Option<Measured> {
    output.starts_with("53af776cad51d6bf1ea6d799ea29be56").then(|| Measured {
        rate: units / seconds,
        percentiles: vec![],
        units,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_the_clients() {
        let text = "  Latency Distribution\n     50%  1.50ms\n     99%  2.00s\n  615 requests in 6.00s, 1.0MB read\nRequests/sec:   102.5\n";
        let expected = Measured { rate: 102.5, percentiles: vec![1500.0, 2_000_000.0], units: 615.0 };
        assert_eq!(wrk(text), Some(expected));
        assert_eq!(wrk(&format!("{text}  Socket errors: connect 1")), None);
        let text = "\"test\",\"rps\"\n\"SET\",\"100.00\",\"9\",\"1\",\"0.5\",\"2\",\"3.5\",\"4\"\n";
        let expected = Measured { rate: 100.0, percentiles: vec![500.0, 3500.0], units: 200.0 };
        assert_eq!(redis(text, 200.0), Some(expected));
        let text = r#"{"end":{"sum_received":{"seconds":5.0,"bits_per_second":2e8}}}"#;
        assert_eq!(iperf(text), Some(Measured { rate: 200.0, percentiles: vec![], units: 1000.0 }));
        let text = "--- 10.0.0.2 ping statistics ---\nround-trip min/avg/max = 0.1/0.25/0.3 ms\n";
        assert_eq!(mean_round_trip(text), Some(250.0));
    }
}
