//! `wirespan doctor --pid N`: how far a running agent trusts a process's links, and which of its
//! bytes it could not read.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use super::{super::stdout, running};
use crate::session::status::Process;

/// Prints what the agent at `metrics` says of the process; false when it has seen no call of it.
pub(super) fn doctor(json: bool, pid: u32, metrics: &str) -> Result<bool> {
    let status = running::status(metrics)?;
    let known = status.processes.into_iter().find(|process| process.pid == pid);
    let process = known.unwrap_or_else(|| Process { pid, ..Process::default() });
    if json {
        stdout::print(&format!("{}\n", serde_json::to_string_pretty(&as_json(&process))?))?;
    } else {
        stdout::print(&text(&process)?)?;
    }
    Ok(process.confidence.is_some())
}

fn text(process: &Process) -> Result<String> {
    let mut out = String::new();
    match (process.standing(), &process.confidence) {
        (Some(standing), _) => writeln!(out, "{standing:#}")?,
        // An agent of another version may use other words.
        (None, Some(confidence)) => {
            writeln!(out, "{} (pid {}): {}", confidence.service, process.pid, confidence.level)?;
            for (name, value) in &confidence.figures {
                writeln!(out, "  {name} {value}")?;
            }
        }
        (None, None) => writeln!(
            out,
            "process {}: the agent has seen no outbound request of it (or 64 others have made more)",
            process.pid
        )?,
    }
    for (reason, count) in &process.not_captured {
        writeln!(out, "  not captured: {count} system calls ({reason})")?;
    }
    Ok(out)
}

fn as_json(process: &Process) -> Value {
    json!({ "pid": process.pid, "confidence": process.confidence, "not_captured": process.not_captured })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::status::Confidence;

    #[test]
    fn what_is_known_of_a_process() {
        let mut process = Process { pid: 7, ..Process::default() };
        assert!(text(&process).unwrap().contains("process 7: the agent has seen no outbound request of it"));
        process.not_captured.insert("io_uring".to_owned(), 3);
        assert!(text(&process).unwrap().ends_with("  not captured: 3 system calls (io_uring)\n"));
        process.confidence = Some(Confidence {
            service: "shop".to_owned(),
            level: "new".to_owned(),
            figures: [("linked".to_owned(), 9)].into(),
        });
        assert!(text(&process).unwrap().starts_with("shop (pid 7): new\n  linked 9\n"));
    }
}
