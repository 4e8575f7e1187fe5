//! Recording a run and replaying it gives the same spans and trees, without root, and from whatever
//! is left of the file.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    agent::Agent,
    clients::{Client, requests},
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    programs::Service,
    span::{self, Kind, SpanRow},
    stage::Stage,
};

use crate::check::{assert_exactly, brief, exchanges};

/// Replays a log into a span file; returns what was written to stderr, and the exit status.
fn replay_to(stage: &Stage, log: &Path, spans: &str) -> Result<(PathBuf, String, Option<i32>)> {
    let spans = stage.dir().join(spans);
    let mut replay = wirespan()?.arg("replay").arg(log).arg("--export").arg(&spans).start(stage.dir())?;
    let status = replay.wait()?.code();
    Ok((spans, replay.stderr(), status))
}

fn wirespan() -> Result<Launch<'static>> {
    Ok(Launch::new(machine::wirespan()?))
}

/// `wirespan` with a command that attaches, in the attach mode that `WIRESPAN_ATTACH_MODE` names.
fn attaching(stage: &Stage, words: &[&str]) -> Result<Process> {
    let launch = wirespan()?.arg(words[0]);
    let launch = match std::env::var("WIRESPAN_ATTACH_MODE") {
        Ok(attach_mode) if !attach_mode.is_empty() => launch.arg("--attach-mode").arg(attach_mode),
        _ => launch,
    };
    launch.args(&words[1..]).start(stage.dir())
}

fn read(spans: &Path) -> Result<Vec<SpanRow>> {
    if spans.exists() { span::read(spans) } else { Ok(Vec::new()) }
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn a_replay_writes_what_the_live_run_wrote_byte_by_byte() -> Result<()> {
    let Some(stage) = Stage::shared("replay-bytes", &["nginx", "curl", "/usr/bin/python3"]) else {
        return Ok(());
    };
    let python = Service::Python.start(&stage)?;
    let proxy = format!("        location /py/ {{ proxy_pass http://127.0.0.1:{}/; }}\n", python.port);
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), &proxy)?;
    let log = stage.dir().join("run.wslog");
    let agent = Agent::recording(&stage, &log)?;
    let mut list = requests("replay", 4);
    for request in list.iter_mut().skip(1).step_by(2) {
        request.path = format!("/py{}", request.path);
    }
    Client::Curl.run(&stage, nginx.port, &list)?;
    Client::Python.run(&stage, python.port, &requests("direct", 2))?;
    let live = agent.finish()?;
    ensure!(mode(&log)? == 0o600, "the log is private");
    let rows = span::read(&live)?;
    assert!(rows.len() > 80, "{}", brief(&rows));
    for name in ["first.jsonl", "second.jsonl"] {
        let (spans, said, status) = replay_to(&stage, &log, name)?;
        assert_eq!(status, Some(0), "{said}");
        assert!(fs::read(&spans)? == fs::read(&live)?, "{}\n{}", brief(&rows), brief(&read(&spans)?));
    }
    Ok(())
}

