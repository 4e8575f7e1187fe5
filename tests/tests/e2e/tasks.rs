//! asyncio: one thread serves many requests at a time, and the task that serves one is known by its
//! context.

use std::collections::BTreeMap;

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    process::Launch,
    programs::Service,
    span::{Kind, SpanRow},
    stage::Stage,
};

/// The calls of this many requests over eight connections, by the evidence of the parent; none may
/// be wrong.
fn calls(name: &str, kind: &str, requests: usize) -> Result<Option<BTreeMap<String, usize>>> {
    let Some(stage) = Stage::shared(name, &["/usr/bin/python3"]) else { return Ok(None) };
    let (back, front) = (Service::Tasks.start(&stage)?, Service::Tasks.start(&stage)?);
    let agent = Agent::start(&stage)?;
    let script = stage.file("load.py", include_str!("../../programs/tasks.py"))?;
    let prefix = format!("/{kind}/{}", back.port);
    let paths = (0..requests).map(|n| format!("/{n}"));
    let load =
        Launch::new("/usr/bin/python3").arg(script).args(["load", &front.port.to_string(), "8", &prefix]);
    paths.fold(load, Launch::arg).start(stage.dir())?.finish()?;
    let rows = agent.stop()?;
    let mut found = BTreeMap::new();
    for call in rows.iter().filter(|row| row.kind == Kind::Client && row.pid() == front.process.pid()) {
        let parent = rows.iter().find(|row| Some(&row.id) == call.parent.as_ref());
        if let Some(parent) = parent {
            assert!(belongs(call, parent), "{} is no child of {}", call.path(), parent.path());
        }
        *found.entry(call.attribute("wirespan.parent.evidence").to_owned()).or_default() += 1;
    }
    Ok(Some(found))
}

/// `/call/PORT/n` calls `/n`, `/gather/PORT/n` calls `/n/0`, `/n/1`, `/n/2`.
fn belongs(call: &SpanRow, request: &SpanRow) -> bool {
    request.path().split('/').nth(3) == call.path().split('/').nth(1)
}

#[test]
fn a_call_belongs_to_the_request_that_its_task_answers() -> Result<()> {
    let Some(found) = calls("tasks", "call", 600)? else { return Ok(()) };
    // From the first call on: the calls that earn the trust are linked with it, unless that takes
    // over 2 s as on an emulated machine.
    assert!(found.get("task").is_some_and(|task| *task >= 560), "{found:?}");
    Ok(())
}

#[test]
fn calls_from_tasks_of_their_own_get_no_wrong_parent() -> Result<()> {
    // `gather` makes three calls at once.
    for (kind, requests) in [("each", 600), ("gather", 200)] {
        let Some(found) = calls(kind, kind, requests)? else { return Ok(()) };
        assert!(found.values().sum::<usize>() >= 600, "{kind} {found:?}");
    }
    Ok(())
}
