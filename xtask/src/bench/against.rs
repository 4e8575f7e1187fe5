//! Measures this agent and another build of it in turn, so that both see the same drift of the
//! machine.

use std::path::Path;

use anyhow::Result;
use wirespan_tests::nginx::Nginx;

use super::{
    finish, in_turn,
    kernel::{Held, Statistics},
    load::Load,
    median,
    native::Rig,
};

/// What one run of an agent costs per request.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// CPU microseconds.
    agent: f64,
    /// Nanoseconds.
    bpf: f64,
}

pub(super) fn run(rig: &Rig, nginx: &Nginx, load: Load, pairs: usize, other: &Path) -> Result<()> {
    println!("\nthis agent and {}:", other.display());
    println!(
        "{:>6} {:>20} {:>7} {:>20} {:>7}",
        "pair", "agent µs/request", "ratio", "BPF ns/request", "ratio"
    );
    let mut found = Vec::new();
    for number in 1..=pairs {
        let of = |binary| move || cost(rig, nginx, load, binary);
        let (own, other) = in_turn(number, of(None), of(Some(other)))?;
        let ratio = Cost { agent: own.agent / other.agent, bpf: own.bpf / other.bpf };
        println!(
            "{number:>6} {:>8.2} : {:>9.2} {:>7.3} {:>8.0} : {:>9.0} {:>7.3}",
            own.agent, other.agent, ratio.agent, own.bpf, other.bpf, ratio.bpf
        );
        found.push(ratio);
    }
    let middle = |of: fn(&Cost) -> f64| median(&found.iter().map(of).collect::<Vec<_>>());
    println!("medians: agent × {:.3}, BPF × {:.3}", middle(|cost| cost.agent), middle(|cost| cost.bpf));
    Ok(())
}

/// The time in BPF programs is measured in a separate run, because measuring it costs time too.
fn cost(rig: &Rig, nginx: &Nginx, load: Load, binary: Option<&Path>) -> Result<Cost> {
    let (dir, workers) = (rig.stage.dir(), nginx.workers());
    let agent = rig.agent(binary)?;
    let plain = load.run(dir, nginx.port, &workers, Some(agent.pid()))?;
    let statistics = Statistics::enable()?;
    let before = Held::by(agent.pid())?;
    let counted = load.run(dir, nginx.port, &workers, Some(agent.pid()))?;
    let after = Held::by(agent.pid())?;
    drop(statistics);
    finish(agent)?;
    Ok(Cost { agent: plain.agent_cpu, bpf: (after.nanoseconds - before.nanoseconds) / counted.requests })
}