#[test]
fn a_replay_shows_the_trees_that_the_terminal_showed() -> Result<()> {
    let Some(stage) = Stage::shared("replay-tree", &["nginx", "curl", "/usr/bin/python3"]) else {
        return Ok(());
    };
    let python = Service::Python.start(&stage)?;
    let proxy = format!("        location /py/ {{ proxy_pass http://127.0.0.1:{}/; }}\n", python.port);
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), &proxy)?;
    let log = stage.dir().join("trace.wslog").display().to_string();
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", nginx.port);
    let script = format!(
        "curl -q -sS {} {}; sleep 0.5; curl -q -sS {}; curl -q -sS http://127.0.0.1:1/; exit 3",
        url("/py/hello/a"),
        url("/hello/b"),
        url("/py/missing/c")
    );
    let port = nginx.port.to_string();
    let python_port = python.port.to_string();
    let words =
        ["trace", "--port", &port, "--port", &python_port, "--record", &log, "--", "sh", "-c", &script];
    let mut trace = attaching(&stage, &words)?;
    assert_eq!(trace.wait()?.code(), Some(3), "{}", trace.stderr());
    // curl prints on the same terminal.
    let is_span = |line: &&str| line.contains("Z ") && (line.contains('←') || line.contains('→'));
    let shown: Vec<String> = trace
        .stdout()
        .lines()
        .map(|line| line.rsplit_once("\u{7}").map_or(line, |(_, line)| line))
        .filter(is_span)
        .map(str::to_owned)
        .collect();
    let replayed = wirespan()?.args(["replay", &log]).start(stage.dir())?.finish()?;
    let replayed: Vec<String> = replayed.lines().map(str::to_owned).collect();
    assert!(shown.len() >= 9, "{shown:#?}{}", trace.stderr());
    assert_eq!(replayed, shown, "{}", trace.stderr());
    // A reader that has seen enough is no failure.
    let status = stage.dir().join("status");
    let script = format!(
        "{{ {} replay {log} {log} {log}; echo $? >{}; }} | head -n 1",
        machine::wirespan()?.display(),
        status.display()
    );
    let first = Launch::new("sh").args(["-c", &script]).start(stage.dir())?.finish()?;
    assert_eq!((first.trim_end(), fs::read_to_string(status)?.trim()), (shown[0].as_str(), "0"));
    Ok(())
}

