//! Reads from the kernel what the agent costs there: the time in its BPF programs, the memory of
//! its maps.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// BPF run-time statistics, on while this lives. They cost every program of the host some
/// nanoseconds per run.
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

/// What the kernel reports about the programs and maps that a process holds. Programs have times
/// only while `Statistics` is on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Time in programs, and how often they ran.
    pub(super) nanoseconds: f64,
    pub(super) runs: f64,
    /// Bytes of maps.
    pub(super) maps: f64,
}

impl Held {
    pub(super) fn by(pid: u32) -> Result<Self> {
        let mut sum = Self::default();
        // A map or program that is held twice counts once.
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("the agent is gone")? {
            // A descriptor may be closed meanwhile; programs and maps stay.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            let field = |name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name));
                value.and_then(|value| value.trim().parse::<f64>().ok())
            };
            let map = field("map_id:");
            let Some(id) = map.or_else(|| field("prog_id:")) else { continue };
            if !seen.insert((map.is_some(), id as u64)) {
                continue;
            }
            sum.nanoseconds += field("run_time_ns:").unwrap_or(0.0);
            sum.runs += field("run_cnt:").unwrap_or(0.0);
            sum.maps += map.and_then(|_| field("memlock:")).unwrap_or(0.0);
        }
        Ok(sum)
    }
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
