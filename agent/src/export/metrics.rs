//! Self-metrics: the Prometheus text format (version 0.0.4).
//!
//! A writer of our own and not prometheus-client: what is exported are snapshots of counters that live elsewhere (BPF
//! maps, per-connection ledgers), not objects of a registry, and that crate writes OpenMetrics text only.

use std::fmt::Write;

use rustc_hash::FxHashMap;

/// Collects samples and writes them grouped by metric.
#[derive(Debug, Default)]
pub struct MetricsText {
    families: Vec<Family>,
    index: FxHashMap<&'static str, usize>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: String,
}

impl MetricsText {
    /// Adds a sample of a counter. `name` is `wirespan_<thing>_<unit>_total`; label names are identifiers, label values
    /// any text. Every drop has a label `reason`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        debug_assert!(name.ends_with("_total"), "the counter {name} must end in _total");
        self.sample(name, help, "counter", labels, format_args!("{value}"));
    }

    /// Adds a sample of a gauge.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        debug_assert!(!name.ends_with("_total"), "the gauge {name} must not end in _total");
        self.sample(name, help, "gauge", labels, format_args!("{value}"));
    }

    fn sample(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: &[(&'static str, &str)],
        value: std::fmt::Arguments<'_>,
    ) {
        let index = *self.index.entry(name).or_insert_with(|| {
            self.families.push(Family { name, help, kind, samples: String::new() });
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
            let Family { name, help, kind, samples } = family;
            let help = help.replace('\\', r"\\").replace('\n', r"\n");
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
        text.counter("wirespan_a_spans_total", "First.", &[], 3);
        text.gauge("wirespan_b_bytes", "Back\\slash\nand line.", &[("x", "1")], 0.5);
        text.counter("wirespan_a_spans_total", "First.", &[("reason", "a\"b\\c\nd")], u64::MAX);
        assert_eq!(
            text.finish(),
            concat!(
                "# HELP wirespan_a_spans_total First.\n",
                "# TYPE wirespan_a_spans_total counter\n",
                "wirespan_a_spans_total 3\n",
                "wirespan_a_spans_total{reason=\"a\\\"b\\\\c\\nd\"} 18446744073709551615\n",
                "# HELP wirespan_b_bytes Back\\\\slash\\nand line.\n",
                "# TYPE wirespan_b_bytes gauge\n",
                "wirespan_b_bytes{x=\"1\"} 0.5\n",
            )
        );
    }
}
