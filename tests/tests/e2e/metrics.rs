//! The metrics page of a run has the metrics that docs/ lists, and no others.

use std::collections::BTreeSet;

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    stage::{self, Stage},
    wait,
};

/// The pages that `cargo xtask docs` makes.
const PAGES: [&str; 4] = [
    include_str!("../../../docs/metrics.md"),
    include_str!("../../../docs/metrics-kernel.md"),
    include_str!("../../../docs/metrics-connections.md"),
    include_str!("../../../docs/metrics-trace.md"),
];

/// Metrics that need more than a run with a span file in which no call is made.
const CONDITIONAL: [&str; 13] = [
    // Kernels that count them.
    "wirespan_bpf_recursion_misses_total",
    // A system call whose bytes could not be captured.
    "wirespan_uncaptured_syscalls_total",
    // Processes that make calls.
    "wirespan_process_confidence",
    "wirespan_process_calls",
    "wirespan_process_recent_calls",
    "wirespan_process_recent_responses",
    "wirespan_process_concurrent_consistent_calls",
    // A CPython process.
    "wirespan_runtime_lookups_total",
    // A recording.
    "wirespan_recorded_events_total",
    "wirespan_recorded_bytes_total",
    "wirespan_unrecorded_events_total",
    // Other exporters than the file.
    "wirespan_export_unreadable_responses_total",
    "wirespan_console_early_traces_total",
];

#[test]
fn the_page_has_the_metrics_that_are_documented() -> Result<()> {
    let Some(stage) = Stage::shared("documented", &[]) else { return Ok(()) };
    let agent = Agent::with_select(&stage, &format!("select: [ {{ port: {} }} ]\n", stage::port()))?;
    let page = wait::until("the first publication", || {
        let page = agent.metrics().ok()?;
        page.text().contains("wirespan_connections ").then_some(page)
    })?;
    agent.stop()?;
    let served: BTreeSet<&str> =
        page.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // Those of every process have the names that Prometheus's clients give them.
    let is_metric = |word: &&str| {
        word.starts_with("wirespan_")
            || word.starts_with("process_cpu_")
            || word.starts_with("process_resident_")
    };
    let documented: BTreeSet<&str> =
        PAGES.iter().flat_map(|page| page.split('`')).filter(is_metric).collect();
    let undocumented: Vec<_> = served.difference(&documented).collect();
    assert!(undocumented.is_empty(), "served and not documented: {undocumented:?}");
    let missing: Vec<_> = documented.difference(&served).filter(|name| !CONDITIONAL.contains(name)).collect();
    assert!(missing.is_empty(), "documented and not served: {missing:?}");
    Ok(())
}
