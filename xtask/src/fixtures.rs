//! `cargo xtask fixtures`: records the event logs of real servers again, with the spans that a
//! replay makes of them and the list of what the clients did. tests/fixtures/log/README.md says
//! what they are for.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use wirespan_tests::{
    clients::{self, Client, Exchange, Request},
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    programs::Service,
    stage::{self, Stage},
};

use crate::{build, setup, sh};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which ones to record; all when none is named
    names: Vec<String>,
}

/// Most bytes of a fixture.
const MAX_BYTES: usize = 60_000;

/// A fixture: its name, the programs that it needs, and what happens in it.
type Fixture = (&'static str, &'static [&'static str], fn(&Scene) -> Result<Recorded>);

/// To add a fixture, add a line here and a function.
const FIXTURES: [Fixture; 9] = [
    ("python", &["/usr/bin/python3", "curl"], |scene| scene.direct(Service::Python, Client::Curl)),
    ("wsgi", &["/usr/bin/python3"], |scene| scene.direct(Service::Wsgi, Client::Python)),
    ("node", &["node"], |scene| scene.direct(Service::Node, Client::Node)),
    ("go", &["go"], |scene| scene.direct(Service::Go, Client::Go)),
    ("java", &["java", "javac", "/usr/bin/python3"], |scene| scene.direct(Service::Java, Client::Python)),
    ("nginx", &["nginx", "curl"], nginx),
    ("proxy", &["nginx", "node", "/usr/bin/python3", "curl"], proxy),
    ("command", &["nginx", "/usr/bin/python3", "curl"], command),
    ("loss", &["/usr/bin/python3", "curl"], loss),
];

/// Made of `proxy` by cutting it.
const CUT: &str = "cut";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    for name in &arguments.names {
        ensure!(FIXTURES.iter().any(|(known, ..)| known == name), "there is no fixture {name}");
    }
    setup::run()?;
    let agent = build::agent(build::Profile::Release)?;
    if !sh::is_root() {
        println!("fixtures: tracing needs root: asking sudo");
        return sh::again_as_root(&agent);
    }
    let folder = sh::root().join("tests/fixtures/log");
    for (name, needs, happens) in FIXTURES {
        if !arguments.names.is_empty() && arguments.names.iter().all(|asked| asked != name) {
            continue;
        }
        let Some(stage) = Stage::alone(&format!("fixture-{name}"), needs) else {
            bail!("{name} cannot be recorded on this machine")
        };
        let scene = Scene { stage, agent: agent.clone() };
        let recorded = happens(&scene).with_context(|| name.to_owned())?;
        recorded.keep(&scene, &folder, name).with_context(|| name.to_owned())?;
        if name == "proxy" {
            let mut cut = recorded;
            cut.log.truncate(middle_of_the_last_answer(&cut.log)?);
            cut.partly = true;
            cut.live = None;
            cut.keep(&scene, &folder, CUT).context(CUT)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a fixture is recorded.
struct Scene {
    stage: Stage,
    agent: PathBuf,
}

/// What was recorded.
struct Recorded {
    log: Vec<u8>,
    /// The spans that the agent exported meanwhile.
    live: Option<Vec<u8>>,
    /// What the clients did, by kind of span.
    expected: Vec<(&'static str, Exchange)>,
    /// Whether something is missing on purpose.
    partly: bool,
}

/// The middle of the last block that has more than a few ticks. Requests of earlier blocks are open
/// there.
fn middle_of_the_last_answer(log: &[u8]) -> Result<usize> {
    const FILE_HEADER: usize = 16;
    const BLOCK_HEADER: usize = 20;
    const FEW_TICKS: usize = 1_000;
    let (mut at, mut found) = (FILE_HEADER, None);
    while let Some((length, _)) = log.get(at..).and_then(|block| block.split_first_chunk()) {
        let size = BLOCK_HEADER + u32::from_le_bytes(*length) as usize;
        if size > FEW_TICKS {
            found = Some(at + size / 2);
        }
        at += size;
    }
    found.context("the log has no such block")
}

/// One request of each sort.
fn requests() -> Vec<Request> {
    let list = [
        ("GET", "/hello/first", 0),
        ("HEAD", "/hello/head", 0),
        ("GET", "/hello/query?lang=en&page=2", 0),
        ("GET", "/bytes/5000/known-length", 0),
        ("POST", "/echo/short", 300),
        ("GET", "/chunked/2500/framed", 0),
        ("GET", "/empty/none", 0),
        ("GET", "/missing/this", 0),
        ("GET", "/fail/always", 0),
        ("POST", "/echo/longer", 4_500),
        ("GET", "/hello/last", 0),
    ];
    list.map(|(method, path, size)| Request { method, path: path.to_owned(), size }).into()
}

fn get(path: impl Into<String>) -> Request {
    Request { method: "GET", path: path.into(), size: 0 }
}

impl Scene {
    /// An agent without a host's attributes, so that none of this host's is recorded.
    fn agent(&self, words: &[&str]) -> Result<Process> {
        let id = self.stage.file("machine-id", "00000000000000000000000000000000\n")?;
        let script = "echo fixture >/proc/sys/kernel/hostname && \
                      { [ ! -e /etc/machine-id ] || mount --bind \"$0\" /etc/machine-id; } && exec \"$@\"";
        let launch = Launch::new("unshare").args(["--uts", "--mount", "sh", "-c", script]).arg(id);
        launch.arg(&self.agent).args(words).env("OTEL_RESOURCE_ATTRIBUTES", "").start(self.stage.dir())
    }

    /// Records everything that happens in the stage's cgroup meanwhile. `more` is added to the
    /// agent's configuration.
    fn record(&self, more: &str, happens: impl FnOnce() -> Result<Vec<Exchange>>) -> Result<Recorded> {
        let (log, live) = (self.stage.dir().join("log"), self.stage.dir().join("live.jsonl"));
        let text = format!(
            "{}export: {{ file: {{ path: \"{}\" }} }}\nmetrics: {{ listen: \"127.0.0.1:{}\" }}\n{more}",
            self.stage.select(),
            live.display(),
            stage::port()
        );
        let config = self.stage.file("agent.yaml", &text)?;
        let words = ["run", "--config", &config.to_string_lossy(), "--record", &log.to_string_lossy()];
        let mut agent = self.agent(&words)?;
        agent.says("ready")?;
        let made = happens()?;
        agent.signal(Signal::SIGTERM)?;
        let status = agent.wait()?;
        ensure!(status.success(), "the agent ended with {status}: {}", agent.stderr());
        ensure!(agent.stderr().contains(" 0 events dropped"), "{}", agent.stderr());
        let expected = made.into_iter().flat_map(hops).collect();
        Ok(Recorded { log: fs::read(log)?, live: Some(fs::read(live)?), expected, partly: false })
    }

    /// A client and a server, both traced.
    fn direct(&self, service: Service, client: Client) -> Result<Recorded> {
        let server = service.start(&self.stage)?;
        self.record("", || client.run(&self.stage, server.port, &requests()))
    }

    /// curl with these header fields.
    fn curl(&self, port: u16, requests: &[Request], headers: &[&str]) -> Result<Vec<Exchange>> {
        let config = clients::curl_config(&self.stage, port, requests, headers)?;
        let curl = Launch::new(clients::curl()?).args(["-q", "-K"]).arg(config).inside(&self.stage.cgroup);
        clients::exchanges(&curl.start(self.stage.dir())?.finish()?, requests)
    }
}

/// nginx alone: keep-alive, a file that the client has already, chunks made by nginx.
fn nginx(scene: &Scene) -> Result<Recorded> {
    let fresh = "        location /fresh/ { if_modified_since before; rewrite ^ /files/100 break; }\n";
    let nginx = Nginx::start(&scene.stage.cgroup, scene.stage.dir(), fresh)?;
    let mut list = requests();
    // The size for which there is a file.
    for request in list.iter_mut().filter(|request| request.path.starts_with("/chunked/")) {
        request.path = "/chunked/5000/framed".to_owned();
    }
    list.insert(3, get("/fresh/still"));
    let header = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT";
    scene.record("", || scene.curl(nginx.port, &list, &[header]))
}

/// The prefix of the path at nginx, which the service behind it does not see.
const PREFIXES: [&str; 2] = ["/node/", "/python/"];

/// nginx before Node (HTTP/1.1, chunked) and before Python, which asks Node.
fn proxy(scene: &Scene) -> Result<Recorded> {
    let (node, python) = (Service::Node.start(&scene.stage)?, Service::Python.start(&scene.stage)?);
    let locations = format!(
        "        location /node/ {{ proxy_pass http://127.0.0.1:{}/; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n        \
         location /python/ {{ proxy_pass http://127.0.0.1:{}/; }}\n",
        node.port, python.port
    );
    let nginx = Nginx::start(&scene.stage.cgroup, scene.stage.dir(), &locations)?;
    let list = [
        get("/node/chunked/2500/one"),
        get("/python/hello/two"),
        Request { method: "HEAD", path: "/node/hello/three".to_owned(), size: 0 },
        Request { method: "POST", path: "/python/echo/four".to_owned(), size: 300 },
        get(format!("/python/call/{}/hello/five", node.port)),
        get("/hello/six"),
        get(format!("/python/call/{}/missing/seven", node.port)),
        get("/node/fail/eight"),
        get(format!("/python/call/{}/slow/400/nine", node.port)),
    ];
    scene.record("", || {
        let mut made = vec![];
        for some in list.chunks(4) {
            made.extend(scene.curl(nginx.port, some, &[])?);
            // The recorder ends a block with each tick, and a cut leaves whole blocks.
            thread::sleep(Duration::from_millis(300));
        }
        Ok(made)
    })
}

/// `wirespan trace --record FILE -- curl …`, with a context from outside.
fn command(scene: &Scene) -> Result<Recorded> {
    let python = Service::Python.start(&scene.stage)?;
    let location = format!("        location /python/ {{ proxy_pass http://127.0.0.1:{}/; }}\n", python.port);
    let nginx = Nginx::start(&scene.stage.cgroup, scene.stage.dir(), &location)?;
    let list = [get("/python/hello/one"), get("/hello/two"), get("/python/bytes/2000/three")];
    let context = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let config = clients::curl_config(&scene.stage, nginx.port, &list, &[context])?;
    let (log, curl) = (scene.stage.dir().join("log"), clients::curl()?);
    let (log_path, curl, config) = (log.to_string_lossy(), curl.to_string_lossy(), config.to_string_lossy());
    let cgroup = scene.stage.cgroup.path();
    let words = [
        "trace", "--cgroup", cgroup, "--record", &log_path, "--format", "json", "--", &curl, "-q", "-K",
        &config,
    ];
    let said = scene.agent(&words)?.finish()?;
    let (spans, reports): (Vec<_>, Vec<_>) = said.lines().partition(|line| line.starts_with('{'));
    ensure!(!spans.is_empty(), "no span was shown: {said}");
    let made = clients::exchanges(&reports.join("\n"), &list)?;
    let expected = made.into_iter().flat_map(hops).collect();
    Ok(Recorded { log: fs::read(&log)?, live: None, expected, partly: false })
}

/// More requests at once than a ring of one page holds.
fn loss(scene: &Scene) -> Result<Recorded> {
    let server = Service::Python.start(&scene.stage)?;
    let url = format!("http://127.0.0.1:{}/hello/[1-40]", server.port);
    let report = "GET %{url_effective} %{http_code} 0 %{size_download}\\n";
    let capture = "capture: { bytes: 256, ring_bytes: 4096 }\n";
    let mut recorded = scene.record(capture, || {
        let curl = Launch::new(clients::curl()?).args(["-q", "-sS", "-Z", "--parallel-max", "10"]);
        let curl = curl.args(["-o", "/dev/null", "-w", report, &url]).inside(&scene.stage.cgroup);
        let host = format!("http://127.0.0.1:{}", server.port);
        let said = curl.start(scene.stage.dir())?.finish()?.replace(&host, "");
        let in_any_order: Vec<_> =
            said.lines().filter_map(|line| Some(get(line.split(' ').nth(1)?))).collect();
        ensure!(in_any_order.len() == 40, "{said}");
        clients::exchanges(&said, &in_any_order)
    })?;
    recorded.partly = true;
    Ok(recorded)
}

/// The spans of a request: of both its ends, and of the calls that it causes.
fn hops(mut exchange: Exchange) -> Vec<(&'static str, Exchange)> {
    let mut found = vec![];
    loop {
        found.extend(["client", "server"].map(|kind| (kind, exchange.clone())));
        let path = exchange.path.as_str();
        let proxied = PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix));
        let asked = || path.strip_prefix("/call/")?.split_once('/').map(|(_, inner)| inner);
        let Some(inner) = proxied.or_else(asked) else { return found };
        exchange.path = format!("/{inner}");
    }
}

impl Recorded {
    /// Puts the fixture into its folder, and checks what can only be checked here.
    fn keep(&self, scene: &Scene, folder: &Path, name: &str) -> Result<()> {
        let Self { log, live, expected, partly } = self;
        ensure!(log.len() <= MAX_BYTES, "{} bytes are no small log", log.len());
        for secret in private()? {
            let found = log.windows(secret.len()).any(|window| window == secret.as_bytes());
            ensure!(!found, "the log holds {secret:?}, which is of this machine");
        }
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let (kept, golden) = (file("wslog"), file("otlp.jsonl"));
        fs::write(&kept, log)?;
        let spans = scene.stage.dir().join(format!("{name}.jsonl"));
        let replayed =
            Command::new(&scene.agent).arg("replay").arg(&kept).arg("--export").arg(&spans).output()?;
        let said = String::from_utf8_lossy(&replayed.stderr);
        ensure!(replayed.status.success() || live.is_none(), "it cannot be replayed: {said}");
        let spans = fs::read(spans)?;
        ensure!(
            live.as_ref().is_none_or(|live| *live == spans),
            "a replay gives other spans than the run did"
        );
        fs::write(golden, &spans)?;
        let mut text = "# kind method path status request/response, as the clients reported it\n".to_owned();
        if *partly {
            text.push_str("# partly\n");
        }
        if name == CUT {
            text.push_str("# cut\n");
        }
        for (kind, Exchange { method, path, status, sent, received }) in expected {
            writeln!(text, "{kind} {method} {path} {status} {sent}/{received}")?;
        }
        fs::write(file("expected"), text)?;
        println!("fixtures: {name}: {} bytes, {} spans expected", log.len(), expected.len());
        Ok(())
    }
}

/// Texts that say which machine this is.
fn private() -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for path in ["/etc/machine-id", "/proc/sys/kernel/hostname", "/proc/sys/kernel/random/boot_id"] {
        let text = fs::read_to_string(path).unwrap_or_default();
        texts.insert(text.trim().to_owned());
    }
    if let Some(home) = std::env::var_os("HOME") {
        texts.insert(format!("{}/", home.to_string_lossy()));
    }
    texts.insert(sh::root().display().to_string());
    // A short name, such as "a", would be found everywhere.
    texts.retain(|text| text.len() > 3);
    ensure!(machine::lacks_kernel_access().is_none(), "only root can record");
    Ok(texts)
}
