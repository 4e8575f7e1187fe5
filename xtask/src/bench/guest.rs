//! The benchmark in the VM whose time is a count of instructions: the same on every run, however
//! busy the host.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use wirespan_tests::{
    agent::Agent,
    cgroup::Cgroup,
    nginx::Nginx,
    programs::{self, Service},
    stage::Stage,
};

use super::{
    Arguments, finish,
    kernel::{Held, Statistics},
    load::{Load, Run},
};
use crate::{build, setup, sh, vm};

/// For comparison, another eBPF tracer in the same machine (Debian 6.12): requests/s off and on,
/// the server's CPU µs per request off and on, its agent's CPU µs per request.
const REFERENCE: [(&str, [f64; 5]); 4] = [
    ("nginx", [4_940.0, 1_420.0, 91.0, 229.0, 385.0]),
    ("go", [2_750.0, 790.0, 253.0, 750.0, 340.0]),
    ("python", [992.0, 670.0, 895.0, 1_058.0, 343.0]),
    ("node", [2_280.0, 180.0, 302.0, 5_200.0, 380.0]),
];

/// An instruction takes so long (`vm::measure`).
const NANOSECONDS: f64 = 4.0;

/// The names for `--only`.
pub(super) const fn servers() -> [&'static str; REFERENCE.len()] {
    let mut names = [""; REFERENCE.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = REFERENCE[index].0;
        index += 1;
    }
    names
}

/// The beginning of a line with numbers for the host.
const MARK: &str = "bench-run:";

/// Boots the VM, runs the benchmark in it and compares.
pub(super) fn host(arguments: &Arguments) -> Result<ExitCode> {
    setup::run()?;
    let agent = match &arguments.agent {
        Some(binary) => binary.clone(),
        None => build::agent(build::Profile::Release)?,
    };
    let mut own = vec![
        (agent, "wirespan".to_owned()),
        (std::env::current_exe()?, "xtask".to_owned()),
        (programs::go_server()?, "go-server".to_owned()),
    ];
    if let Some(node) = sh::which("node") {
        own.push((node, "node".to_owned()));
    }
    let command = format!(
        "export WIRESPAN_BIN=/usr/bin/wirespan WIRESPAN_PROGRAMS=/usr/bin CARGO_TARGET_DIR=/tmp\n\
         xtask bench in-guest --seconds {} {} --export {}\n",
        arguments.seconds.min(4),
        arguments.only.as_ref().map(|name| format!("--vm --only {name}")).unwrap_or_default(),
        arguments.export.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    );
    println!("bench: kernel {}, one emulated processor, an instruction every 4 ns", arguments.kernel);
    let mut found = BTreeMap::new();
    let status =
        vm::measure(&arguments.kernel, &own, &command, Duration::from_secs(1200), &mut |line| match line
            .strip_prefix(MARK)
            .map(parse)
        {
            Some(Some((name, numbers))) => drop(found.insert(name, numbers)),
            _ => println!("    {line}"),
        })?;
    if status != 0 {
        bail!("the benchmark failed in the guest");
    }
    table(&found);
    Ok(ExitCode::SUCCESS)
}

fn parse(rest: &str) -> Option<(String, [f64; 6])> {
    let mut words = rest.split_whitespace();
    let name = words.next()?.to_owned();
    let numbers: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
    Some((name, numbers.try_into().ok()?))
}

fn table(found: &BTreeMap<String, [f64; 6]>) {
    println!(
        "\n{:8} {:>18} {:>24} {:>10} {:>24} {:>18}",
        "server",
        "req/s off → on",
        "server µs/request",
        "agent µs",
        "added µs, of the other's",
        "BPF instructions"
    );
    for (name, other) in REFERENCE {
        let Some(own) = found.get(name) else { continue };
        let added = |numbers: &[f64]| numbers[3] - numbers[2] + numbers[4];
        println!(
            "{name:8} {:>8.0} → {:>7.0} {:>11.0} → {:>10.0} {:>10.1} {:>14.1} {:>8.1}% {:>18.0}",
            own[0],
            own[1],
            own[2],
            own[3],
            own[4],
            added(own),
            100.0 * added(own) / added(&other),
            own[5] / NANOSECONDS
        );
    }
}

/// Inside the guest: each server without and with the agent.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let load = Load { connections: 8, seconds: arguments.seconds };
    let aside = Cgroup::create("collector")?;
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    for (name, _) in REFERENCE.into_iter().filter(|(name, _)| wanted(name)) {
        let Some(stage) = Stage::alone(name, &["nginx", "wrk", "/usr/bin/python3", "node"]) else {
            bail!("the guest lacks a program")
        };
        let collector = Nginx::start(&aside, stage.dir(), "")?;
        let agent = || arguments.export.agent(&stage, collector.port, None);
        let (off, on, bpf) = match name {
            "nginx" => {
                let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
                off_and_on(&stage, load, nginx.port, &nginx.workers(), &agent)?
            }
            "go" => service(&stage, load, Service::Go, &agent)?,
            "python" => service(&stage, load, Service::Python, &agent)?,
            _ => service(&stage, load, Service::Node, &agent)?,
        };
        println!(
            "{MARK} {name} {} {} {} {} {} {bpf}",
            off.per_second, on.per_second, off.server_cpu, on.server_cpu, on.agent_cpu
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts an agent.
type Start<'a> = &'a dyn Fn() -> Result<Agent>;

fn service(stage: &Stage, load: Load, service: Service, agent: Start<'_>) -> Result<(Run, Run, f64)> {
    let running = service.start(stage)?;
    if service == Service::Node {
        // Its compiler takes thousands of requests to settle.
        load.run(stage.dir(), running.port, &[running.process.pid()], None).context("warming up")?;
    }
    off_and_on(stage, load, running.port, &[running.process.pid()], agent)
}

/// The runs off and on, and the nanoseconds in BPF programs per request.
fn off_and_on(
    stage: &Stage,
    load: Load,
    port: u16,
    server: &[u32],
    agent: Start<'_>,
) -> Result<(Run, Run, f64)> {
    let off = || load.run(stage.dir(), port, server, None);
    off().context("warming up")?;
    let before = off()?;
    let agent = agent()?;
    let on = load.run(stage.dir(), port, server, Some(agent.pid()))?;
    // In a separate run, because measuring it costs time too.
    let statistics = Statistics::enable()?;
    let before_counted = Held::by(agent.pid())?.nanoseconds;
    let counted = load.run(stage.dir(), port, server, Some(agent.pid()))?;
    let bpf = (Held::by(agent.pid())?.nanoseconds - before_counted) / counted.requests;
    drop(statistics);
    finish(agent)?;
    // So a server that is still getting faster favours neither.
    let after = off()?;
    let middle = Run {
        per_second: f64::midpoint(before.per_second, after.per_second),
        server_cpu: f64::midpoint(before.server_cpu, after.server_cpu),
        ..before
    };
    Ok((middle, on, bpf))
}
