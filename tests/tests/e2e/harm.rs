//! Do no harm: under full speed nothing is lost, a killed agent leaves nothing behind, an agent in
//! trouble says so in one sentence and the traced programs do not notice.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    agent::{self, Agent, Metrics},
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    stage::{self, Stage},
    wait,
};

use crate::check::brief;

/// wrk with 64 connections, from outside the selected cgroup.
fn wrk(stage: &Stage, port: u16, seconds: u32) -> Result<Process> {
    let duration = format!("-d{seconds}s");
    let url = format!("http://127.0.0.1:{port}/hello/wrk");
    Launch::new("wrk").args(["-t1", "-c64", &duration, &url]).start(stage.dir())
}

/// Seconds of load: an emulated machine makes few requests in many seconds anyway.
fn seconds() -> u32 {
    std::env::var("WIRESPAN_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[track_caller]
fn assert_unharmed(report: &str) {
    assert!(report.contains("Requests/sec"), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
}

/// An agent that gets no CPU must lose something and reports it. It may neither lose something on a
/// machine that has a CPU for it, nor be silent.
#[test]
fn at_full_speed_every_request_is_a_span() -> Result<()> {
    let Some(stage) = Stage::alone("full-speed", &["nginx", "wrk"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let mut losses = Vec::new();
    for _ in 0..3 {
        losses = full_speed(&stage, &nginx)?;
        if losses.is_empty() {
            return Ok(());
        }
        println!("the machine was busy: {losses:?}");
    }
    panic!("something was lost three times: {losses:?}");
}

/// Compares spans with requests. Returns what was lost; after a loss nothing is compared.
fn full_speed(stage: &Stage, nginx: &Nginx) -> Result<Vec<String>> {
    let before = nginx.requests()?;
    let agent = Agent::start(stage)?;
    let report = wrk(stage, nginx.port, seconds())?.finish()?;
    assert_unharmed(&report);
    // Asking for the count is itself a request that both count.
    let requests = nginx.requests()? - before;
    let metrics = settled(&agent, requests)?;
    let file = agent.finish()?;
    let spans = count(&file, "\"spanId\"")?;
    fs::remove_file(&file)?;
    let losses = metrics.losses();
    assert!(!losses.is_empty() || spans == requests, "{spans} spans of {requests} requests: {report}");
    Ok(losses)
}

/// The metrics, once this many spans are made or something is lost.
fn settled(agent: &Agent, requests: u64) -> Result<Metrics> {
    wait::until(&format!("{requests} spans"), || {
        let metrics = agent.metrics().ok()?;
        let made = metrics.sum("wirespan_trace_spans_total", &[]) >= requests as f64;
        (made || !metrics.losses().is_empty()).then_some(metrics)
    })
}

/// The path of each request says how it is answered, so that a response of another request shows.
const TELLING: &str = "local n = 0
local kinds = { 'hello', 'missing', 'empty' }
request = function()
  n = n + 1
  return wrk.format('GET', '/' .. kinds[n % 3 + 1] .. '/' .. n)
end
";

/// What the span of a request of [`TELLING`] must say when nothing of it was missed.
fn telling(path: &str) -> Option<(u16, u64)> {
    match path.split('/').nth(1)? {
        "hello" => Some((200, 6)),
        "missing" => Some((404, 10)),
        "empty" => Some((204, 0)),
        _ => None,
    }
}

#[test]
fn a_ring_of_one_page_loses_nothing_silently() -> Result<()> {
    let Some(stage) = Stage::alone("one-page", &["nginx", "wrk"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let agent = Agent::with_select(&stage, &format!("{}capture: {{ ring_bytes: 4096 }}\n", stage.select()))?;
    let script = stage.file("telling.lua", TELLING)?;
    let url = format!("http://127.0.0.1:{}/", nginx.port);
    let load = Launch::new("wrk").args(["-t1", "-c64", "-d2s", "-s"]).arg(script).arg(url);
    let report = load.start(stage.dir())?.finish()?;
    assert!(report.contains("Requests/sec") && !report.contains("Socket errors"), "{report}");
    let metrics = wait::until("the end of every connection", || {
        let metrics = agent.metrics().ok()?;
        (metrics.sum("wirespan_connections", &[]) < 0.5).then_some(metrics)
    })?;
    let rows = agent.stop()?;
    assert!(metrics.sum("wirespan_ring_dropped_records_total", &[]) > 0.0, "nothing was dropped: {report}");
    assert_balanced(&metrics);
    let mut seen = BTreeSet::new();
    for row in rows.iter().filter(|row| row.attribute("wirespan.incomplete").is_empty()) {
        let path = row.path();
        let found = (row.status_code(), row.sizes().1);
        assert_eq!(telling(path), Some(found), "{}", brief(std::slice::from_ref(row)));
        assert!(seen.insert(path), "{path} is told of twice without a flag");
    }
    let dropped = metrics.sum("wirespan_ring_dropped_records_total", &[]);
    println!("{} spans whole, {} flagged, {dropped} records dropped", seen.len(), rows.len() - seen.len());
    Ok(())
}

/// Every byte of the connections that have ended is accounted for, in each connection and in the
/// sums.
#[track_caller]
pub(crate) fn assert_balanced(metrics: &Metrics) {
    let entry = |name: &str| metrics.sum("wirespan_ledger_bytes_total", &[&format!("entry=\"{name}\"")]);
    let told: f64 = ["parsed", "skipped", "truncated", "dropped", "unseen"].map(entry).iter().sum();
    let observed = entry("observed");
    assert!(observed > 0.0 && (observed - told).abs() < 0.5, "{observed} bytes observed, {told} told of");
    assert!(metrics.sum("wirespan_ledger_violations_total", &[]) < 0.5, "{}", metrics.text());
}

/// How often a text occurs in a file of any size.
fn count(file: &Path, text: &str) -> Result<u64> {
    let script = r#"grep -o -e "$0" "$1" | wc -l"#;
    let output = Command::new("sh").args(["-c", script, text]).arg(file).output()?;
    String::from_utf8(output.stdout)?.trim().parse().context("wc prints a number")
}

/// The ids of every BPF program and link in the kernel.
fn loaded() -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for kind in ["prog", "link"] {
        let output = Command::new("bpftool").args([kind, "show"]).output().context("cannot run bpftool")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        ids.extend(lines.filter_map(|line| Some(format!("{kind} {}", line.split(':').next()?))));
    }
    Ok(ids)
}

#[test]
fn a_killed_agent_leaves_nothing_and_fails_no_request() -> Result<()> {
    let Some(stage) = Stage::alone("killed", &["nginx", "wrk", "bpftool"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let before = loaded()?;
    let mut agent = Agent::start(&stage)?;
    assert!(loaded()?.len() > before.len(), "the agent has loaded programs");
    let load = wrk(&stage, nginx.port, seconds().min(6))?;
    wait::until("spans under load", || {
        fs::metadata(agent.spans_file()).is_ok_and(|file| file.len() > 0).then_some(())
    })?;
    agent.kill()?;
    assert_unharmed(&load.finish()?);
    wait::until("the kernel to drop the agent's programs", || {
        loaded().is_ok_and(|now| now.is_subset(&before)).then_some(())
    })
    .with_context(|| format!("left behind: {:?}", loaded().unwrap_or_default().difference(&before)))
}

/// Runs the agent with a configuration with which it cannot start; returns its output.
pub(crate) fn refused(stage: &Stage, config: &str, prefix: &[&str]) -> Result<String> {
    let file = stage.file("refused.yaml", config)?;
    // The agent's binary must be readable for the user that runs it.
    let words = ["run".into(), "--config".into(), file.into_os_string()];
    let binary = machine::wirespan()?;
    let launch = match prefix {
        [] => Launch::new(binary),
        [program, rest @ ..] => Launch::new(program).args(rest).arg(binary),
    };
    let mut process = launch.args(words).start(stage.dir())?;
    let status = process.wait()?;
    ensure!(!status.success(), "it started: {}", process.stderr());
    Ok(process.stderr())
}

/// A message for a person: short, and not the trace of a crash.
#[track_caller]
pub(crate) fn assert_clear(message: &str, words: &[&str]) {
    let lower = message.to_lowercase();
    assert!(words.iter().any(|word| lower.contains(word)), "{message:?} names none of {words:?}");
    for trace in ["panicked", "backtrace", "src/"] {
        assert!(!lower.contains(trace), "{message}");
    }
    assert!(message.lines().count() <= 6, "{message}");
}

/// A configuration that is valid but for what the test is about. The test has a port of its own for
/// the metrics, since another agent may run beside it.
pub(crate) fn config(stage: &Stage, rest: &str) -> String {
    let metrics = if rest.contains("metrics:") { String::new() } else { metrics() };
    format!("{}{rest}{metrics}", stage.select())
}

pub(crate) fn metrics() -> String {
    format!("metrics: {{ listen: \"127.0.0.1:{}\" }}\n", stage::port())
}

pub(crate) const CONSOLE: &str = "export: { console: {} }\n";

#[test]
fn without_root_it_says_so() -> Result<()> {
    let Some(stage) = Stage::shared("no-root", &["setpriv"]) else { return Ok(()) };
    // The build directory need not be open to everybody, the temporary directory is.
    let copy = stage.dir().join("wirespan");
    fs::copy(machine::wirespan()?, &copy)?;
    let file = stage.file("config.yaml", &config(&stage, CONSOLE))?;
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--no-new-privs"];
    let launch = Launch::new("setpriv").args(nobody).arg(copy).arg("run").arg("--config").arg(file);
    let mut process = launch.start(stage.dir())?;
    assert!(!process.wait()?.success());
    assert_clear(&process.stderr(), &["root", "cap_"]);
    Ok(())
}

#[test]
fn without_btf_it_says_so() -> Result<()> {
    let Some(stage) = Stage::shared("no-btf", &["unshare", "mount"]) else { return Ok(()) };
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let message = refused(&stage, &config(&stage, CONSOLE), &["unshare", "-m", "sh", "-c", hide, "sh"])?;
    assert_clear(&message, &["btf"]);
    Ok(())
}

/// An agent in trouble does no harm: requests succeed, it reports what is wrong, and it ends when
/// asked.
pub(crate) fn in_trouble(stage: &Stage, export: &str, words: &[&str]) -> Result<()> {
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let file = stage.file("trouble.yaml", &config(stage, export))?;
    let mut agent = agent::command(&file)?.start(stage.dir())?;
    agent.says("ready")?;
    let url = format!("http://127.0.0.1:{}/hello/[1-300]", nginx.port);
    let curl = Launch::new("curl").args(["-q", "-sS", "-f", "-o", "/dev/null", &url]).start(stage.dir())?;
    curl.finish()?;
    wait::until(&format!("the agent to say one of {words:?}"), || {
        let said = agent.stderr().to_lowercase();
        words.iter().any(|word| said.contains(word)).then_some(())
    })
    .with_context(|| agent.stderr())?;
    agent.signal(nix::sys::signal::Signal::SIGTERM)?;
    let asked = std::time::Instant::now();
    let status = agent.wait()?;
    ensure!(status.success() && asked.elapsed().as_secs() < 5, "{status} after {:?}", asked.elapsed());
    let said = agent.stderr();
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.lines().count() < 40, "it says it again and again: {said}");
    Ok(())
}

/// A file system of one page, unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(stage: &Stage) -> Result<Self> {
        let dir = stage.dir().join("disk");
        fs::create_dir(&dir)?;
        let mount = ["-t", "tmpfs", "-o", "size=16k", "none"];
        ensure!(Command::new("mount").args(mount).arg(&dir).status()?.success(), "mount failed");
        Ok(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_reported() -> Result<()> {
    let Some(stage) = Stage::shared("full-disk", &["nginx", "curl", "mount"]) else { return Ok(()) };
    let disk = SmallDisk::mount(&stage)?;
    let export = format!("export: {{ file: {{ path: \"{}/spans.jsonl\" }} }}\n", disk.0.display());
    in_trouble(&stage, &export, &["space", "full"])
}
