//! Every metric of the agent: name, meaning, labels. The metrics page takes its HELP lines from
//! here, and docs/metrics*.md are made of it. A metric that a layer counts itself is declared
//! there; those that a session makes of what it asks are listed in `agent`, `connections` and
//! `kernel`.

mod agent;
mod connections;
mod kernel;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use crate::{metric::Metric, protocol, stream, trace};

/// The metrics of one page of the documentation.
#[derive(Debug)]
pub struct Group {
    /// Name of the page's file, without its ending.
    pub page: &'static str,
    pub title: &'static str,
    /// What they are about.
    pub about: &'static str,
    pub metrics: Vec<Metric>,
}

/// Every metric, by page.
pub static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
    vec![
        Group {
            page: "metrics",
            title: "Metrics: the agent",
            about: "Processes, exporters, recording and the agent itself.",
            metrics: agent::metrics(),
        },
        Group {
            page: "metrics-kernel",
            title: "Metrics: the kernel side",
            about: "BPF programs, their maps, the ring buffer, probes in traced programs.",
            metrics: kernel::metrics(),
        },
        Group {
            page: "metrics-connections",
            title: "Metrics: connections and parsers",
            about: "What entered the pipeline, and what became of each byte.",
            metrics: [connections::metrics(), stream::Counters::metrics(), protocol::Counters::metrics()]
                .concat(),
        },
        Group {
            page: "metrics-trace",
            title: "Metrics: spans and their parents",
            about: "Exchanges, spans, evidence for parents, and why a parent is not known.",
            metrics: trace::Counters::metrics(),
        },
    ]
});

static BY_NAME: LazyLock<FxHashMap<&'static str, &'static Metric>> =
    LazyLock::new(|| all().map(|metric| (metric.name, metric)).collect());

/// Every metric.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    GROUPS.iter().flat_map(|group| &group.metrics)
}

/// What a metric counts; nothing when the list lacks it, which a debug build does not let pass.
#[must_use]
pub fn help(name: &str) -> &'static str {
    BY_NAME.get(name).map_or("", |metric| metric.help)
}

/// Whether the list has the metric, with these labels and values.
#[must_use]
pub(crate) fn is_declared(name: &str, labels: &[(&str, &str)]) -> bool {
    let Some(metric) = BY_NAME.get(name) else { return false };
    metric.labels.len() == labels.len()
        && metric.labels.iter().zip(labels).all(|(label, (name, value))| label.takes(name, value))
}
