//! What the trace layer counts. Plain numbers: the pipeline reads them and gives them to the metrics.

/// One number with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Prometheus metric name; `_total` says that it only rises, everything else is a gauge.
    pub name: &'static str,
    /// Label name and value, when the metric has one.
    pub label: Option<(&'static str, &'static str)>,
    pub value: u64,
}

macro_rules! counters {
    ($( $(#[doc = $doc:literal])+ $field:ident: $name:literal $([$label:literal = $value:literal])?; )+) => {
        /// Counts since start, and gauges.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $( $(#[doc = $doc])+ pub $field: u64, )+
        }

        impl Counters {
            /// Every number with its metric name, in a fixed order; samples of one metric stand together.
            pub fn samples(&self) -> impl Iterator<Item = Sample> + use<> {
                [$( Sample { name: $name, label: counters!(@label $($label $value)?), value: self.$field } ),+]
                    .into_iter()
            }
        }
    };
    (@label) => { None };
    (@label $label:literal $value:literal) => { Some(($label, $value)) };
}

counters! {
    /// Gauge: finished spans that wait for a parent.
    waiting: "wirespan_trace_waiting_spans";
    /// Gauge: exchanges open or waiting.
    exchanges: "wirespan_trace_exchanges";
    /// Gauge: requests received that have no end yet: no whole answer, and neither side has ended the connection.
    open_server: "wirespan_trace_open_exchanges" ["kind" = "server"];
    /// Gauge: the same of requests made.
    open_client: "wirespan_trace_open_exchanges" ["kind" = "client"];
    /// Gauge: for how long the oldest of them has been open, in seconds; 0 when there is none.
    oldest_open_seconds: "wirespan_trace_oldest_open_exchange_seconds";
    /// Gauge: connections known.
    connections: "wirespan_trace_connections";
    /// Requests seen by their receiver.
    requests_received: "wirespan_trace_requests_total" ["kind" = "server"];
    /// Requests seen by their sender.
    requests_made: "wirespan_trace_requests_total" ["kind" = "client"];
    /// Spans given out.
    spans: "wirespan_trace_spans_total";
    /// Those of them that say `wirespan.incomplete`.
    incomplete_spans: "wirespan_trace_incomplete_spans_total";
    /// Parents from a `traceparent` (incoming, or the program's own on an outgoing request).
    parents_header: "wirespan_trace_parents_total" ["evidence" = "header"];
    /// Parents known because a call forwards the `traceparent` of an open request. The span says `header`.
    parents_pass_through: "wirespan_trace_parents_total" ["evidence" = "header_pass_through"];
    /// Parents at the other end of the connection.
    parents_flow: "wirespan_trace_parents_total" ["evidence" = "flow"];
    /// Parents on which start side and end side agree.
    parents_two_sided: "wirespan_trace_parents_total" ["evidence" = "two-sided"];
    /// Parents by the start side alone.
    parents_start: "wirespan_trace_parents_total" ["evidence" = "start"];
    /// Parents by the end side alone.
    parents_end: "wirespan_trace_parents_total" ["evidence" = "end"];
    /// Parents whose request the call sends on.
    parents_content: "wirespan_trace_parents_total" ["evidence" = "content"];
    /// Parents of calls that one goroutine handed to another.
    parents_goroutine: "wirespan_trace_parents_total" ["evidence" = "goroutine"];
    /// Parents whose answer was written by the same task.
    parents_task: "wirespan_trace_parents_total" ["evidence" = "task"];
    /// Spans of programs that export their own: left out.
    left_out: "wirespan_trace_left_out_spans_total";
    /// Server spans without a parent: the client is not traced here and sent no context.
    roots_remote: "wirespan_trace_roots_total" ["reason" = "remote_client"];
    /// Calls whose thread had taken in nothing that could have caused them.
    orphans_none: "wirespan_trace_roots_total" ["reason" = "no_start_side"];
    /// Calls with a start side that no end side confirmed before the request was answered.
    orphans_start_only: "wirespan_trace_roots_total" ["reason" = "start_side_only"];
    /// Calls with an end side only, in a process that is not believed without a start side.
    orphans_end_only: "wirespan_trace_roots_total" ["reason" = "end_side_only"];
    /// Calls whose start-side request never got an answer.
    orphans_unanswered: "wirespan_trace_roots_total" ["reason" = "unanswered"];
    /// Calls whose two sides differ, or in a process in which those of others do of late.
    orphans_contradiction: "wirespan_trace_roots_total" ["reason" = "contradiction"];
    /// Calls on which both sides agree, made while several requests were open by a process that has not agreed with itself
    /// 30 times in such a case.
    orphans_unproven: "wirespan_trace_roots_total" ["reason" = "unproven"];
    /// Calls open, or caused by something open, when events of their process were lost.
    orphans_loss: "wirespan_trace_roots_total" ["reason" = "loss"];
    /// Calls handed over by a goroutine that had taken in more than one request of a connection.
    orphans_pipelined: "wirespan_trace_roots_total" ["reason" = "pipelined"];
    /// Calls beyond the bound of calls per request.
    orphans_bound: "wirespan_trace_roots_total" ["reason" = "bound"];
    /// Parents that were known but no longer remembered (connection closed long ago, or evicted).
    orphans_forgotten: "wirespan_trace_roots_total" ["reason" = "forgotten"];
    /// Calls whose two sides differ.
    contradictions: "wirespan_trace_contradictions_total";
    /// What shows of a program that its calls and answers are not written by the same tasks.
    task_contradictions: "wirespan_trace_task_contradictions_total";
    /// Times that a process was seen to have lost events.
    losses: "wirespan_trace_process_losses_total";
    /// Connections whose two ends were joined.
    flows_joined: "wirespan_trace_flows_total" ["result" = "joined"];
    /// Connections whose other end was not found in time; some are joined later.
    flows_remote: "wirespan_trace_flows_total" ["result" = "remote"];
    /// Requests on a joined connection that the other end did not show.
    flows_missing: "wirespan_trace_flow_requests_missing_total";
    /// Requests not registered for joining because the bound was reached.
    flow_keys_refused: "wirespan_trace_flow_keys_refused_total";
    /// Spans exported without a known parent because the wait was over.
    expired_wait: "wirespan_trace_expired_spans_total" ["reason" = "wait"];
    /// The same because too many spans waited.
    expired_bound: "wirespan_trace_expired_spans_total" ["reason" = "bound"];
    /// The same at shutdown.
    expired_shutdown: "wirespan_trace_expired_spans_total" ["reason" = "shutdown"];
    /// Parents found after the trace id was fixed that became a link.
    late_links: "wirespan_trace_late_parents_total" ["result" = "link"];
    /// Parents found after both spans had been exported.
    late_lost: "wirespan_trace_late_parents_total" ["result" = "lost"];
    /// Requests on connections that are not known, or that come out of order.
    refused_messages: "wirespan_trace_refused_total" ["reason" = "unknown_connection"];
    /// Requests without a span because too many exchanges were open or waiting.
    refused_exchanges: "wirespan_trace_refused_total" ["reason" = "exchanges"];
    /// Exchanges ended early because their connection had too many.
    evicted_exchanges: "wirespan_trace_refused_total" ["reason" = "exchanges_per_connection"];
    /// Connections forgotten to make room.
    evicted_connections: "wirespan_trace_refused_total" ["reason" = "connections"];
    /// Connects not followed because too many were in progress.
    refused_connects: "wirespan_trace_refused_total" ["reason" = "connects"];
    /// Processes not remembered because there were too many.
    refused_processes: "wirespan_trace_refused_total" ["reason" = "processes"];
    /// `traceparent` headers that are not valid.
    invalid_traceparents: "wirespan_trace_invalid_headers_total" ["header" = "traceparent"];
    /// `tracestate` headers that were dropped or cut.
    invalid_tracestates: "wirespan_trace_invalid_headers_total" ["header" = "tracestate"];
    /// Requests whose proxy said for whom it asks in fields that cannot be read, or in too many.
    invalid_forwarded: "wirespan_trace_invalid_headers_total" ["header" = "forwarded"];
    /// Threads whose inputs were forgotten to make room.
    inputs_forgotten: "wirespan_trace_inputs_forgotten_total";
    /// Requests and calls whose content was forgotten within a minute to make room.
    contents_forgotten: "wirespan_trace_contents_forgotten_total";
    /// Texts cut to their limit.
    texts_cut: "wirespan_trace_texts_cut_total";
    /// URLs in which something was redacted.
    redactions: "wirespan_trace_redactions_total";
    /// Spans of connects that failed.
    failed_connects: "wirespan_trace_failed_connects_total";
    /// Notices of exchanges and connects that are open for long.
    open_notices: "wirespan_trace_open_notices_total";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_grouped() {
        let samples: Vec<_> =
            Counters::default().samples().map(|sample| (sample.name, sample.label)).collect();
        let mut seen: Vec<&str> = Vec::new();
        for (index, (name, label)) in samples.iter().enumerate() {
            assert!(!samples[..index].contains(&(name, *label)), "{name} {label:?}");
            if seen.last() != Some(name) {
                assert!(!seen.contains(name), "{name} is not in one place");
                seen.push(name);
            }
        }
    }
}
