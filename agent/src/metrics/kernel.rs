//! Metrics of the kernel side: the counters of the BPF programs, and what the agent asks the kernel
//! for.

use agent_common::Counter;

use crate::metric::Metric;

pub(super) fn metrics() -> Vec<Metric> {
    let mut metrics = counters();
    metrics.extend([
        Metric::new(
            "wirespan_bpf_recursion_misses_total",
            "Runs of BPF programs that the kernel skipped, since the program was running on that \
             processor already.",
        )
        .by("program", &[]),
        Metric::new(
            "wirespan_ring_peak_bytes",
            "Most bytes found in the ring buffer at once since the last publication.",
        ),
        Metric::new("wirespan_ring_size_bytes", "Size of the ring buffer in bytes."),
        Metric::new(
            "wirespan_ring_undecodable_records_total",
            "Records of the ring buffer that could not be decoded; must stay 0.",
        ),
        Metric::new("wirespan_attached_uprobes", "Uprobes that are attached to traced programs."),
        Metric::new("wirespan_probed_processes", "Traced processes that run programs with uprobes."),
        Metric::new(
            "wirespan_bpf_refused_skip_requests_total",
            "Times that the BPF side did not take the agent's request to skip the bytes of a body.",
        ),
    ]);
    metrics
}

/// Each metric once, with the values of its label.
fn counters() -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for counter in Counter::ALL {
        let value = (counter.value(), counter.meaning());
        match metrics.last_mut().filter(|metric| metric.name == counter.metric()) {
            Some(metric) => metric.labels[0].values.push(value),
            None => {
                metrics.push(Metric::new(counter.metric(), counter.help()).by(counter.label(), &[value]));
            }
        }
    }
    metrics
}
