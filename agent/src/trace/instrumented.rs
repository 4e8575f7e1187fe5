//! Programs that are instrumented already. They export traces over OTLP themselves, so their spans
//! would otherwise appear twice.
//!
//! They are recognised by what they do, not by their environment: a process that sends traces to an
//! OTLP endpoint (a POST to `…/v1/traces`, or gRPC's `TraceService/Export`) and receives none, as a
//! collector or a proxy in front of one would. Spans that were exported before its first export
//! stay.

use serde::{Deserialize, Serialize};

use super::{
    Tracer,
    exchange::Key,
    process::Processes,
    span::{Span, SpanEvent, SpanKind},
};
use crate::protocol::http::RequestHead;

/// What happens to the spans of a program that exports its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instrumented {
    /// They are left out and counted.
    #[default]
    Skip,
    /// They are exported in addition to the program's own.
    Join,
}

/// Whether a process sends or receives traces over OTLP.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Otlp {
    exports: bool,
    receives: bool,
}

impl Otlp {
    const fn is_source(self) -> bool {
        self.exports && !self.receives
    }
}

/// Whether a request is an OTLP export over HTTP (opentelemetry.io/docs/specs/otlp). The endpoint's
/// path may have any prefix.
fn is_export(head: &RequestHead<'_>) -> bool {
    if head.method != "POST" {
        return false;
    }
    let target = head.target.as_bytes();
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    target[..end].ends_with(b"/v1/traces")
}

impl Processes {
    /// The head of a request or call was read.
    #[inline]
    pub(super) fn note_export(&mut self, pid: u32, kind: SpanKind, head: &RequestHead<'_>) {
        if is_export(head) {
            match kind {
                SpanKind::Client => self.sends_traces(pid),
                SpanKind::Server => self.receives_traces(pid),
            }
        }
    }

    fn sends_traces(&mut self, pid: u32) {
        if let Some(process) = self.get_mut(pid) {
            process.otlp.exports = true;
            self.any_exports = true;
        }
    }

    fn receives_traces(&mut self, pid: u32) {
        if let Some(process) = self.get_mut(pid) {
            process.otlp.receives = true;
        }
    }
}

impl Tracer {
    /// Notes that a process sends traces over gRPC.
    pub fn exports_by_grpc(&mut self, pid: u32) {
        self.processes.sends_traces(pid);
    }

    /// Whether the spans of a process are left out.
    #[inline]
    pub(super) fn leaves_out(&self, pid: u32) -> bool {
        self.processes.any_exports
            && self.settings.instrumented == Instrumented::Skip
            && self.processes.get(pid).is_some_and(|process| process.otlp.is_source())
    }

    /// Whether `parent` will have no span that `child`, of another process, could refer to.
    pub(super) fn hides(&self, parent: Key, child: Key) -> bool {
        if !self.processes.any_exports {
            return false;
        }
        let pid = |key: Key| self.exchanges.get(key).map(|exchange| exchange.pid);
        match (pid(parent), pid(child)) {
            (Some(parent), Some(child)) => parent != child && self.leaves_out(parent),
            _ => false,
        }
    }

    /// Emits a finished span, unless its process exports its own.
    pub(super) fn emit(&mut self, span: Box<Span>) {
        if self.leaves_out(span.process.pid) {
            self.counters.left_out += 1;
            return;
        }
        self.counters.spans += 1;
        self.counters.incomplete_spans += u64::from(!span.incomplete.is_empty());
        self.assembly.ready.push(SpanEvent::Span(span));
    }
}
