//! What it costs in the kernel to find the goroutine, or CPython's context, that makes a system
//! call.

use anyhow::Result;
use wirespan_tests::{agent::Agent, programs::Service};

use super::{
    finish,
    kernel::{Held, Statistics},
    load::Load,
    median,
    native::Rig,
};

/// What is looked for, in which program, and how it is switched off.
const READS: [(&str, Service, &str); 2] = [
    ("Go's goroutine", Service::Go, "causality: { goroutine: false }\n"),
    ("CPython's context", Service::Tasks, "causality: { task: false }\n"),
];

pub(super) fn run(rig: &Rig, load: Load, pairs: usize) -> Result<()> {
    println!("\nBPF time per request of a server, without and with what looks for its tasks:");
    for (name, service, off) in READS {
        let server = service.start(&rig.stage)?;
        let once = |text: &str| measure(rig, load, server.port, server.process.pid(), text);
        once("")?;
        let mut found = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            found.0.push(once(off)?);
            found.1.push(once("")?);
        }
        let (without, with) = (median(&found.0), median(&found.1));
        println!(
            "  {name:20} {without:>8.0} → {with:.0} ns ({:+.0}, × {:.2})",
            with - without,
            with / without
        );
    }
    Ok(())
}

fn measure(rig: &Rig, load: Load, port: u16, server: u32, text: &str) -> Result<f64> {
    let agent = Agent::with_select(&rig.stage, &format!("{}{text}", rig.stage.select()))?;
    let statistics = Statistics::enable()?;
    let before = Held::by(agent.pid())?.nanoseconds;
    let run = load.run(rig.stage.dir(), port, &[server], Some(agent.pid()))?;
    let after = Held::by(agent.pid())?.nanoseconds;
    drop(statistics);
    finish(agent)?;
    Ok((after - before) / run.requests)
}
