//! Runs the agent for a test: starts it with the test's configuration, stops it with SIGTERM and
//! reads its spans.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    machine,
    process::{Launch, Process},
    span::{self, SpanRow},
    stage::{self, Stage},
};

/// A `wirespan run` that has reported `ready`.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    spans: PathBuf,
    metrics: u16,
}

impl Agent {
    /// Starts it for everything in the stage's cgroup and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready; the error has its output.
    pub fn start(stage: &Stage) -> Result<Self> {
        Self::with_select(stage, &stage.select())
    }

    /// Starts it with another `select` (and whatever else `text` holds of the configuration, save
    /// `export` and `metrics`).
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn with_select(stage: &Stage, text: &str) -> Result<Self> {
        Self::to_file(stage, text, None)
    }

    /// Starts it for everything in the stage's cgroup; it also records into this file.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn recording(stage: &Stage, log: &Path) -> Result<Self> {
        Self::to_file(stage, &stage.select(), Some(log))
    }

    /// Starts this binary with its files in `dir`; `text` holds the configuration save `export` and
    /// `metrics`.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn of(binary: &Path, dir: &Path, text: &str, log: Option<&Path>) -> Result<Self> {
        let (metrics, spans) = (stage::port(), dir.join("spans.jsonl"));
        let config = dir.join("agent.yaml");
        let export = format!("export: {{ file: {{ path: \"{}\" }} }}\n", spans.display());
        let listen = format!("metrics: {{ listen: \"127.0.0.1:{metrics}\" }}\n");
        fs::write(&config, format!("{text}{export}{listen}"))?;
        let launch = Launch::new(binary).arg("run").arg("--config").arg(config);
        Self::launched(launch, dir, log, spans, metrics)
    }

    fn to_file(stage: &Stage, text: &str, log: Option<&Path>) -> Result<Self> {
        let spans = stage.dir().join(format!("spans-{}.jsonl", stage::port()));
        let export = format!("export: {{ file: {{ path: \"{}\" }} }}\n", spans.display());
        let metrics = stage::port();
        let listen = format!("metrics: {{ listen: \"127.0.0.1:{metrics}\" }}\n");
        let config = stage.file(&format!("agent-{metrics}.yaml"), &format!("{text}{export}{listen}"))?;
        Self::launched(command(&config)?, stage.dir(), log, spans, metrics)
    }

    /// Starts it, or this binary, for everything in the stage's cgroup, exporting by OTLP/HTTP to
    /// this port of loopback.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn exporting(stage: &Stage, port: u16, compression: &str, binary: Option<&Path>) -> Result<Self> {
        let export = format!(
            "export: {{ otlp: {{ endpoint: \"http://127.0.0.1:{port}\", protocol: http/protobuf, compression: {compression} }} }}\n"
        );
        let metrics = stage::port();
        let listen = format!("metrics: {{ listen: \"127.0.0.1:{metrics}\" }}\n");
        let text = format!("{}{export}{listen}", stage.select());
        let config = stage.file(&format!("agent-{metrics}.yaml"), &text)?;
        let launch = match binary {
            Some(binary) => Launch::new(binary).arg("run").arg("--config").arg(&config),
            None => command(&config)?,
        };
        Self::launched(launch, stage.dir(), None, stage.dir().join("no-spans"), metrics)
    }

    fn launched(
        launch: Launch<'_>,
        dir: &Path,
        log: Option<&Path>,
        spans: PathBuf,
        metrics: u16,
    ) -> Result<Self> {
        let launch = log.into_iter().fold(launch, |launch, log| launch.arg("--record").arg(log));
        let mut process = launch.start(dir)?;
        process.says("ready")?;
        Ok(Self { process, spans, metrics })
    }

    /// The agent's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The file of what it writes to standard error, to be read after its end.
    #[must_use]
    pub fn stderr_file(&self) -> PathBuf {
        self.process.stderr_file().to_owned()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for its end, which something else than [`Agent::stop`] has asked for.
    ///
    /// # Errors
    /// When it does not end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait()
    }

    /// Ends it at once, as the kernel's memory killer would.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait().map(drop)
    }

    /// The address of its metrics.
    #[must_use]
    pub fn metrics_address(&self) -> String {
        format!("127.0.0.1:{}", self.metrics)
    }

    /// Its self-metrics as Prometheus text.
    ///
    /// # Errors
    /// When its listener does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).context("no metrics listener")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("the metrics do not end")?;
        Ok(Metrics(text))
    }

    /// Stops it with SIGTERM. It must drain and exit with 0 within the 5 s that it promises.
    /// Returns every span that it exported.
    ///
    /// # Errors
    /// When it breaks that promise.
    pub fn stop(self) -> Result<Vec<SpanRow>> {
        let spans = self.finish()?;
        if spans.exists() { span::read(&spans) } else { Ok(Vec::new()) }
    }

    /// As [`Agent::stop`], for more spans than a test wants to read: returns the file.
    ///
    /// # Errors
    /// When it breaks that promise.
    pub fn finish(mut self) -> Result<PathBuf> {
        let asked = Instant::now();
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the agent ended with {status}: {}", self.log());
        ensure!(asked.elapsed() < Duration::from_secs(5), "the agent took {:?} to end", asked.elapsed());
        Ok(self.spans.clone())
    }

    /// The file that the spans go to.
    #[must_use]
    pub fn spans_file(&self) -> &Path {
        &self.spans
    }
}

/// The command `wirespan run --config FILE`, in the attach mode that `WIRESPAN_ATTACH_MODE` names.
///
/// # Errors
/// When there is no agent to run.
pub fn command(config: &Path) -> Result<Launch<'static>> {
    let launch = Launch::new(machine::wirespan()?).arg("run").arg("--config").arg(config);
    Ok(match env::var("WIRESPAN_ATTACH_MODE") {
        Ok(attach_mode) if !attach_mode.is_empty() => launch.arg("--attach-mode").arg(attach_mode),
        _ => launch,
    })
}

/// Self-metrics in Prometheus text.
#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    /// The sum of a metric over the label sets that contain all of `labels` (e.g. `reason="ring"`).
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let (key, value) = line.rsplit_once(' ')?;
                let (metric, set) = key.split_once('{').unwrap_or((key, ""));
                let matches = metric == name && labels.iter().all(|label| set.contains(label));
                matches.then(|| value.parse::<f64>().ok())?
            })
            .sum()
    }

    /// Every line whose metric counts something lost (`dropped` or `unrecorded` in its name) and is
    /// not 0.
    #[must_use]
    pub fn losses(&self) -> Vec<String> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let counts = |line: &&str| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            ["dropped", "unrecorded"].iter().any(|word| name.contains(word))
        };
        lines.filter(counts).filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
    }

    /// The text itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}
