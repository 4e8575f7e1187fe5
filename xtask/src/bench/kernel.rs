//! What the kernel knows of the agent: the time in its BPF programs, the memory of its maps.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::sh;

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// BPF run-time statistics, on while this lives. They cost every program of the host some nanoseconds per run.
#[derive(Debug)]
pub(super) struct Statistics {
    before: String,
}

impl Statistics {
    pub(super) fn enable() -> Result<Self> {
        let before = fs::read_to_string(STATS).with_context(|| format!("cannot read {STATS}"))?;
        fs::write(STATS, "1").with_context(|| format!("cannot write {STATS}"))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(err) = fs::write(STATS, self.before.trim()) {
            eprintln!("bench: {STATS} was {} and could not be restored: {err}", self.before.trim());
        }
    }
}

/// The ids of programs and maps that exist: what the agent adds is its own.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    programs: BTreeSet<u64>,
    maps: BTreeSet<u64>,
}

impl Inventory {
    pub(super) fn now() -> Result<Self> {
        let ids = |kind| {
            Ok::<_, anyhow::Error>(show(kind)?.iter().filter_map(|item| item["id"].as_u64()).collect())
        };
        Ok(Self { programs: ids("prog")?, maps: ids("map")? })
    }

    /// Nanoseconds spent and runs made in programs that are new since the inventory.
    pub(super) fn new_programs(&self) -> Result<(f64, f64)> {
        let programs = show("prog")?;
        let new =
            programs.iter().filter(|item| item["id"].as_u64().is_some_and(|id| !self.programs.contains(&id)));
        let sum = |(time, runs), item: &Value| {
            (
                time + item["run_time_ns"].as_f64().unwrap_or(0.0),
                runs + item["run_cnt"].as_f64().unwrap_or(0.0),
            )
        };
        Ok(new.fold((0.0, 0.0), sum))
    }

    /// Bytes of kernel memory in maps that are new since the inventory.
    pub(super) fn new_maps(&self) -> Result<f64> {
        let maps = show("map")?;
        let new = maps.iter().filter(|item| item["id"].as_u64().is_some_and(|id| !self.maps.contains(&id)));
        Ok(new.filter_map(|item| item["bytes_memlock"].as_f64()).sum())
    }
}

/// Nanoseconds spent in the programs that a process holds, while `Statistics` is on.
pub(super) fn time_in_programs(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("the agent is gone")? {
        // A descriptor may be closed meanwhile; programs stay.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let time = text.lines().find_map(|line| line.strip_prefix("run_time_ns:"));
        sum += time.and_then(|time| time.trim().parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(sum)
}

fn show(kind: &str) -> Result<Vec<Value>> {
    let text = sh::output(Command::new("bpftool").args(["--json", kind, "show"]))?;
    serde_json::from_str(&text).with_context(|| format!("bpftool {kind} show wrote no JSON list"))
}

/// Resident memory of a process in bytes: now and at most.
pub(super) fn resident(pid: u32) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent is gone")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.map(|number| number * 1024.0).with_context(|| format!("no {name} in /proc/{pid}/status"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
