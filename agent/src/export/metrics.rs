//! Self-metrics: the Prometheus text format (version 0.0.4).
//!
//! A writer of our own and not prometheus-client: what is exported are snapshots of counters that live elsewhere (BPF
//! maps, per-connection ledgers), not objects of a registry, and that crate writes OpenMetrics text only.

use std::fmt::{Display, Write};

use rustc_hash::FxHashMap;

use crate::metrics;

/// Collects samples and writes them grouped by metric.
#[derive(Debug, Default)]
pub struct MetricsText {
    families: Vec<Family>,
    index: FxHashMap<&'static str, usize>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    kind: &'static str,
    samples: String,
}

impl MetricsText {
    /// Adds a sample of a counter: a metric of the list in [`metrics`], with its labels in their order.
    pub fn counter(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: impl Display) {
        debug_assert!(name.ends_with("_total"), "the counter {name} must end in _total");
        self.sample(name, "counter", labels, format_args!("{value}"));
    }

    /// Adds a sample of a gauge.
    pub fn gauge(&mut self, name: &'static str, labels: &[(&'static str, &str)], value: f64) {
        debug_assert!(!name.ends_with("_total"), "the gauge {name} must not end in _total");
        self.sample(name, "gauge", labels, format_args!("{value}"));
    }

    fn sample(
        &mut self,
        name: &'static str,
        kind: &'static str,
        labels: &[(&'static str, &str)],
        value: std::fmt::Arguments<'_>,
    ) {
        debug_assert!(metrics::is_declared(name, labels), "{name} {labels:?} is not in the list of metrics");
        let index = *self.index.entry(name).or_insert_with(|| {
            self.families.push(Family { name, kind, samples: String::new() });
            self.families.len() - 1
        });
        let family = &mut self.families[index];
        debug_assert_eq!(family.kind, kind, "{name} is used as counter and as gauge");
        let out = &mut family.samples;
        out.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            out.push(if position == 0 { '{' } else { ',' });
            out.push_str(label);
            out.push_str("=\"");
            escape_label(text, out);
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(out, " {value}");
    }

    /// The page: each metric once with HELP and TYPE, in the order of first mention.
    #[must_use]
    pub fn finish(self) -> String {
        let mut out = String::new();
        for family in self.families {
            let Family { name, kind, samples } = family;
            let help = metrics::help(name).replace('\\', r"\\").replace('\n', r"\n");
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        out
    }
}

fn escape_label(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str(r"\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str(r"\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric_stand_together_and_are_escaped() {
        let mut text = MetricsText::default();
        text.counter("wirespan_recorded_events_total", &[], u64::MAX);
        text.gauge("wirespan_calling_processes", &[], 0.5);
        text.gauge("wirespan_process_calls", &[("service", "a\"b\\c\nd"), ("result", "linked")], 1.0);
        text.counter("wirespan_recorded_events_total", &[], 3);
        assert_eq!(
            text.finish(),
            concat!(
                "# HELP wirespan_recorded_events_total Events written to the event log.\n",
                "# TYPE wirespan_recorded_events_total counter\n",
                "wirespan_recorded_events_total 18446744073709551615\n",
                "wirespan_recorded_events_total 3\n",
                "# HELP wirespan_calling_processes Traced processes that have made calls (outbound requests).\n",
                "# TYPE wirespan_calling_processes gauge\n",
                "wirespan_calling_processes 0.5\n",
                "# HELP wirespan_process_calls Calls (outbound requests) of these processes, by whether their \
                 parent is known.\n",
                "# TYPE wirespan_process_calls gauge\n",
                "wirespan_process_calls{service=\"a\\\"b\\\\c\\nd\",result=\"linked\"} 1\n",
            )
        );
    }
}
