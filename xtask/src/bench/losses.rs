//! `cargo xtask bench losses`: how many records find no room in the ring while other processes want all the CPU there is, this
//! agent and another build of it in turn.
//!
//! nginx and wrk run at nice -15, so that they go on at full speed: what is left to the agent is a share of the rest.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail, ensure};
use wirespan_tests::{
    agent::Agent,
    nginx::Nginx,
    process::{Launch, Process},
    stage::Stage,
};

use super::{in_turn, load::Load, median};
use crate::{build, setup, sh};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// The other binary
    #[arg(long)]
    against: PathBuf,
    /// Processes that do nothing but take CPU
    #[arg(long, default_value_t = 2)]
    busy: usize,
    /// Runs of each binary
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Seconds of load per run
    #[arg(long, default_value_t = 8)]
    seconds: u32,
}

/// Nice value of those who make the load.
const FAVOURED: &str = "-15";

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    setup::run()?;
    build::agent(build::Profile::Release)?;
    ensure!(sh::is_root(), "tracing needs root: run it as root");
    let Some(stage) = Stage::alone("bench", &["nginx", "wrk", "renice"]) else {
        bail!("the benchmark cannot run on this machine")
    };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    for worker in nginx.workers() {
        sh::output(Command::new("renice").args(["-n", FAVOURED, "-p"]).arg(worker.to_string()))?;
    }
    println!(
        "bench: nginx, one worker, 64 connections, {} s per run, {} busy processes; share of the records that were lost",
        arguments.seconds, arguments.busy
    );
    println!("{:>6} {:>12} {:>9} {:>12} {:>9}", "pair", "requests", "this", "requests", "other");
    let mut shares = (Vec::new(), Vec::new());
    for number in 1..=arguments.pairs {
        let this = || once(&stage, &nginx, arguments, Agent::start(&stage)?);
        let binary = || Agent::of(&arguments.against, stage.dir(), &stage.select(), None);
        let other = || once(&stage, &nginx, arguments, binary()?);
        let (this, other) = in_turn(number, this, other)?;
        println!(
            "{number:>6} {:>12.0} {:>8.2}% {:>12.0} {:>8.2}%",
            this.requests, this.lost, other.requests, other.lost
        );
        shares.0.push(this.lost);
        shares.1.push(other.lost);
    }
    println!("medians: {:.2} % : {:.2} %", median(&shares.0), median(&shares.1));
    Ok(())
}

struct Loss {
    requests: f64,
    /// Per cent of the records.
    lost: f64,
}

fn once(stage: &Stage, nginx: &Nginx, arguments: &Arguments, agent: Agent) -> Result<Loss> {
    let load = Load { connections: 64, seconds: arguments.seconds };
    let busy = (0..arguments.busy).map(|_| busy(stage)).collect::<Result<Vec<_>>>()?;
    let run = load.favoured(stage.dir(), nginx.port, FAVOURED)?;
    drop(busy);
    let metrics = agent.metrics()?;
    // The other binary may be older than the names of today.
    let told = metrics.sum("wirespan_ring_records_total", &["type=\"transfer\""])
        + metrics.sum("wirespan_kernel_events_total", &["reason=\"transfer\""]);
    let lost = [
        ("wirespan_ring_dropped_records_total", "type=\"transfer\""),
        ("wirespan_kernel_dropped_records_total", "reason=\"ring_full_transfer\""),
        ("wirespan_kernel_drops_total", "reason=\"ring_full_transfer\""),
    ]
    .map(|(name, label)| metrics.sum(name, &[label]))
    .iter()
    .sum::<f64>();
    std::fs::remove_file(agent.finish()?).ok();
    ensure!(told + lost > 0.0, "the agent saw nothing");
    Ok(Loss { requests: run, lost: 100.0 * lost / (told + lost) })
}

/// Ends when it is dropped.
fn busy(stage: &Stage) -> Result<Process> {
    Launch::new("sh").args(["-c", "while :; do :; done"]).start(stage.dir())
}
