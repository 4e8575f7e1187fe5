//! What operators do to a daemon and at a shell: signals, log rotation, clocks that are set, pipes,
//! scrapes, proxies.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use wirespan_tests::{
    agent::Agent,
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    span,
    stage::Stage,
    wait,
};

fn wirespan() -> Result<Launch<'static>> {
    Ok(Launch::new(machine::wirespan()?))
}

fn request(port: u16, path: &str, fields: &str) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Waits until the agent's span file holds this many spans.
fn spans_in(file: &Path, count: usize) -> Result<()> {
    let spans = || if file.exists() { span::read(file).map_or(0, |rows| rows.len()) } else { 0 };
    wait::until(&format!("{count} spans in {}", file.display()), || (spans() >= count).then_some(()))
        .with_context(|| format!("there are {}", spans()))
}

#[test]
fn a_span_file_is_rotated_by_signals_and_by_others() -> Result<()> {
    let Some(stage) = Stage::shared("rotate", &["nginx"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let log = stage.dir().join("run.wslog");
    let mut agent = Agent::recording(&stage, &log)?;
    let (file, aside) = (agent.spans_file().to_owned(), stage.dir().join("aside"));
    let ask = || request(nginx.port, "/hello/a", "");
    ask()?;
    spans_in(&file, 1)?;
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        fs::rename(&file, &aside)?;
        agent.signal(signal)?;
        // Also without a span.
        wait::until("the file to be made anew", || file.exists().then_some(()))?;
        ask()?;
        spans_in(&file, 1)?;
    }
    fs::remove_file(&file)?;
    ask()?;
    spans_in(&file, 1)?;
    fs::write(&file, "")?;
    ask()?;
    spans_in(&file, 1)?;
    let changes = |what: &str| -> Result<f64> {
        Ok(agent.metrics()?.sum("wirespan_export_file_reopens_total", &[&format!("reason=\"{what}\"")]))
    };
    assert_eq!((changes("signal")?, changes("moved")?, changes("truncated")?), (2.0, 1.0, 1.0));
    // Other signals that daemons get: none ends it, and one makes it report its summary.
    agent.signal(Signal::SIGXFSZ)?;
    agent.signal(Signal::SIGPIPE)?;
    agent.signal(Signal::SIGUSR2)?;
    wait::until("the summary", || agent.log().contains("5 requests received").then_some(()))?;
    ask()?;
    agent.signal(Signal::SIGQUIT)?;
    let status = agent.wait()?;
    assert!(status.success(), "{status}: {}", agent.log());
    assert_eq!(span::read(&file)?.len(), 2, "{}", agent.log());
    // The recording is one file, from the first event to the last.
    let replayed = wirespan()?.arg("replay").arg(&log).start(stage.dir())?.finish()?;
    assert_eq!(replayed.lines().filter(|line| line.contains("/hello/a")).count(), 6, "{replayed}");
    Ok(())
}

#[test]
fn a_trace_ends_in_order_when_its_terminal_hangs_up() -> Result<()> {
    let Some(stage) = Stage::shared("hang-up", &["nginx", "nohup"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    for (signal, nohup) in
        [(Signal::SIGHUP, false), (Signal::SIGHUP, true), (Signal::SIGQUIT, false), (Signal::SIGALRM, false)]
    {
        let launch = if nohup { Launch::new("nohup").arg(machine::wirespan()?) } else { wirespan()? };
        let mut trace = launch
            .args(["trace", "--format", "json", "--port", &nginx.port.to_string()])
            .start(stage.dir())?;
        wait::until("a span", || {
            request(nginx.port, "/hello/a", "").ok()?;
            trace.stdout().contains("/hello/a").then_some(())
        })?;
        request(nginx.port, "/hello/last", "")?;
        trace.signal(signal)?;
        if nohup {
            request(nginx.port, "/hello/later", "")?;
            wait::until("a later span", || trace.stdout().contains("/hello/later").then_some(()))?;
            trace.signal(Signal::SIGINT)?;
        }
        assert_eq!(trace.wait()?.code(), Some(0), "{signal}: {}", trace.stderr());
        assert!(trace.stdout().contains("/hello/last"), "{signal}: {}", trace.stderr());
        assert!(trace.stderr().contains("requests received"), "{signal}: {}", trace.stderr());
    }
    Ok(())
}

#[test]
fn a_daemon_that_its_command_leaves_behind_is_traced_on() -> Result<()> {
    let Some(stage) = Stage::shared("daemon", &["nginx", "curl", "setsid"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    // A double fork: the command is gone at once.
    let script = format!(
        "(setsid sh -c 'sleep 1; curl -q -sS http://127.0.0.1:{}/hello/daemon; sleep {{}}' &) ; exit 7",
        nginx.port
    );
    for (pause, interrupted) in [("0.1", false), ("60", true)] {
        let script = script.replace("{}", pause);
        let mut trace = wirespan()?
            .args(["trace", "--format", "json", "--", "sh", "-c", &script])
            .inside(&stage.cgroup)
            .start(stage.dir())?;
        trace.says("of its descendants still run")?;
        wait::until("the daemon's call", || trace.stdout().contains("/hello/daemon").then_some(()))?;
        if interrupted {
            trace.signal(Signal::SIGINT)?;
        }
        assert_eq!(trace.wait()?.code(), Some(7), "{}", trace.stderr());
        assert_eq!(trace.stderr().contains("go on untraced"), interrupted, "{}", trace.stderr());
    }
    Ok(())
}

#[test]
fn a_recording_goes_through_a_pipe() -> Result<()> {
    let Some(stage) = Stage::shared("record-pipe", &["nginx", "curl", "bash"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let shell = |text: &str| Launch::new("bash").args(["-c", text]).start(stage.dir());
    let agent = machine::wirespan()?.display().to_string();
    let curl = format!("curl -q -sS http://127.0.0.1:{}/hello/piped", nginx.port);
    // The command's output must not get into the log.
    let mut piped = shell(&format!("set -o pipefail; {agent} record --out - -- {curl} | {agent} replay -"))?;
    assert!(piped.wait()?.success(), "{}", piped.stderr());
    assert!(piped.stdout().contains("/hello/piped"), "{}{}", piped.stdout(), piped.stderr());
    assert!(piped.stderr().contains("standard output: ") && piped.stderr().contains("0 events dropped"));
    // A reader that leaves ends the recording; its messages stay readable.
    let port = nginx.port.to_string();
    let mut left = shell(&format!(
        "{agent} record --out - --port {port} | head -c 100 >/dev/null; echo ${{PIPESTATUS[0]}}"
    ))?;
    assert!(left.wait()?.success());
    assert_eq!(left.stdout().trim(), "1", "{}", left.stderr());
    assert!(left.stderr().contains("nobody reads the event log any more"), "{}", left.stderr());
    let mut mixed = wirespan()?.args(["trace", "--record", "-", "--port", &port]).start(stage.dir())?;
    assert!(!mixed.wait()?.success() && mixed.stderr().contains("record --out -"), "{}", mixed.stderr());
    Ok(())
}

#[test]
fn processes_that_come_and_go_make_no_series() -> Result<()> {
    let Some(stage) = Stage::shared("series", &["nginx", "curl"]) else { return Ok(()) };
    let aside = wirespan_tests::cgroup::Cgroup::create("series-server")?;
    let nginx = Nginx::start(&aside, stage.dir(), "")?;
    let agent = Agent::start(&stage)?;
    let url = format!("http://127.0.0.1:{}/hello/check", nginx.port);
    let check =
        || Launch::new("curl").args(["-q", "-sS", &url]).inside(&stage.cgroup).start(stage.dir())?.finish();
    check()?;
    let series = || -> Result<BTreeSet<String>> {
        let text = agent.metrics()?.text().to_owned();
        let names = text
            .lines()
            .filter(|line| line.starts_with("wirespan_"))
            .filter_map(|line| line.rsplit_once(' '));
        Ok(names.map(|(name, _)| name.to_owned()).collect())
    };
    wait::until("the service", || agent.metrics().ok()?.text().contains("service=\"curl\"").then_some(()))?;
    let before = series()?;
    let mut after = BTreeSet::new();
    for _ in 0..10 {
        for _ in 0..4 {
            check()?;
        }
        after.extend(series()?);
    }
    let more: Vec<_> = after.difference(&before).collect();
    // Another service may show: curl before it has executed. A process would be fifteen series, and
    // here are 40.
    assert!(more.len() <= 2 * 15 && more.iter().all(|name| name.contains("service=")), "{more:?}");
    assert!(!after.iter().any(|name| name.contains("pid=")), "{after:?}");
    // The status page shows single processes, and idle connections do not block it.
    let idle =
        (0..100).map(|_| TcpStream::connect(agent.metrics_address())).collect::<Result<Vec<_>, _>>()?;
    let asked = Instant::now();
    let mut page = TcpStream::connect(agent.metrics_address())?;
    page.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    page.read_to_string(&mut text)?;
    assert!(text.contains(r#""confidence":{"service":"#), "{text}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    drop(idle);
    drop(agent.stop()?);
    Ok(())
}

#[test]
fn what_a_trusted_proxy_says_is_told() -> Result<()> {
    let Some(stage) = Stage::shared("forwarded", &["nginx"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let fields = "X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n";
    for (trust, expected) in [
        ("", ["shop.example", "443", "https", "203.0.113.7", ""]),
        ("forwarded: { trust: none }\n", ["h", "80", "http", "127.0.0.1", "any"]),
    ] {
        let agent = Agent::with_select(&stage, &format!("{}{trust}", stage.select()))?;
        request(nginx.port, "/hello/a", fields)?;
        spans_in(agent.spans_file(), 1)?;
        let rows = agent.stop()?;
        let row = rows.first().context("no span")?;
        let names = ["server.address", "server.port", "url.scheme", "client.address", "client.port"];
        for (name, expected) in names.into_iter().zip(expected) {
            let found = row.attribute(name);
            let fits = if expected == "any" { !found.is_empty() } else { found == expected };
            assert!(fits, "{trust}: {name} {found:?}");
        }
        assert_eq!(row.attribute("network.peer.address"), "127.0.0.1");
    }
    Ok(())
}

#[test]
fn a_wall_clock_that_is_set_is_followed_at_once() -> Result<()> {
    let Some(stage) = Stage::shared("clock", &["nginx", "cc"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let source = stage.file("step.c", include_str!("../../../programs/step.c"))?;
    let (library, step) = (stage.dir().join("step.so"), stage.file("step", "0")?);
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status()?;
    ensure!(compiled.success(), "cc failed");
    let preload = format!("LD_PRELOAD={} STEP={}", library.display(), step.display());
    let script = format!("#!/bin/sh\nexec env {preload} {} \"$@\"\n", machine::wirespan()?.display());
    let wrapped = stage.file("wirespan-stepped", &script)?;
    fs::set_permissions(&wrapped, fs::Permissions::from_mode(0o755))?;
    let agent = Agent::of(&wrapped, stage.dir(), &stage.select(), None)?;
    let now =
        || Ok::<_, anyhow::Error>(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?);
    request(nginx.port, "/hello/before", "")?;
    spans_in(agent.spans_file(), 1)?;
    const HOUR: u64 = 3_600_000_000_000;
    for (seconds, offset) in [("3600", i64::try_from(HOUR)?), ("-3600", -i64::try_from(HOUR)?)] {
        fs::write(&step, seconds)?;
        // A tick is 100 ms.
        std::thread::sleep(Duration::from_millis(400));
        let asked = now()?;
        request(nginx.port, "/hello/after", "")?;
        spans_in(agent.spans_file(), if offset > 0 { 2 } else { 3 })?;
        let rows = span::read(agent.spans_file())?;
        let row = rows.last().context("no span")?;
        let off = row.start.abs_diff(asked.saturating_add_signed(offset));
        assert!(off < HOUR / 60, "{seconds}: {off} ns off");
        assert!(row.end >= row.start && row.end - row.start < HOUR / 60);
    }
    drop(agent.stop()?);
    Ok(())
}

#[test]
fn doubtful_settings_are_told_by_check_and_by_run() -> Result<()> {
    let Some(stage) = Stage::shared("doubts", &[]) else { return Ok(()) };
    let spans = stage.dir().join("spans.jsonl");
    let text = format!(
        "select: [ {{ exe: no-such-program }} ]\nexport: {{ file: {{ path: \"{}\" }} }}\n",
        spans.display()
    );
    let file = stage.file("doubts.yaml", &text)?.display().to_string();
    let warnings = |process: &Process| -> Vec<String> {
        process.stderr().lines().filter(|line| line.contains("warning: ")).map(str::to_owned).collect()
    };
    let mut check = wirespan()?.args(["config", "check", &file]).start(stage.dir())?;
    assert!(check.wait()?.success());
    let told = warnings(&check);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("doubts.yaml:1:18: exe: ") && told[0].contains("*/no-such-program"), "{told:?}");
    let mut run = wirespan()?.args(["run", "--config", &file]).start(stage.dir())?;
    run.says("ready")?;
    assert_eq!(warnings(&run), told);
    run.signal(Signal::SIGTERM)?;
    assert!(run.wait()?.success());
    Ok(())
}
