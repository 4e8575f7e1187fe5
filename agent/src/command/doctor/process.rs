//! `wirespan doctor --pid N`: how far a running agent believes a process, and which of its bytes it could not read.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{super::stdout, running};
use crate::trace::ProcessConfidence;

/// Prints what the agent at `metrics` says of the process; false when it has seen no call of it.
pub(super) fn doctor(json: bool, pid: u32, metrics: &str) -> Result<bool> {
    let Some(told) = running::process(metrics, pid) else {
        bail!(
            "no agent answers at {metrics}: a running agent tells of its processes where `metrics.listen` of its configuration \
             says; give that address with --metrics"
        );
    };
    if json {
        stdout::print(&format!("{}\n", serde_json::to_string_pretty(&as_json(pid, &told))?))?;
    } else {
        stdout::print(&text(pid, &told)?)?;
    }
    Ok(told.standing.is_some())
}

fn text(pid: u32, told: &running::Process) -> Result<String> {
    let mut out = String::new();
    match &told.standing {
        Some(standing) => writeln!(out, "{standing}")?,
        None => {
            writeln!(out, "process {pid}: the agent has seen no call of it (or 64 others have made more)")?;
        }
    }
    for line in &told.unreadable {
        writeln!(out, "  not read: {line}")?;
    }
    Ok(out)
}

fn as_json(pid: u32, told: &running::Process) -> Value {
    json!({ "pid": pid, "belief": told.standing.as_ref().map(belief), "unreadable": told.unreadable })
}

fn belief(standing: &ProcessConfidence) -> Value {
    let figures: serde_json::Map<String, Value> =
        standing.figures.list().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    json!({ "service": &*standing.service, "standing": standing.level.name(), "figures": figures })
}