#[test]
fn whatever_is_left_of_a_log_is_replayed() -> Result<()> {
    let Some(stage) = Stage::shared("replay-cut", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let log = stage.dir().join("cut.wslog");
    let mut agent = Agent::recording(&stage, &log)?;
    let list = requests("cut", 3);
    let expected = Client::Curl.run(&stage, nginx.port, &list)?;
    // Until a tick after the last request has been written.
    let size = || fs::metadata(&log).map(|metadata| metadata.len()).unwrap_or(0);
    wirespan_tests::wait::until("the recorder to write", || {
        let before = size();
        std::thread::sleep(std::time::Duration::from_millis(500));
        (before > 10_000 && size() > before).then_some(())
    })?;
    agent.kill()?;
    let (spans, said, status) = replay_to(&stage, &log, "killed.jsonl")?;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the log ends"), "{said}");
    assert_exactly(&read(&spans)?, Kind::Server, &expected);

    let bytes = fs::read(&log)?;
    let cut = stage.dir().join("shorter.wslog");
    let mut most = 0;
    for tenth in 1..=10 {
        fs::write(&cut, &bytes[..bytes.len() * tenth / 10])?;
        let (spans, said, status) = replay_to(&stage, &cut, &format!("{tenth}.jsonl"))?;
        assert_eq!(status, Some(1), "{said}");
        let rows = read(&spans)?.len();
        assert!(rows >= most, "a longer log has no fewer spans");
        most = rows;
    }
    Ok(())
}

#[test]
fn a_redacted_log_keeps_exchanges_and_no_secrets() -> Result<()> {
    let Some(stage) = Stage::shared("replay-redact", &["curl", "/usr/bin/python3"]) else { return Ok(()) };
    let python = Service::Python.start(&stage)?;
    let secret = "Kx7-very-secret-Zq9";
    let body = stage.file("body", &secret.repeat(300))?.display().to_string();
    let url = |path: &str| {
        format!("'http://127.0.0.1:{}/{path}/{secret}?token={secret}&name={secret}'", python.port)
    };
    let script = format!(
        "curl -q -sS -o /dev/null -H 'Authorization: Bearer {secret}' -H 'X-Own: {secret}' {} --next -sS -o /dev/null \
         --data-binary @{body} {} --next -sS -o /dev/null -I {} --next -sS -o /dev/null {}",
        url("hello"),
        url("echo"),
        url("missing"),
        url("chunked/5000"),
    );
    let mut rows = Vec::new();
    for redact in [true, false] {
        let log = stage.dir().join(format!("redact-{redact}.wslog"));
        let out = log.display().to_string();
        let port = python.port.to_string();
        let mut words = vec!["record", "--port", &port, "--out", &out];
        words.extend(redact.then_some("--redact"));
        words.extend(["--", "sh", "-c", &script]);
        let mut record = attaching(&stage, &words)?;
        assert_eq!(record.wait()?.code(), Some(0), "{}", record.stderr());
        assert!(record.stderr().contains("events recorded") && record.stderr().contains(" 0 events dropped"));
        assert_eq!(mode(&log)?, 0o600);
        let has_secret = fs::read(&log)?.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert_eq!(has_secret, !redact, "secrets in the log");
        let (spans, said, status) = replay_to(&stage, &log, &format!("{redact}.jsonl"))?;
        assert_eq!(status, Some(0), "{said}");
        let mut list = Vec::new();
        for kind in [Kind::Client, Kind::Server] {
            list.extend(exchanges(&read(&spans)?, kind).into_iter().map(|mut exchange| {
                exchange.path = exchange.path.len().to_string();
                exchange
            }));
        }
        list.sort();
        rows.push(list);
    }
    assert_eq!(rows[0].len(), 8, "{rows:#?}");
    assert_eq!(rows[0], rows[1]);
    Ok(())
}

#[test]
fn a_recording_ends_at_its_limit_and_at_a_full_disk() -> Result<()> {
    let Some(stage) = Stage::shared("replay-full", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let small = SmallDisk::mount(&stage)?;
    let port = nginx.port.to_string();
    let url = format!("http://127.0.0.1:{port}/hello/[1-300]");
    for (file, limit, status) in
        [(stage.dir().join("limit.wslog"), "128KiB", 0), (small.0.join("full.wslog"), "1GiB", 1)]
    {
        let out = file.display().to_string();
        let mut record = attaching(
            &stage,
            &["record", "--port", &port, "--out", &out, "--max-size", limit, "--for", "10m"],
        )?;
        // This agent does not report that it is ready. It ends when it has seen enough requests.
        let ended = wirespan_tests::wait::until("the recording to end", || {
            let curl = Launch::new("curl").args(["-q", "-sS", "-o", "/dev/null", &url]);
            curl.inside(&stage.cgroup).start(stage.dir()).and_then(Process::finish).ok()?;
            record.stderr().contains("events recorded").then_some(())
        });
        ended?;
        assert_eq!(record.wait()?.code(), Some(status), "{}", record.stderr());
        let said = record.stderr();
        let why = if status == 0 { "limit of 131072 bytes" } else { "No space left" };
        assert!(said.contains(why), "{said}");
        assert!(fs::metadata(&file)?.len() <= 131_072);
        let (spans, said, _) = replay_to(&stage, &file, &format!("{status}.jsonl"))?;
        assert!(said.contains("the log ends before the run did"), "{said}");
        assert!(read(&spans)?.len() > 10, "{said}");
    }
    Ok(())
}

/// A file system of 128 KiB; it goes when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(stage: &Stage) -> Result<Self> {
        let path = stage.dir().join("small");
        fs::create_dir(&path)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(&path);
        ensure!(mount.status().context("cannot run mount")?.success(), "cannot mount a small tmpfs");
        Ok(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.display());
        }
    }
}

#[test]
fn files_that_are_no_log_are_refused_with_a_reason() -> Result<()> {
    let Some(stage) = Stage::shared("replay-wrong", &[]) else { return Ok(()) };
    let capture = stage.dir().join("capture.pcap");
    fs::write(&capture, b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00")?;
    let text = stage.file("text", "no log")?;
    for (file, why) in [
        (&capture, "the capture ends within"),
        (&text, "neither an event log"),
        (&stage.dir().join("none"), "cannot be opened"),
    ] {
        let (_, said, status) = replay_to(&stage, file, "wrong.jsonl")?;
        assert_eq!(status, Some(1));
        assert!(said.contains(why) && said.contains(&file.display().to_string()), "{said}");
    }
    Ok(())
}
