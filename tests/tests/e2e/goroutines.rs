//! Go: a call's parent is the request that its goroutine serves, although another goroutine writes
//! it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    agent::Agent,
    process::{Launch, Process},
    programs,
    span::{Kind, SpanRow},
    stage::{self, Stage},
    wait,
};

use crate::check::brief;

struct Relay {
    port: u16,
    process: Process,
}

fn start(stage: &Stage, program: &Path, backend: Option<&Relay>) -> Result<Relay> {
    launch(stage, Launch::new(program), backend)
}

fn launch(stage: &Stage, launch: Launch<'_>, backend: Option<&Relay>) -> Result<Relay> {
    let port = stage::port();
    let launch = launch.arg(port.to_string());
    let launch = backend.into_iter().fold(launch, |launch, it| launch.arg(format!("127.0.0.1:{}", it.port)));
    let mut process = launch.inside(&stage.cgroup).start(stage.dir())?;
    process.says("listening")?;
    Ok(Relay { port, process })
}

/// Requests with the numbers 1 to `count` at the end of their paths, a number of them at a time.
fn drive(stage: &Stage, port: u16, path: &str, count: u32, at_once: u32) -> Result<()> {
    let url = format!("http://127.0.0.1:{port}/{path}/[1-{count}]");
    let curl = Launch::new("curl").args(["-q", "-sS", "-Z", "--parallel-max", &at_once.to_string()]);
    curl.args(["-o", "/dev/null", &url]).start(stage.dir())?.finish().map(drop)
}

/// The number of calls, and how many of them have a parent. None may have a wrong one.
fn judge(rows: &[SpanRow]) -> (usize, usize) {
    let number = |row: &SpanRow| row.path().rsplit('/').next().map(str::to_owned);
    let calls: Vec<_> = rows.iter().filter(|row| row.kind == Kind::Client).collect();
    let mut linked = 0;
    for call in &calls {
        let Some(id) = &call.parent else { continue };
        let parent = rows.iter().find(|row| row.id == *id).expect("the parent is among the spans");
        assert_eq!(number(call), number(parent), "a wrong parent: {call:#?} {parent:#?}");
        // Calls of the first milliseconds of a process have their parents by threads or by content,
        // before the agent knows that it is a Go program.
        let evidence = call.attribute("wirespan.parent.evidence");
        assert!(["goroutine", "both_sides", "content"].contains(&evidence), "{call:#?}");
        linked += 1;
    }
    (calls.len(), linked)
}

/// Spans that are incomplete, and requests whose call was not reported.
fn doubtful(rows: &[SpanRow]) -> Vec<SpanRow> {
    let lacks = |row: &&SpanRow| {
        let callless = row.kind == Kind::Server && row.path().starts_with("/hello/") && row.parent.is_none();
        callless || !row.attribute("wirespan.incomplete").is_empty()
    };
    rows.iter().filter(lacks).cloned().collect()
}

fn with(name: &str, stripped: bool) -> Result<()> {
    let needs: Vec<&str> = programs::go_needs().iter().copied().chain(["curl"]).collect();
    let Some(stage) = Stage::shared(name, &needs) else { return Ok(()) };
    let program = programs::go_relay(stripped)?;
    let backend = start(&stage, &program, None)?;
    // One process that is older than the agent, with its connections, and one that is younger.
    let older = start(&stage, &program, Some(&backend))?;
    drive(&stage, older.port, "call", 8, 8)?;
    let agent = Agent::start(&stage)?;
    let younger = start(&stage, &program, Some(&backend))?;
    let count = 100;
    for relay in [&older, &younger] {
        for path in ["call", "both", "proxy"] {
            drive(&stage, relay.port, path, count, 8)?;
        }
        // It is not known for which request a goroutine was made.
        drive(&stage, relay.port, "spawn", 10, 8)?;
    }
    let metrics = agent.metrics()?;
    assert_eq!(
        metrics.sum("wirespan_attached_uprobes", &[]),
        2.0,
        "a program is probed once: {}",
        agent.log()
    );
    let log = agent.log();
    let rows = agent.stop()?;
    let (calls, linked) = judge(&rows);
    let by_goroutine =
        rows.iter().filter(|row| row.attribute("wirespan.parent.evidence") == "goroutine").count();
    assert!((by_goroutine + 2 * 10 + 30) * 100 >= calls * 99, "{by_goroutine} of {linked}");
    assert_eq!(calls, 2 * (4 * count as usize + 10), "{}\n{log}", brief(&doubtful(&rows)));
    assert!(
        (linked + 2 * 10 + 30) * 100 >= calls * 99,
        "{linked} of {calls} calls have a parent: {}",
        brief(&rows)
    );
    Ok(())
}

#[test]
fn calls_of_goroutines_have_their_parents() -> Result<()> {
    with("goroutines", false)
}

#[test]
fn so_they_have_in_a_stripped_program() -> Result<()> {
    with("goroutines-stripped", true)
}

fn wait_for_probes(agent: &Agent, processes: u32) -> Result<()> {
    wait::until("probes", || {
        let probed = agent.metrics().ok()?.sum("wirespan_probed_processes", &[]);
        (probed >= f64::from(processes)).then_some(())
    })
}

