//! One run of wrk against a server, and the CPU time that it cost server and agent.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow, ensure};
use wirespan_tests::process::Launch;

/// How wrk drives a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) seconds: u32,
}

/// The result of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    /// Latency, milliseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// CPU microseconds per request of the server, and of the agent where one runs.
    pub(super) server_cpu: f64,
    pub(super) agent_cpu: f64,
}

/// A path of its own for each request, as real traffic has.
const SCRIPT: &str =
    "local n = 0\nrequest = function()\n  n = n + 1\n  return wrk.format('GET', '/hello/' .. n)\nend\n";

impl Load {
    /// Drives the server on this port; `server` and `agent` are process ids.
    pub(super) fn run(self, dir: &Path, port: u16, server: &[u32], agent: Option<u32>) -> Result<Run> {
        let wrk = self.wrk(dir, port, Launch::new("wrk"))?;
        let before = (cpu_of(server)?, cpu_of(agent.as_slice())?);
        let report = wrk.start(dir)?.finish()?;
        let after = (cpu_of(server)?, cpu_of(agent.as_slice())?);
        ensure!(!report.contains("Non-2xx"), "the server failed requests: {report}");
        let requests = number_before(&report, "requests in")?;
        Ok(Run {
            requests,
            per_second: number_after(&report, "Requests/sec:")?,
            p50: milliseconds(&report, "50%")?,
            p99: milliseconds(&report, "99%")?,
            server_cpu: (after.0 - before.0) / requests,
            agent_cpu: (after.1 - before.1) / requests,
        })
    }

    /// Drives the server at this nice value; gives the requests that were answered.
    pub(super) fn favoured(self, dir: &Path, port: u16, nice: &str) -> Result<f64> {
        let report =
            self.wrk(dir, port, Launch::new("nice").args(["-n", nice, "wrk"]))?.start(dir)?.finish()?;
        number_before(&report, "requests in")
    }

    fn wrk<'a>(self, dir: &Path, port: u16, launch: Launch<'a>) -> Result<Launch<'a>> {
        let script = dir.join("paths.lua");
        fs::write(&script, SCRIPT)?;
        let (connections, duration) = (format!("-c{}", self.connections), format!("-d{}s", self.seconds));
        let url = format!("http://127.0.0.1:{port}/");
        Ok(launch.args(["-t1", &connections, &duration, "--latency", "-s"]).arg(&script).arg(url))
    }
}

/// CPU microseconds that these processes, all their threads included, have used so far.
fn cpu_of(pids: &[u32]) -> Result<f64> {
    // Clock ticks in /proc are 10 ms on every Linux of this architecture.
    const MICROSECONDS_PER_TICK: f64 = 10_000.0;
    let mut sum = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // The name may hold spaces; after its closing parenthesis utime and stime are the 12th and
        // 13th field.
        let (_, fields) = text.rsplit_once(") ").with_context(|| format!("{path} is not as expected"))?;
        for field in fields.split(' ').skip(11).take(2) {
            sum += field.parse::<f64>().context("a clock tick count is a number")? * MICROSECONDS_PER_TICK;
        }
    }
    Ok(sum)
}

fn number_before(report: &str, text: &str) -> Result<f64> {
    let (before, _) =
        report.split_once(text).ok_or_else(|| anyhow!("wrk's report has no {text:?}: {report}"))?;
    before.split_whitespace().last().and_then(|word| word.parse().ok()).context("wrk counts requests")
}

fn word_after<'a>(report: &'a str, text: &str) -> Result<&'a str> {
    let line = report.lines().find_map(|line| line.trim().strip_prefix(text));
    line.map(str::trim).ok_or_else(|| anyhow!("wrk's report has no {text:?}: {report}"))
}

fn number_after(report: &str, text: &str) -> Result<f64> {
    word_after(report, text)?.parse().context("wrk's rate is a number")
}

/// wrk writes `812.00us`, `1.20ms` or `1.02s`.
fn milliseconds(report: &str, percentile: &str) -> Result<f64> {
    let word = word_after(report, percentile)?;
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &word[digits.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        unit => return Err(anyhow!("wrk's unit {unit:?} is not known")),
    };
    Ok(digits.parse::<f64>()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 5s test @ http://127.0.0.1:8080/\n  1 threads and 64 connections\n  Latency Distribution\n     \
        50%  500.00us\n     75%  500.00us\n     99%    1.50ms\n  743210 requests in 5.00s, 120.00MB read\nRequests/sec: 148642.12\n";

    #[test]
    #[expect(clippy::float_cmp, reason = "the numbers are exact")]
    fn the_report_is_read() {
        assert_eq!(number_before(REPORT, "requests in").unwrap(), 743_210.0);
        assert_eq!(number_after(REPORT, "Requests/sec:").unwrap(), 148_642.12);
        assert_eq!(milliseconds(REPORT, "50%").unwrap(), 0.5);
        assert_eq!(milliseconds(REPORT, "99%").unwrap(), 1.5);
    }
}
