//! Time and memory of a span in user space. Every size runs in a process of its own. All sizes run
//! in turn, so that other load disturbs all of them alike.

use std::{path::Path, process::Command, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{bench::median, sh};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// With --time: connections open at once, one row each
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000,100000", requires = "time")]
    connections: Vec<usize>,
    /// With --time: rounds; each runs every row once
    #[arg(long, default_value_t = 5, requires = "time")]
    rounds: usize,
    /// With --time: exchanges measured per run
    #[arg(long, default_value_t = 200_000, requires = "time")]
    exchanges: usize,
    /// With --time: exchanges of each connection before anything is measured: 33 fill what is
    /// remembered of each
    #[arg(long, default_value_t = 1, requires = "time")]
    warm: usize,
}

/// Kinds of traffic, and the connections on which they are compared.
const MIXES: [&str; 4] = ["plain", "browser", "client", "gateway"];
const MIXES_ON: usize = 1_000;

/// What is measured under one condition.
struct Row {
    mix: &'static str,
    connections: usize,
    runs: Vec<Value>,
}

pub(super) fn run(program: &Path, options: &Options) -> Result<ExitCode> {
    ensure!(options.rounds > 0 && !options.connections.is_empty(), "nothing to measure");
    let sizes = options.connections.iter().map(|&connections| ("mixed", connections));
    let conditions = sizes.chain(MIXES.map(|mix| (mix, MIXES_ON)));
    let mut rows: Vec<_> =
        conditions.map(|(mix, connections)| Row { mix, connections, runs: Vec::new() }).collect();
    for round in 0..options.rounds {
        // Forward and backward in turn, so that no row always follows the same one.
        let mut order: Vec<_> = rows.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for row in order {
            let run = measure(program, row, options)?;
            row.runs.push(run);
        }
    }
    print(&rows, options);
    Ok(ExitCode::SUCCESS)
}

fn measure(program: &Path, row: &Row, options: &Options) -> Result<Value> {
    let flags = [
        ("--mix", row.mix.to_owned()),
        ("--connections", row.connections.to_string()),
        ("--exchanges", options.exchanges.to_string()),
        ("--warm", options.warm.to_string()),
    ];
    let mut command = Command::new(program);
    for (name, value) in flags {
        command.arg(name).arg(value);
    }
    let said = sh::output(&mut command)?;
    serde_json::from_str(&said).with_context(|| format!("not a report: {said}"))
}

impl Row {
    /// The median over the runs of a number per span.
    fn per_span(&self, of: impl Fn(&Value) -> f64) -> f64 {
        let each: Vec<_> = self.runs.iter().map(|run| of(run) / number(run, "spans")).collect();
        median(&each)
    }

    fn engine(&self) -> f64 {
        self.per_span(|run| number(run, "engine_ns"))
    }

    fn encoder(&self) -> f64 {
        self.per_span(|run| number(run, "encoder_ns"))
    }

    fn both(&self) -> f64 {
        self.per_span(|run| number(run, "engine_ns") + number(run, "encoder_ns"))
    }

    fn memory(&self) -> f64 {
        let each: Vec<_> = self.runs.iter().map(|run| number(run, "memory_bytes")).collect();
        median(&each) / f64::from(1 << 20)
    }

    /// The same in every run.
    fn bytes(&self, name: &str) -> f64 {
        self.per_span(|run| number(run, name))
    }
}

fn print(rows: &[Row], options: &Options) {
    println!(
        "bench: medians of {} rounds, {} exchanges per run, one thread, CPU time. What else this machine does still disturbs: \
         compare rows of one run, not runs",
        options.rounds, options.exchanges
    );
    println!(
        "\n{:8} {:>11} {:>9} {:>6} {:>10} {:>10} {:>10} {:>10} {:>9}",
        "traffic",
        "connections",
        "spans/s",
        "ratio",
        "engine ns",
        "encoder ns",
        "bytes in",
        "bytes out",
        "peak MiB"
    );
    let first = rows[0].both();
    for row in rows {
        println!(
            "{:8} {:>11} {:>9.0} {:>6.2} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {:>9.1}",
            row.mix,
            row.connections,
            1e9 / row.both(),
            row.both() / first,
            row.engine(),
            row.encoder(),
            row.bytes("captured_bytes"),
            row.bytes("encoded_bytes"),
            row.memory(),
        );
    }
    println!(
        "\nper core; ratio: CPU time per span, of the first row's. All other columns but the peak are per span: bytes \
         captured, bytes of OTLP protobuf. Peak: resident memory of engine and encoder"
    );
}

/// A number of a report; 0 where there is none.
fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_default()
}
