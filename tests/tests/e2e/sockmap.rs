//! Connections in a sockmap: whatever it does with their bytes, every exchange is reported, and no
//! error is invented.

use anyhow::Result;
use wirespan_tests::{agent::Agent, machine, process::Launch, span::Kind, stage::Stage, wait as await_until};

use crate::check::brief;

const COUNT: usize = 20;

#[test]
fn connections_in_a_sockmap_are_traced() -> Result<()> {
    let Some(stage) = Stage::shared("sockmap", &["/usr/bin/python3"]) else { return Ok(()) };
    let script = stage.file("sockmap.py", include_str!("../../programs/sockmap.py"))?;
    for (mode, redirected) in [("none", 0.0), ("look", 0.0), ("one", 2.0), ("past", 2.0)] {
        let go = stage.dir().join(format!("go-{mode}"));
        let launch = Launch::new(machine::python()).arg(&script).args([mode, &COUNT.to_string()]);
        let mut program = launch.arg(&go).inside(&stage.cgroup).start(stage.dir())?;
        program.says("enrolled")?;
        let agent = Agent::start(&stage)?;
        stage.file(&format!("go-{mode}"), "")?;
        program.finish()?;
        let counted = await_until::until("all exchanges", || {
            let metrics = agent.metrics().ok()?;
            let requests = metrics.sum("wirespan_trace_requests_total", &[]);
            let closed = metrics.sum("wirespan_events_total", &["closed"]);
            (requests >= 2.0 * COUNT as f64 && closed >= 2.0).then_some(metrics)
        })?;
        assert_eq!(counted.sum("wirespan_redirected_connections_total", &[]), redirected, "{mode}");
        assert_eq!(counted.sum("wirespan_ledger_violations_total", &[]), 0.0, "{mode}");
        let rows = agent.stop()?;
        assert_eq!(rows.len(), 2 * COUNT, "{mode}: {}", brief(&rows));
        for row in &rows {
            let what = || format!("{mode}: {}", brief(std::slice::from_ref(row)));
            assert_eq!((row.status_code(), row.sizes()), (200, (0, 9_000)), "{}", what());
            assert_eq!(row.attribute("error.type"), "", "{}", what());
            // The first message of a connection whose bytes TCP does not count may not be the
            // first.
            let late = ["", "joined_mid_stream"].contains(&row.attribute("wirespan.incomplete"));
            assert!(late, "{}", what());
        }
        let parents = rows.iter().filter(|row| row.kind == Kind::Server && row.parent.is_some()).count();
        assert_eq!(parents, if redirected > 0.0 { 0 } else { COUNT }, "{mode}: {}", brief(&rows));
    }
    Ok(())
}
