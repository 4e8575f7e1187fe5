//! Whole captures, made byte by byte, through the whole pipeline.

mod cuts;
mod ends;
mod files;
mod fixtures;
mod late;
mod links;
mod order;
mod properties;
mod roles;
pub(crate) mod talk;
mod views;

use super::{Options, Report, View, read};
use crate::{
    event::{Earlier, Event},
    pipeline::{Engine, Settings},
    protocol,
    trace::span::{Span, SpanEvent, SpanKind},
};

/// Results of reading a capture.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) spans: Vec<Span>,
    pub(super) report: Report,
    pub(super) violations: u64,
    pub(super) events: Vec<String>,
}

impl Outcome {
    /// The spans in words, sorted.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.spans.iter().map(line).collect();
        lines.sort();
        lines
    }

    /// The labels and values of the report that are not 0, without packets and connections.
    pub(super) fn losses(&self) -> Vec<(&'static str, u64)> {
        let usual = ["packets", "connections with data"];
        self.report.list().into_iter().filter(|(label, count)| *count > 0 && !usual.contains(label)).collect()
    }
}

/// `client GET /path 200 0/5 [gap] error`: sizes are request/response, `-` where not known.
pub(super) fn line(span: &Span) -> String {
    let http = span.http.clone().unwrap_or_default();
    let kind = if span.kind == SpanKind::Client { "client" } else { "server" };
    let size = |size: Option<u64>| size.map_or("-".to_owned(), |size| size.to_string());
    let mut line = format!(
        "{kind} {} {} {} {}/{}",
        http.method,
        http.path().unwrap_or("-"),
        http.status.map_or("-".to_owned(), |status| status.to_string()),
        size(http.request_body_size),
        size(http.response_body_size)
    );
    if !span.incomplete.is_empty() {
        line += &format!(" [{}]", span.incomplete.join(" "));
    }
    if let Some(error) = &span.error {
        line += &format!(" {error}");
    }
    line
}

pub(super) fn options(view: View) -> Options {
    Options { view, ..Options::new(protocol::opening) }
}

pub(super) fn run(capture: &[u8], options: &Options) -> Outcome {
    let mut engine = Engine::new(Settings::default());
    let mut events = Vec::new();
    let report = read(capture, options, &mut |event| {
        if let Some(word) = word(event) {
            events.push(word);
        }
        engine.feed(event);
    })
    .unwrap();
    let spans = engine
        .drain()
        .filter_map(|traced| match traced {
            SpanEvent::Span(span) => Some(*span),
            SpanEvent::Open(_) => None,
        })
        .collect();
    Outcome { spans, report, violations: engine.tally().ledger.violations, events }
}

/// An event in a word, without times.
fn word(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Opened(opened) => {
            Some(format!("opened {:?}", opened.earlier.map(|earlier| earlier == Earlier::Nothing)))
        }
        Event::Transfer(transfer) => Some(format!(
            "{:?} {}+{}/{}",
            transfer.direction,
            transfer.position,
            transfer.head.len(),
            transfer.length
        )),
        Event::HalfClosed { direction, position, .. } => Some(format!("fin {direction:?} {position}")),
        Event::Closed(closed) => {
            Some(format!("closed {} {:?} {:?}", closed.errno, closed.observed, closed.dropped))
        }
        _ => None,
    }
}
