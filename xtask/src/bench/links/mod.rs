//! `cargo xtask bench links`: how many calls of real applications get their parent, and that no
//! call gets another's.
//!
//! Each application stands between the bench's own driver and backend, both untraced. A request
//! `/in/ID` makes it call `/out/ID` (or several), so that the number in the path is the truth by
//! which the agent's spans are judged.

mod apps;
mod backend;
mod database;
mod driver;
mod failure;
mod http;
mod install;
mod judge;
mod report;
mod row;
mod servers;
mod start;

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, bail};

use self::{
    apps::{APPS, App},
    driver::Concurrency,
    failure::Failing,
    install::Toolbox,
    report::{Report, Sample},
    row::{Rig, Run},
};
use crate::{build, setup, sh};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Only these applications; `*` stands for any text, several with commas between
    #[arg(long, default_value = "*")]
    app: String,
    /// Connections that the driver keeps busy; `ramp`: 1, 64, 1, 8 and 32 in turn
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,64,ramp")]
    concurrency: Vec<Concurrency>,
    /// Percent of the calls that fail, in five ways; `down`: all of the middle third. Applications
    /// that end on a failed call are left out where it is not 0
    #[arg(long, value_delimiter = ',', default_value = "0")]
    failing: Vec<Failing>,
    /// Calls per application, over all concurrencies, for each kind of failing
    #[arg(long, default_value_t = 20_500)]
    calls: u64,
    /// The agent's binary; a release build of this workspace without it
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Keep spans, the agent's output and metrics, and the recorded event log of each run in this
    /// directory
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Further lines of the agent's configuration, such as `causality: { response_side: false }`
    #[arg(long, default_value = "")]
    config: String,
    /// Write the table as Markdown at the end
    #[arg(long)]
    markdown: bool,
    /// Only name the applications
    #[arg(long)]
    list: bool,
}

/// Set by an interrupt: stop, and leave nothing behind.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let apps: Vec<&App> = APPS.iter().filter(|app| apps::matches(&arguments.app, app.name)).collect();
    if apps.is_empty() {
        bail!("no application is called {}; --list names them", arguments.app);
    }
    if arguments.list {
        for app in apps {
            println!("{}", app.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let agent = match &arguments.agent {
        Some(path) => path.canonicalize().with_context(|| format!("no agent at {}", path.display()))?,
        None => {
            setup::run()?;
            build::agent(build::Profile::Release)?
        }
    };
    if !sh::is_root() {
        println!("links: tracing needs root: asking sudo");
        return sh::again_as_root(&agent);
    }
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("cannot handle interrupts")?;
    measure(arguments, &apps, agent)
}

fn measure(arguments: &Arguments, apps: &[&App], agent: PathBuf) -> Result<ExitCode> {
    let dir = sh::target().join("bench-links");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // Programs run in other directories, so paths must be absolute.
    let dir = dir.canonicalize()?;
    let mut tools = Toolbox::new(dir.clone());
    let rig = Rig { agent, dir, keep: arguments.keep.clone(), config: arguments.config.clone() };
    let mut report = Report::new();
    let runs = u64::try_from(arguments.concurrency.len()).unwrap_or(1).max(1);
    for app in apps {
        let tools = match tools.prepare_for(app) {
            Ok(tools) => tools,
            Err(err) => {
                report.skip(app, &format!("{err:#}"));
                continue;
            }
        };
        for &failing in arguments.failing.iter().filter(|failing| failing.none() || app.survives.is_some()) {
            for &concurrency in &arguments.concurrency {
                let calls = arguments.calls.div_ceil(runs);
                let sample = rig.run(app, &tools, Run { concurrency, failing, calls });
                if interrupted() {
                    report.finish(arguments.markdown);
                    bail!("interrupted");
                }
                match sample {
                    Ok(sample) => report.add(app, sample),
                    Err(err) => report.fail(app, concurrency, &format!("{err:#}")),
                }
            }
            report.close(app);
        }
    }
    report.finish(arguments.markdown);
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
