//! One run: a new process of an application at one concurrency, with a new agent. Both are ended
//! whatever happens.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    agent::{Agent, Metrics},
    cgroup::Cgroup,
    span,
};

use super::{
    Sample,
    apps::{App, Survives},
    backend::Backend,
    driver::{self, Concurrency, Load},
    failure::Failing,
    install::Tools,
    judge::judge,
    start,
};

/// Wait after the last response, until calls that were made after it have ended and connections
/// without a second end are given up (200 ms).
const QUIET: Duration = Duration::from_millis(600);

/// Where several requests share a call, no more than this many per call are sent.
const SHARED_BY: u64 = 20;

/// What one run does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) concurrency: Concurrency,
    pub(super) failing: Failing,
    /// About this many calls.
    pub(super) calls: u64,
}

/// What every run needs.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) agent: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) keep: Option<PathBuf>,
    /// Further lines of the agent's configuration.
    pub(super) config: String,
}

impl Rig {
    /// Runs an application until it has made about the number of calls that is asked for.
    pub(super) fn run(&self, app: &App, tools: &Tools, run: Run) -> Result<Sample> {
        let dir = Directory::create(self.dir.join(format!("run-{}", std::process::id())))?;
        let done = self.run_in(&dir.0, app, tools, run);
        if let Some(keep) = &self.keep {
            let fails = if run.failing.none() { String::new() } else { format!("-fails-{}", run.failing) };
            self.keep(&dir.0, &keep.join(format!("{}-{}{fails}", app.name, run.concurrency)))?;
        }
        done
    }

    fn run_in(&self, dir: &Path, app: &App, tools: &Tools, run: Run) -> Result<Sample> {
        let Run { concurrency, failing, calls } = run;
        let backend = Backend::start()?;
        let cgroup = Cgroup::create("links")?;
        let running = start::start(app, tools, backend.port, &cgroup, dir)?;
        let select = format!("select: [ {{ cgroup: \"{}\" }} ]", cgroup.path());
        let config = [select.as_str(), app.config, &self.config, ""].join("\n");
        let log = dir.join("events.wslog");
        let agent = Agent::of(&self.agent, dir, &config, self.keep.is_some().then_some(log.as_path()))?;
        let before = backend.calls();
        let load = Load {
            concurrency,
            requests: if app.calls == 0 { calls * SHARED_BY } else { calls.div_ceil(app.calls) },
            same: app.mode == "same",
            failing,
            refuses: app.survives == Some(Survives::Refused),
        };
        let outcome = driver::drive(running.port, load, &|part, parts| {
            app.calls > 0 || backend.calls() - before < calls * part / parts
        });
        settle(&backend);
        let made = backend.calls() - before;
        let metrics = agent.metrics()?;
        if self.keep.is_some() {
            fs::write(dir.join("metrics.txt"), metrics.text())?;
        }
        let file = agent.finish()?;
        // An application that gives up after 150 ms may do so because the machine is busy.
        let tolerated = if failing.none() { 0 } else { outcome.answered / 100 };
        ensure!(
            outcome.failed <= tolerated,
            "{} of {} requests failed: {}; the application said: {}",
            outcome.failed,
            outcome.failed + outcome.answered,
            outcome.complaint.unwrap_or_default(),
            running.last_words()
        );
        let spans = span::read(&file).context("no span was exported")?;
        Ok(Sample { concurrency, failing, made, verdict: judge(&spans), losses: losses(&metrics) })
    }

    fn keep(&self, from: &Path, to: &Path) -> Result<()> {
        fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
        for entry in fs::read_dir(from)?.flatten().filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// Waits until no call arrives any more, and until the agent has read what there is.
fn settle(backend: &Backend) {
    let mut last = backend.calls();
    loop {
        thread::sleep(QUIET);
        let now = backend.calls();
        if now == last || super::interrupted() {
            return;
        }
        last = now;
    }
}

/// What the agent counted as lost, and the calls that have no parent because of it.
fn losses(metrics: &Metrics) -> Vec<String> {
    let mut lines = metrics.losses();
    let by_loss = metrics.sum("wirespan_trace_roots_total", &["reason=\"records_lost\""]);
    if by_loss > 0.0 {
        lines.push(format!("{by_loss} roots for loss"));
    }
    lines
}

/// A directory that goes when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn create(path: PathBuf) -> Result<Self> {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
