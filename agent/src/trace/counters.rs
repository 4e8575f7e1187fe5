//! What the trace layer counts. Plain numbers: the pipeline reads them and gives them to the metrics.

use crate::metric::counters;

counters! {
    /// Counts since start, and gauges.
    {
        waiting = "wirespan_trace_waiting_spans": "Finished spans that wait for a parent.";
        exchanges = "wirespan_trace_exchanges": "Exchanges (a request and its response) that are open or wait for a \
            parent.";
        oldest_open_seconds = "wirespan_trace_oldest_open_exchange_seconds": "Age of the oldest open exchange; 0 \
            when there is none.";
        connections = "wirespan_trace_connections": "Connections that are remembered to find parents, some of them closed.";
        spans = "wirespan_trace_spans_total": "Spans handed to the exporters.";
        incomplete_spans = "wirespan_trace_incomplete_spans_total": "Spans with the attribute `wirespan.incomplete`: a part of the request or the response was not seen.";
        left_out = "wirespan_trace_left_out_spans_total": "Spans left out because their program exports its own \
            (`instrumented: skip`).";
        conflicts = "wirespan_trace_conflicts_total": "Calls whose request side and response side name \
            different requests.";
        task_conflicts = "wirespan_trace_task_conflicts_total": "Times that a response was not written by the asyncio task \
            that had made the call for it.";
        losses = "wirespan_trace_process_losses_total": "Times that records of a process were found lost.";
        unmatched_requests = "wirespan_trace_unmatched_requests_total": "Requests seen at only one end of a connection \
            whose two ends are traced.";
        evicted_threads = "wirespan_trace_evicted_threads_total": "Threads and goroutines whose receives were \
            forgotten to make room.";
        evicted_contents = "wirespan_trace_evicted_contents_total": "Fingerprints of requests (evidence `content`) that \
            were forgotten to make room less than a minute after they were seen.";
        evicted_parts = "wirespan_trace_evicted_parts_total": "Parts of multiplexed connections that were forgotten \
            to make room: what threads received in them causes nothing.";
        truncated_attributes = "wirespan_trace_truncated_attributes_total": "Attribute values cut to their limit.";
        redactions = "wirespan_trace_redacted_urls_total": "URLs in which something was redacted.";
        failed_connects = "wirespan_trace_failed_connects_total": "Spans of connects that failed.";
        open_notices = "wirespan_trace_open_request_notices_total": "Notices to the console of requests and \
            connects that have been open for a second.";
        "wirespan_trace_open_exchanges" by "kind": "Requests that have no end yet: no whole response, and neither \
            side has ended the connection." {
            open_server = "server": "received by the process";
            open_client = "client": "sent by the process: a call that hangs shows here";
        }
        "wirespan_trace_requests_total" by "kind": "Requests seen, by the kind of their span." {
            requests_received = "server": "by the process that received it";
            requests_made = "client": "by the process that sent it";
        }
        "wirespan_trace_parents_total" by "evidence": "Parents of spans, by how each is known." {
            parents_traceparent = "traceparent": "the request carries a `traceparent`, or the program put one on its call";
            parents_traceparent_forwarded = "traceparent_forwarded": "the call forwards the `traceparent` of an open \
                request; its span says `traceparent`";
            parents_connection = "connection": "the parent is the call at the other end of the same connection, on this host";
            parents_both_sides = "both_sides": "request side and response side agree";
            parents_request_side = "request_side": "the request side alone names it";
            parents_response_side = "response_side": "the response side alone names it";
            parents_content = "content": "the call repeats the request: method, target and end-to-end fields are the same";
            parents_goroutine = "goroutine": "one goroutine handed the call to another";
            parents_task = "task": "the same task wrote the call and the response";
        }
        "wirespan_trace_roots_total" by "reason": "Spans without a parent, by why none is known." {
            roots_remote = "client_not_traced": "a request whose client is not traced here and sent no context";
            unlinked_no_cause = "no_request_received": "a call whose thread had received nothing that could have caused it";
            unlinked_request_side_only = "request_side_only": "a call with a request side that no response side confirmed \
                before the request was answered";
            unlinked_response_side_only = "response_side_only": "a call with a response side only, in a process that has not \
                shown that this suffices";
            unlinked_unanswered = "request_unanswered": "a call whose request, by the request side, never got a response";
            unlinked_conflict = "conflict": "a call whose two sides differ, or in a process in which those of \
                others do of late";
            unlinked_unproven = "insufficient_evidence": "a call whose two sides agree, made while several requests were open \
                by a process whose sides have not agreed 30 times in such a case";
            unlinked_loss = "records_lost": "a call that was open, or caused by something open, when records of its \
                process were lost";
            unlinked_pipelined = "pipelined": "a call of Go handed over by a goroutine that had received more than one \
                request of a connection";
            unlinked_limit = "call_limit": "a call beyond the limit of calls per request";
            roots_forgotten = "parent_evicted": "the parent was known and is no longer remembered";
        }
        "wirespan_trace_connection_joins_total" by "result": "Attempts to find the two ends of a connection on \
            this host." {
            connections_joined = "joined": "both ends were found";
            connections_remote = "remote": "no other end was found in time; some are joined later";
        }
        "wirespan_trace_expired_spans_total" by "reason": "Spans exported although their parent was not known yet." {
            expired_wait = "parent_wait": "the wait was over";
            expired_limit = "waiting_spans": "too many spans waited";
            expired_shutdown = "shutdown": "the agent ended";
        }
        "wirespan_trace_late_parents_total" by "result": "Parents found after the trace id of a span was fixed." {
            late_links = "link": "the parent became a link";
            late_lost = "lost": "both spans had been exported already";
        }
        "wirespan_trace_refusals_total" by "reason": "Times that a limit was met, or that a message could not be \
            placed: what was not followed, or ended early." {
            refused_messages = "unknown_connection": "a request on a connection that is not known, or that comes \
                out of order";
            refused_exchanges = "exchanges": "a request without a span because too many exchanges were open or \
                waiting";
            evicted_exchanges = "exchanges_per_connection": "an exchange ended early because its connection had \
                too many";
            evicted_connections = "connections": "a connection forgotten to make room";
            refused_connects = "connects": "a connect not followed because too many were in progress";
            refused_processes = "processes": "a process not remembered because there were too many";
            refused_join_keys = "pending_joins": "a request that could not be registered for joining its connection's \
                ends";
        }
        "wirespan_trace_invalid_headers_total" by "header": "Header fields that were ignored or shortened; `forwarded` \
            includes X-Forwarded-*." {
            invalid_traceparents = "traceparent": "it is not valid";
            invalid_tracestates = "tracestate": "it was dropped or cut";
            invalid_forwarded = "forwarded": "what a proxy says of its client cannot be read, or names too many \
                proxies";
        }
    }
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
