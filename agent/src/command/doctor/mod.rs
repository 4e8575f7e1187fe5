//! `wirespan doctor`: can this machine be traced, by which hooks, and what stands in the way. It really loads, attaches and
//! tests the programs, then takes everything away again.

mod check;
mod hazard;
mod process;
mod running;

use anyhow::Result;
use serde::Serialize;

use crate::source::kernel::{HookState, KernelSource, LadderReport, Rung, Settings};
use check::{Check, Verdict};

/// Everything that `doctor` found.
#[derive(Debug, Serialize)]
struct Report {
    /// Tracing works on this machine.
    works: bool,
    /// The rung in use.
    rung: Option<String>,
    checks: Vec<Check>,
    hooks: Vec<Hook>,
    /// Rungs that were not taken, and why.
    rejected: Vec<Rejected>,
    hazards: Vec<Check>,
    /// What a running agent could not read, by reason and process; `None` when none answers.
    running_agent: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Hook {
    name: String,
    rung: String,
    attached: bool,
    reason: Option<String>,
    without: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rejected {
    rung: String,
    reason: String,
}

/// Prints what a running agent knows of one process; true when it knows something.
pub(super) fn doctor_of(json: bool, pid: u32, metrics: &str) -> Result<bool> {
    process::doctor(json, pid, metrics)
}

/// Prints the report; true when tracing works.
pub(super) fn doctor(json: bool, rung: Option<Rung>, metrics: &str) -> Result<bool> {
    let report = examine(rung, metrics);
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(report.works)
}

fn examine(rung: Option<Rung>, metrics: &str) -> Report {
    let mut checks = check::all();
    let settings = Settings { rung, ..Settings::default() };
    let mut ladder = LadderReport::default();
    let works = match KernelSource::start(&settings) {
        Ok(source) => {
            ladder = source.report().clone();
            checks.push(Check::new("programs", Verdict::Yes, "loaded, attached and tested on loopback"));
            true
        }
        Err(error) => {
            checks.push(Check::new("programs", Verdict::No, &error.to_string()));
            false
        }
    };
    Report {
        works,
        rung: ladder.rung.map(str::to_owned),
        checks,
        hooks: ladder.hooks.into_iter().map(Hook::from).collect(),
        rejected: ladder
            .rejected
            .into_iter()
            .map(|(rung, reason)| Rejected { rung: rung.to_owned(), reason })
            .collect(),
        hazards: hazard::all(),
        running_agent: running::unreadable(metrics),
    }
}

impl From<crate::source::kernel::HookReport> for Hook {
    fn from(hook: crate::source::kernel::HookReport) -> Self {
        let (attached, reason) = match hook.state {
            HookState::Attached => (true, None),
            HookState::NotNeeded => (false, Some("a better rung serves".to_owned())),
            HookState::Refused(reason) => (false, Some(reason)),
        };
        Self {
            name: hook.hook,
            rung: hook.rung.to_owned(),
            attached,
            reason,
            without: hook.without.map(str::to_owned),
        }
    }
}

fn print(report: &Report) {
    println!("wirespan {} doctor", env!("CARGO_PKG_VERSION"));
    for check in &report.checks {
        println!("  {check}");
    }
    println!("hooks (rung in use: {}):", report.rung.as_deref().unwrap_or("none"));
    for hook in &report.hooks {
        let mark = if hook.attached { "yes" } else { "no " };
        print!("  {mark}  {:<10} {}", hook.rung, hook.name);
        match (&hook.reason, &hook.without) {
            (Some(reason), Some(without)) => println!(": {reason}; without it: {without}"),
            (Some(reason), None) => println!(": {reason}"),
            (None, _) => println!(),
        }
    }
    for rejected in &report.rejected {
        println!("  not taken: {}: {}", rejected.rung, rejected.reason);
    }
    println!("hazards:");
    for hazard in &report.hazards {
        println!("  {hazard}");
    }
    match &report.running_agent {
        None => println!("running agent: none answers (give its address with --metrics)"),
        Some(lines) if lines.is_empty() => println!("running agent: nothing withheld, nothing untraced"),
        Some(lines) => {
            println!("running agent, calls whose bytes could not be read and what was not traced:");
            for line in lines {
                println!("  {line}");
            }
        }
    }
    println!(
        "{}",
        if report.works { "tracing works" } else { "tracing does NOT work: see the lines marked no" }
    );
}
