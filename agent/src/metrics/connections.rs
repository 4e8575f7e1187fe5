//! Metrics of events, connections and bytes; those of the parsers are declared where they are
//! counted.

use crate::metric::Metric;

pub(super) fn metrics() -> Vec<Metric> {
    let mut metrics = events();
    metrics.extend(bytes());
    metrics
}

fn events() -> Vec<Metric> {
    vec![
        Metric::new("wirespan_events_total", "Events that entered the pipeline.").by(
            "type",
            &[
                ("transfer", "the bytes of one system call"),
                ("opened", "the first observation of a connection"),
                ("closed", "the end of a connection"),
                ("other", "all others, such as those of processes"),
            ],
        ),
        Metric::new("wirespan_connections", "Connections that are open now."),
        Metric::new("wirespan_evicted_connections_total", "Connections forgotten before their end.").by(
            "reason",
            &[
                ("connection_limit", "there were too many (`limits.connections`)"),
                ("buffer_limit", "all together buffered too much (`limits.buffered_bytes`)"),
                ("idle_timeout", "nothing moved on it for long (`limits.idle`)"),
            ],
        ),
        Metric::new(
            "wirespan_redirected_connections_total",
            "Connections whose bytes a sockmap takes past TCP: their two ends are not joined.",
        ),
        Metric::new(
            "wirespan_unknown_connection_transfers_total",
            "Transfers on connections that the agent does not know, such as evicted ones.",
        ),
        Metric::new(
            "wirespan_uncaptured_syscalls_total",
            "System calls that were seen and whose bytes could not be captured.",
        )
        .by(
            "reason",
            &[
                ("io_uring", "the task uses io_uring: its saved registers may belong to another system call"),
                ("task_32bit", "a 32-bit task or system call: registers follow another convention"),
                ("upper_layer_protocol", "an upper layer protocol (kTLS) is on the socket"),
                ("syscall", "the system call is none of the socket reads and writes, as sendmmsg"),
                ("splice", "sendfile or splice: the bytes never pass user memory"),
                ("flags", "MSG_OOB, MSG_ERRQUEUE or MSG_TRUNC"),
                ("fault", "user memory could not be read: page not present, lockdown"),
            ],
        )
        .by("service", &[]),
    ]
}

fn bytes() -> Vec<Metric> {
    vec![
        Metric::new("wirespan_transferred_bytes_total", "Bytes that the traced system calls moved."),
        Metric::new(
            "wirespan_captured_bytes_total",
            "Bytes of transfers that were captured; the others were only counted.",
        ),
        Metric::new(
            "wirespan_buffered_bytes",
            "Bytes that connections buffer: incomplete heads, transfers out of order.",
        ),
        Metric::new(
            "wirespan_ledger_bytes_total",
            "Bytes of ended connections: observed = parsed + skipped + truncated + dropped + unseen.",
        )
        .by(
            "entry",
            &[
                ("observed", "all that moved, by the kernel's account"),
                ("parsed", "a parser saw them"),
                ("skipped", "nothing needed them: bodies, and connections that no parser reads any more"),
                ("truncated", "a transfer had more than was captured of it"),
                ("dropped", "their record found no room in the ring buffer"),
                ("unseen", "they passed without a record, by the kernel's sequence numbers"),
            ],
        ),
        Metric::new(
            "wirespan_ledger_violations_total",
            "Directions of connections whose ledger did not balance; must stay 0.",
        ),
    ]
}
