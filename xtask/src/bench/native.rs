//! The benchmark on this machine: alternating pairs without and with the agent, so that both see
//! the same drift of the machine.

use std::{
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use wirespan_tests::{agent::Agent, cgroup::Cgroup, nginx::Nginx, stage::Stage};

use super::{
    Arguments, Export, against, finish, in_turn,
    kernel::{Held, Statistics, resident},
    load::{Load, Run},
    median, runtimes,
};
use crate::{build, setup, sh};

/// An interrupt was seen: stop after this run, restore everything.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run()?;
    let agent = build::agent(build::Profile::Release)?;
    if !sh::is_root() {
        println!("bench: tracing needs root: asking sudo");
        return sh::again_as_root(&agent);
    }
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("cannot handle interrupts")?;
    let Some(stage) = Stage::alone("bench", &["nginx", "wrk", "go", "/usr/bin/python3"]) else {
        bail!("the benchmark cannot run on this machine")
    };
    let bystanders = Cgroup::create("bystanders")?;
    let selected = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let unselected = Nginx::start(&bystanders, stage.dir(), "")?;
    // The other nginx is the collector and is not traced.
    let rig = Rig { stage, export: arguments.export, collector: unselected.port };
    let load = Load { connections: 64, seconds: arguments.seconds };

    // The first run of a server is slower than all others.
    for nginx in [&selected, &unselected] {
        Load { connections: 64, seconds: 1 }.run(rig.stage.dir(), nginx.port, &nginx.workers(), None)?;
    }

    if let Some(other) = &arguments.against {
        against::run(&rig, &selected, load, arguments.pairs, other)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "bench: nginx, one worker, 64 connections, {} s per run, spans to {:?}; traced nginx first, then one not traced",
        arguments.seconds, arguments.export
    );
    let traced = pairs(&rig, &selected, load, arguments.pairs)?;
    report(&traced);
    let not_traced = pairs(&rig, &unselected, load, arguments.pairs)?;
    println!("\na process that is not selected:");
    report(&not_traced);
    println!("\nin the kernel and in memory:");
    inside(&rig, &selected, load)?;
    runtimes::run(&rig, load, arguments.pairs)?;
    Ok(ExitCode::SUCCESS)
}

/// What every run needs.
pub(super) struct Rig {
    pub(super) stage: Stage,
    export: Export,
    collector: u16,
}

impl Rig {
    pub(super) fn agent(&self, binary: Option<&Path>) -> Result<Agent> {
        self.export.agent(&self.stage, self.collector, binary)
    }
}

/// Runs without and with the agent, in turn; which of the two comes first alternates too.
fn pairs(rig: &Rig, nginx: &Nginx, load: Load, count: usize) -> Result<Vec<(Run, Run)>> {
    let workers = nginx.workers();
    let off = || load.run(rig.stage.dir(), nginx.port, &workers, None);
    let on = || {
        let agent = rig.agent(None)?;
        let run = load.run(rig.stage.dir(), nginx.port, &workers, Some(agent.pid()))?;
        finish(agent)?;
        Ok::<_, anyhow::Error>(run)
    };
    let mut pairs = Vec::new();
    println!(
        "{:>6} {:>12} {:>12} {:>7} {:>22} {:>9}",
        "pair", "off req/s", "on req/s", "ratio", "nginx µs/request", "agent µs"
    );
    for number in 1..=count {
        ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
        let (off, on) = in_turn(number, off, on)?;
        println!(
            "{number:>6} {:>12.0} {:>12.0} {:>7.3} {:>10.2} → {:>9.2} {:>9.2}",
            off.per_second,
            on.per_second,
            on.per_second / off.per_second,
            off.server_cpu,
            on.server_cpu,
            on.agent_cpu
        );
        pairs.push((off, on));
    }
    Ok(pairs)
}

fn report(pairs: &[(Run, Run)]) {
    let of = |value: &dyn Fn(&(Run, Run)) -> f64| median(&pairs.iter().map(value).collect::<Vec<_>>());
    println!("medians of {} pairs:", pairs.len());
    println!("  requests/s, on / off        {:>8.3}", of(&|(off, on)| on.per_second / off.per_second));
    println!(
        "  added CPU of nginx          {:>8.2} µs per request",
        of(&|(off, on)| on.server_cpu - off.server_cpu)
    );
    println!("  CPU of the agent            {:>8.2} µs per request", of(&|(_, on)| on.agent_cpu));
    println!(
        "  latency p50, off → on       {:>8.3} → {:.3} ms",
        of(&|(off, _)| off.p50),
        of(&|(_, on)| on.p50)
    );
    println!(
        "  latency p99, off → on       {:>8.3} → {:.3} ms",
        of(&|(off, _)| off.p99),
        of(&|(_, on)| on.p99)
    );
}

/// The time in BPF programs takes a separate run, because measuring it costs time too.
fn inside(rig: &Rig, nginx: &Nginx, load: Load) -> Result<()> {
    let agent = rig.agent(None)?;
    let idle = resident(agent.pid())?.0;
    let statistics = Statistics::enable()?;
    let before = Held::by(agent.pid())?;
    let run = load.run(rig.stage.dir(), nginx.port, &nginx.workers(), Some(agent.pid()))?;
    let after = Held::by(agent.pid())?;
    drop(statistics);
    let (now, most) = resident(agent.pid())?;
    finish(agent)?;
    const MIB: f64 = 1024.0 * 1024.0;
    println!(
        "  BPF time                    {:>8.0} ns per request",
        (after.nanoseconds - before.nanoseconds) / run.requests
    );
    println!("  BPF program runs            {:>8.1} per request", (after.runs - before.runs) / run.requests);
    println!(
        "  the agent's resident memory {:>8.1} MiB at most ({:.1} idle, {:.1} after the load)",
        most / MIB,
        idle / MIB,
        now / MIB
    );
    println!("  kernel maps                 {:>8.1} MiB", after.maps / MIB);
    Ok(())
}