/// The first request of a process, once the agent knows that it is a Go program: its call has a
/// parent although nothing was seen of the process before.
#[test]
fn the_first_call_of_a_process_has_its_parent() -> Result<()> {
    let needs: Vec<&str> = programs::go_needs().iter().copied().chain(["curl"]).collect();
    let Some(stage) = Stage::shared("first-goroutine", &needs) else { return Ok(()) };
    let program = programs::go_relay(false)?;
    let agent = Agent::start(&stage)?;
    let backend = start(&stage, &program, None)?;
    let relay = start(&stage, &program, Some(&backend))?;
    wait_for_probes(&agent, 2)?;
    drive(&stage, relay.port, "call", 1, 1)?;
    let rows = agent.stop()?;
    assert_eq!(judge(&rows), (1, 1), "{}", brief(&rows));
    Ok(())
}

/// A process that was traced before it executed a Go program is not examined again at its first
/// connection, as processes are whose runtime may be in a library. Otherwise its goroutines would
/// get new identities from there on.
#[test]
fn a_connection_does_not_make_other_goroutines() -> Result<()> {
    let needs: Vec<&str> = programs::go_needs().iter().copied().chain(["curl"]).collect();
    let Some(stage) = Stage::shared("started-goroutine", &needs) else { return Ok(()) };
    let program = programs::go_relay(false)?;
    let agent = Agent::start(&stage)?;
    let backend = start(&stage, &program, None)?;
    let shell = Launch::new("sh").args(["-c", "sleep 0.5; exec \"$0\" \"$@\""]).arg(&program);
    let relay = launch(&stage, shell, Some(&backend))?;
    wait_for_probes(&agent, 2)?;
    drive(&stage, relay.port, "later", 1, 1)?;
    let rows = agent.stop()?;
    assert_eq!(judge(&rows), (1, 1), "{}", brief(&rows));
    Ok(())
}

/// When it is switched off, no probe is placed. Links by threads must still not be wrong.
#[test]
fn without_goroutines_no_probe_is_placed() -> Result<()> {
    let needs: Vec<&str> = programs::go_needs().iter().copied().chain(["curl"]).collect();
    let Some(stage) = Stage::shared("no-goroutines", &needs) else { return Ok(()) };
    let program = programs::go_relay(false)?;
    let backend = start(&stage, &program, None)?;
    let relay = start(&stage, &program, Some(&backend))?;
    let agent =
        Agent::with_select(&stage, &format!("{}causality: {{ goroutine: false }}\n", stage.select()))?;
    drive(&stage, relay.port, "call", 100, 8)?;
    assert_eq!(agent.metrics()?.sum("wirespan_attached_uprobes", &[]), 0.0);
    let rows = agent.stop()?;
    for row in rows.iter().filter(|row| row.kind == Kind::Client) {
        assert_ne!(row.attribute("wirespan.parent.evidence"), "goroutine");
    }
    Ok(())
}

/// Bytes of a process's code that are not those of the file that it runs: a breakpoint is one.
fn changed_code(pid: u32) -> Result<usize> {
    let program = fs::read_link(format!("/proc/{pid}/exe"))?;
    let (memory, file) = (File::open(format!("/proc/{pid}/mem"))?, File::open(&program)?);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let code = |line: &&str| line.contains(" r-xp ") && line.ends_with(&*program.to_string_lossy());
    let mut changed = 0;
    for line in maps.lines().filter(code) {
        // FROM-TO r-xp OFFSET …
        let words: Vec<_> = line.split(['-', ' ']).collect();
        let [from, to, offset] = [0, 1, 4].map(|word| u64::from_str_radix(words[word], 16));
        let (from, to, offset) = (from?, to?, offset?);
        let mut here = vec![0; usize::try_from(to - from)?];
        memory.read_exact_at(&mut here, from).context("its memory cannot be read")?;
        let mut there = vec![0; here.len()];
        let length = file.read_at(&mut there, offset)?;
        ensure!(length > 0, "{line}: nothing is there in the file");
        changed += here.iter().zip(&there[..length]).filter(|(here, there)| here != there).count();
    }
    Ok(changed)
}

/// Breakpoints that stay would cost the program a trap for each request, for as long as it runs.
#[test]
fn an_agent_that_ends_leaves_programs_as_they_were() -> Result<()> {
    let needs: Vec<&str> = programs::go_needs().iter().copied().chain(["curl"]).collect();
    let Some(stage) = Stage::shared("go-leaves", &needs) else { return Ok(()) };
    // A separate file, because probes belong to files and other tests trace processes of the same
    // file meanwhile.
    let program = stage.dir().join("relay");
    Launch::new("cp").arg(programs::go_relay(false)?).arg(&program).start(stage.dir())?.finish()?;
    let relay = start(&stage, &program, None)?;
    let pid = relay.process.pid();
    for kill in [false, false, true, false] {
        ensure!(changed_code(pid)? == 0, "it is changed before the agent starts");
        let mut agent = Agent::start(&stage)?;
        wait::until("both probes", || changed_code(pid).is_ok_and(|changed| changed == 2).then_some(()))?;
        drive(&stage, relay.port, "hello", 3, 1)?;
        if kill {
            agent.kill()?;
            wait::until("the kernel to take them out", || {
                changed_code(pid).is_ok_and(|changed| changed == 0).then_some(())
            })?;
        } else {
            agent.stop()?;
            assert_eq!(changed_code(pid)?, 0, "breakpoints are left");
        }
    }
    Ok(())
}
