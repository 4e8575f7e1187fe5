//! `wirespan doctor`: whether this machine can be traced, by which hooks, and what prevents it. It
//! loads, attaches and tests the programs, and then removes them.

mod check;
mod hazard;
mod process;
mod running;

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::stdout;
use crate::session::status::Count;
use crate::source::kernel::{AttachMode, AttachReport, HookState, KernelSource, Settings};
use check::{Check, Verdict};
use running::AskError;

/// Everything that `doctor` found.
#[derive(Debug, Serialize)]
struct Report {
    /// Tracing works on this machine.
    works: bool,
    /// The attach mode in use.
    attach_mode: Option<String>,
    checks: Vec<Check>,
    hooks: Vec<Hook>,
    /// Attach modes that were not taken, and why.
    rejected: Vec<Rejected>,
    hazards: Vec<Check>,
    /// What a running agent could not read or did not trace, by reason; `None` when none answers.
    running_agent: Option<Vec<Count>>,
    /// Why no agent's status is known.
    running_agent_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Hook {
    name: String,
    kind: String,
    attached: bool,
    reason: Option<String>,
    without: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rejected {
    attach_mode: String,
    reason: String,
}

/// Prints what a running agent knows of one process; true when it knows something.
pub(super) fn doctor_of(json: bool, pid: u32, metrics: &str) -> Result<bool> {
    process::doctor(json, pid, metrics)
}

/// Prints the report; true when tracing works.
pub(super) fn doctor(json: bool, attach_mode: Option<AttachMode>, metrics: &str) -> Result<bool> {
    let report = examine(attach_mode, metrics);
    if json {
        stdout::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        stdout::print(&text(&report)?)?;
    }
    Ok(report.works)
}

fn examine(attach_mode: Option<AttachMode>, metrics: &str) -> Report {
    let mut checks = check::all();
    let settings = Settings { attach_mode, ..Settings::default() };
    let mut attach = AttachReport::default();
    let works = match KernelSource::start(&settings) {
        Ok(source) => {
            attach = source.report().clone();
            checks.push(Check::new("programs", Verdict::Yes, "loaded, attached and tested on loopback"));
            true
        }
        Err(error) => {
            checks.push(Check::new("programs", Verdict::No, &error.to_string()));
            false
        }
    };
    let (running_agent, running_agent_error) = match running::status(metrics) {
        Ok(status) => (Some(status.unreadable), None),
        // It is no error here that no agent runs.
        Err(AskError::Nobody { address, .. }) => {
            (None, Some(format!("none answers at {address} (give its address with --metrics)")))
        }
        Err(error) => (None, Some(error.to_string())),
    };
    Report {
        works,
        attach_mode: attach.mode.map(str::to_owned),
        checks,
        hooks: attach.hooks.into_iter().map(Hook::from).collect(),
        rejected: attach
            .rejected
            .into_iter()
            .map(|(attach_mode, reason)| Rejected { attach_mode: attach_mode.to_owned(), reason })
            .collect(),
        hazards: hazard::all(),
        running_agent,
        running_agent_error,
    }
}

impl From<crate::source::kernel::HookReport> for Hook {
    fn from(hook: crate::source::kernel::HookReport) -> Self {
        let (attached, reason) = match hook.state {
            HookState::Attached => (true, None),
            HookState::Refused(reason) => (false, Some(reason)),
        };
        Self {
            name: hook.hook,
            kind: hook.kind.to_owned(),
            attached,
            reason,
            without: hook.without.map(str::to_owned),
        }
    }
}

/// The report for people.
fn text(report: &Report) -> Result<String> {
    let mut out = String::new();
    writeln!(out, "wirespan {} doctor", env!("CARGO_PKG_VERSION"))?;
    for check in &report.checks {
        writeln!(out, "  {check}")?;
    }
    writeln!(out, "hooks (attach mode: {}):", report.attach_mode.as_deref().unwrap_or("none"))?;
    for hook in &report.hooks {
        let mark = if hook.attached { "yes" } else { "no " };
        write!(out, "  {mark}  {:<10} {}", hook.kind, hook.name)?;
        match (&hook.reason, &hook.without) {
            (Some(reason), Some(without)) => writeln!(out, ": {reason}; without it: {without}")?,
            (Some(reason), None) => writeln!(out, ": {reason}")?,
            (None, _) => writeln!(out)?,
        }
    }
    for rejected in &report.rejected {
        writeln!(out, "  not taken: {}: {}", rejected.attach_mode, rejected.reason)?;
    }
    writeln!(out, "hazards:")?;
    for hazard in &report.hazards {
        writeln!(out, "  {hazard}")?;
    }
    match (&report.running_agent, &report.running_agent_error) {
        (Some(counts), _) if counts.is_empty() => {
            writeln!(out, "running agent: all bytes could be read, nothing was left untraced")?;
        }
        (Some(counts), _) => {
            writeln!(out, "running agent, what could not be read and what was not traced:")?;
            for count in counts {
                writeln!(out, "  {}", running::line(count))?;
            }
        }
        (None, error) => writeln!(out, "running agent: {}", error.as_deref().unwrap_or("none"))?,
    }
    writeln!(
        out,
        "{}",
        if report.works { "tracing works" } else { "tracing does NOT work: see the lines marked no" }
    )?;
    Ok(out)
}
