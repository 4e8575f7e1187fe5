//! What spans may say of a conversation.

use std::{collections::HashSet, fmt::Write as _};

use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};

use super::{
    host::UNIX_OFFSET,
    plan::End,
    script::{Exchange, Script},
    timeline::Timeline,
};
use crate::{
    event::Direction,
    trace::span::{Span, SpanKind},
};

type Verdict = Result<(), TestCaseError>;

/// A conversation and when its bytes moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth<'a> {
    pub(super) script: &'a Script,
    pub(super) timeline: &'a Timeline,
}

/// What is true of one exchange.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    method: &'static str,
    path: String,
    status: Option<u16>,
    kind: SpanKind,
    sizes: [Option<u64>; 2],
    start: u64,
    first: Option<u64>,
    end: u64,
    error: Option<String>,
}

impl Facts {
    fn of(span: &Span) -> Option<Self> {
        let http = span.http.as_ref()?;
        Some(Self {
            method: http.method,
            path: http.path()?.to_owned(),
            status: http.status,
            kind: span.kind,
            sizes: [http.request_body_size, http.response_body_size],
            start: span.start - UNIX_OFFSET,
            first: span.first_response_byte.map(|at| at - UNIX_OFFSET),
            end: span.end - UNIX_OFFSET,
            error: span.error.clone(),
        })
    }
}

impl<'a> Truth<'a> {
    fn facts(&self, exchange: &Exchange) -> Facts {
        let client = self.script.client;
        let at = |direction, position| self.timeline.at(direction, position);
        let end = match exchange.end {
            End::UntilClose => self.timeline.over_at(),
            _ => at(client.reverse(), exchange.response.end - 1),
        };
        Facts {
            method: exchange.method,
            path: exchange.path.clone(),
            status: Some(exchange.status),
            kind: if client == Direction::In { SpanKind::Server } else { SpanKind::Client },
            sizes: exchange.sizes.map(Some),
            start: at(client, exchange.request.start),
            first: Some(at(client.reverse(), exchange.response.start)),
            end,
            error: None,
        }
    }

    /// The exchange that a span tells of.
    pub(super) fn find(&self, span: &Span) -> Option<&'a Exchange> {
        let path = span.http.as_ref()?.path()?;
        self.script.exchanges.iter().find(|exchange| exchange.path == path)
    }

    /// The span has everything, and all of it is true.
    pub(super) fn is_exact(&self, span: &Span) -> Verdict {
        let Some(exchange) = self.find(span) else {
            return Err(TestCaseError::fail(format!("invented: {span:?}")));
        };
        let mut truth = self.facts(exchange);
        if exchange.end == End::Upgrade {
            truth.sizes[0] = Facts::of(span).expect("it was found").sizes[0];
        }
        prop_assert_eq!(Facts::of(span), Some(truth), "{:?}", span);
        prop_assert_eq!((&span.incomplete[..], span.missing_bytes), (&[][..], 0));
        Ok(())
    }

    /// The span says that something is missing, and what it says is true.
    pub(super) fn is_part(&self, span: &Span) -> Verdict {
        const REASONS: [&str; 7] =
            ["gap", "joined_mid_stream", "lost", "malformed", "not_captured", "truncated", "unfinished"];
        prop_assert!(!span.incomplete.is_empty());
        prop_assert!(span.incomplete.iter().all(|reason| REASONS.contains(reason)), "{:?}", span.incomplete);
        let Some(told) = Facts::of(span) else {
            return Err(TestCaseError::fail(format!("nothing is known: {span:?}")));
        };
        prop_assert!(span.missing_bytes <= self.timeline.missing(), "{:?}", span);
        let is_true = |truth: Facts| {
            let status = told.status.is_none() || told.status == truth.status;
            let sizes =
                told.sizes.iter().zip(truth.sizes).all(|(told, truth)| told.is_none() || *told == truth);
            let path = truth.path == told.path || truth.path.starts_with(&told.path);
            let same = (told.method, told.kind, told.start) == (truth.method, truth.kind, truth.start);
            same && path && status && sizes && told.end >= told.start && told.error.is_none()
        };
        let found = self.script.exchanges.iter().any(|exchange| is_true(self.facts(exchange)));
        prop_assert!(found, "not true: {:?}", span);
        Ok(())
    }

    /// A failure with what really happened.
    pub(super) fn explained(&self, verdict: Verdict) -> Verdict {
        verdict.map_err(|error| {
            let mut text = format!("{error}\nwhat passed:\n");
            for (at, direction, range, fate) in self.timeline.calls() {
                let bytes = String::from_utf8_lossy(&self.script.of(direction).bytes[range.clone()]);
                let _ = writeln!(text, "{at:>9} {direction:?} {range:?} {fate:?} {bytes:?}");
            }
            TestCaseError::fail(text)
        })
    }

    /// Each span is of one exchange, and true; what is not flagged lacks nothing.
    pub(super) fn holds<'s>(&self, spans: impl IntoIterator<Item = &'s Span>) -> Verdict {
        let mut seen = HashSet::new();
        for span in spans {
            prop_assert!(seen.insert(span.id), "twice: {:?}", span);
            if span.incomplete.is_empty() {
                self.is_exact(span)?;
            } else {
                self.is_part(span)?;
            }
        }
        Ok(())
    }
}
