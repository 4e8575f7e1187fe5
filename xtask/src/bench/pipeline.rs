//! The benchmark of user space alone: generated events through parsers, tracer and encoder, without a kernel. Every size runs
//! in a process of its own, all sizes in turn, so that what disturbs one disturbs the others.

use std::{path::Path, process::Command, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::median;
use crate::{build, sh};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Connections open at once, one row each
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,10000,100000")]
    connections: Vec<usize>,
    /// Rounds; each runs every row once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Exchanges measured per run
    #[arg(long, default_value_t = 200_000)]
    exchanges: usize,
    /// Exchanges of each connection before anything is measured: 33 fill what is remembered of each
    #[arg(long, default_value_t = 1)]
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
    allocations: Value,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    ensure!(arguments.rounds > 0 && !arguments.connections.is_empty(), "nothing to measure");
    let mut command = sh::cargo();
    command.args([
        "bench",
        "--no-run",
        "--package",
        "wirespan",
        "--bench",
        "pipeline",
        "--bench",
        "allocations",
    ]);
    let built = build::executables(&mut command)?;
    let pipeline = build::one(built.clone(), "pipeline")?;
    let allocations = build::one(built, "allocations")?;

    let sizes = arguments.connections.iter().map(|&connections| ("mixed", connections));
    let conditions = sizes.chain(MIXES.map(|mix| (mix, MIXES_ON)));
    let mut rows: Vec<_> = conditions
        .map(|(mix, connections)| Row { mix, connections, runs: Vec::new(), allocations: Value::Null })
        .collect();
    for row in &mut rows {
        row.allocations = measure(&allocations, row, arguments)?;
    }
    for round in 0..arguments.rounds {
        // There and back, so that no row always follows the same one.
        let mut order: Vec<_> = rows.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for row in order {
            let run = measure(&pipeline, row, arguments)?;
            row.runs.push(run);
        }
    }
    print(&rows, arguments);
    Ok(ExitCode::SUCCESS)
}

fn measure(program: &Path, row: &Row, arguments: &Arguments) -> Result<Value> {
    let options = [
        ("--mix", row.mix.to_owned()),
        ("--connections", row.connections.to_string()),
        ("--exchanges", arguments.exchanges.to_string()),
        ("--warm", arguments.warm.to_string()),
    ];
    let mut command = Command::new(program);
    for (name, value) in options {
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

    fn allocations(&self, name: &str) -> f64 {
        number(&self.allocations, name) / number(&self.allocations, "spans")
    }
}

fn print(rows: &[Row], arguments: &Arguments) {
    println!(
        "bench: medians of {} rounds, {} exchanges per run, one thread, CPU time. What else this machine does still disturbs: \
         compare rows of one run, not runs",
        arguments.rounds, arguments.exchanges
    );
    println!(
        "\n{:8} {:>11} {:>9} {:>6} {:>10} {:>10} {:>7} {:>10} {:>10} {:>9}",
        "traffic",
        "connections",
        "spans/s",
        "ratio",
        "engine ns",
        "encoder ns",
        "allocs",
        "bytes in",
        "bytes out",
        "peak MiB"
    );
    let first = rows[0].both();
    for row in rows {
        println!(
            "{:8} {:>11} {:>9.0} {:>6.2} {:>10.0} {:>10.0} {:>7.1} {:>10.0} {:>10.0} {:>9.1}",
            row.mix,
            row.connections,
            1e9 / row.both(),
            row.both() / first,
            row.engine(),
            row.encoder(),
            row.allocations("allocations"),
            row.allocations("captured_bytes"),
            row.allocations("encoded_bytes"),
            row.memory(),
        );
    }
    println!(
        "\nper core; ratio: CPU time per span, of the first row's. All other columns but the peak are per span: allocations of \
         both, bytes captured, bytes of OTLP protobuf. Peak: resident memory of engine and encoder"
    );
}

/// A number of a report; 0 where there is none.
fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_default()
}
