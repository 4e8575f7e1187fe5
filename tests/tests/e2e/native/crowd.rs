//! A hundred thousand hostile connections: they cost no more than the ceiling, and other
//! connections are traced as before.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    agent::{Agent, Metrics},
    cgroup::Cgroup,
    nginx::Nginx,
    process::Launch,
    stage::Stage,
    wait,
};

use crate::harm::assert_balanced;

/// What the agent may hold at the default ceilings (docs/limits.md).
const CEILING_BYTES: f64 = 470.0 * 1024.0 * 1024.0;

#[test]
fn a_hostile_crowd_costs_no_more_than_the_ceiling() -> Result<()> {
    const CROWD: u32 = 100_000;
    let Some(stage) = Stage::alone("crowd", &["nginx", "/usr/bin/python3"]) else { return Ok(()) };
    let aside = Cgroup::create("crowd-clients")?;
    let nginx = Nginx::with_room(&stage.cgroup, stage.dir(), "", CROWD + 10_000)?;
    let agent = Agent::start(&stage)?;
    let script = stage.file("crowd.py", include_str!("../../../programs/crowd.py"))?;
    let words = [nginx.port.to_string(), CROWD.to_string(), "3".to_owned()];
    let mut crowd =
        Launch::new("/usr/bin/python3").arg(script).args(words).inside(&aside).start(stage.dir())?;
    crowd.says("up")?;
    let beside = well_behaved(&nginx, "beside")?;
    assert!(crowd.wait()?.success(), "{}", crowd.stderr());
    let after = well_behaved(&nginx, "after")?;
    let met = |metrics: &Metrics| {
        metrics.sum("wirespan_evicted_connections_total", &["reason=\"connection_limit\""])
    };
    // On a busy machine the agent reads the events of the crowd's start when the crowd is gone.
    let metrics = wait::until("the ceiling of connections and the end of the crowd's", || {
        let metrics = agent.metrics().ok()?;
        (met(&metrics) > 0.0 && metrics.sum("wirespan_connections", &[]) < 0.5).then_some(metrics)
    });
    let metrics = match metrics {
        Ok(metrics) => metrics,
        Err(error) => return Err(error.context(agent.metrics()?.text().to_owned())),
    };
    let most = peak(agent.pid())?;
    let rows = agent.stop()?;
    for path in beside.iter().chain(&after) {
        let found: Vec<_> = rows.iter().filter(|row| row.path() == path).collect();
        assert_eq!(found.len(), 1, "{path}: {}\n{}", found.len(), metrics.text());
        assert_eq!((found[0].status_code(), found[0].attribute("wirespan.incomplete")), (200, ""), "{path}");
    }
    let met = met(&metrics);
    assert!(most < CEILING_BYTES, "{most} bytes resident");
    assert_balanced(&metrics);
    println!("{CROWD} connections: {} MiB at most, {met} evicted", most / 1024.0 / 1024.0);
    Ok(())
}

/// Makes requests one after the other, each on a connection of its own; returns their paths.
fn well_behaved(nginx: &Nginx, name: &str) -> Result<Vec<String>> {
    let paths: Vec<String> = (0..200).map(|number| format!("/hello/{name}-{number}")).collect();
    for path in &paths {
        let mut stream = TcpStream::connect(("127.0.0.1", nginx.port))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: well\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    Ok(paths)
}

/// The peak of resident bytes.
fn peak(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}
