//! Golden outputs of the console, driven by explicit times.

use std::sync::{Mutex, atomic::AtomicBool};

use super::{
    line::{Style, render},
    *,
};
use crate::{
    event::{Endpoint, FIRST_VIRTUAL_PID, ProcessFacts, Timestamp, UNKNOWN_SERVICE, UnixAddress},
    pipeline::samples::{self, MILLI, client_span, connect_span, open, server_span, span_id, trace_id},
    trace::{
        http::Text,
        span::{Evidence, Parent, Span, Status},
    },
};

const PLAIN: Style = Style { color: false, width: None };

const fn at(millis: u64) -> Timestamp {
    Timestamp(millis * MILLI)
}

fn printed(forest: &mut Forest, style: Style) -> String {
    let mut text = String::new();
    for row in forest.take_rows() {
        render(&row, style, &mut text);
        text.push('\n');
    }
    text
}

fn child(id: u8, parent: u8, start: u64) -> Span {
    let mut span = client_span();
    span.id = span_id(id);
    span.parent = Some(Parent { span: span_id(parent), evidence: Evidence::BothSides, remote: false });
    span.start += start * MILLI;
    span.end = span.start + MILLI;
    span
}

/// The other end of [`client_span`]'s call.
fn stock_server() -> Span {
    let mut span = server_span();
    span.id = span_id(7);
    span.parent = Some(Parent { span: span_id(2), evidence: Evidence::Connection, remote: false });
    span.start += 2 * MILLI;
    span.end = span.start + 750_000;
    span.process = Arc::new(ProcessFacts { service_name: "stock".into(), ..ProcessFacts::default() });
    if let Some(http) = &mut span.http {
        http.set(Text::Path, Some("/stock/7"));
        http.set(Text::Query, None);
        http.status = Some(404);
        http.response_body_size = Some(1_500_000);
    }
    span.incomplete = vec!["gap", "truncated"];
    span
}

#[test]
fn who_acts_in_a_packet_capture_is_an_address() {
    let mut span = server_span();
    let facts = |service: &str| {
        let pid = FIRST_VIRTUAL_PID;
        Arc::new(ProcessFacts { pid, service_name: service.into(), ..ProcessFacts::default() })
    };
    for (service, shown) in [(UNKNOWN_SERVICE, "192.0.2.1"), ("shop", "shop")] {
        span.process = facts(service);
        let mut forest = Forest::new(10);
        forest.add(&span, at(0));
        forest.tick(at(1_000));
        let text = printed(&mut forest, PLAIN);
        assert!(text.contains(&format!(" {shown} ← ")), "{text}");
    }
}

#[test]
fn a_trace_is_printed_as_a_tree_when_its_root_has_been_there_for_the_grace() {
    let mut forest = Forest::new(10);
    forest.add(&stock_server(), at(0));
    forest.add(&client_span(), at(1));
    forest.tick(at(1_000));
    assert_eq!(printed(&mut forest, PLAIN), "", "no root yet");
    forest.add(&server_span(), at(1_000));
    forest.tick(at(1_100));
    assert_eq!(printed(&mut forest, PLAIN), "", "its other children have time to come");
    forest.add(&connect_span(), at(1_150));
    forest.tick(at(1_200));
    assert_eq!(
        printed(&mut forest, PLAIN),
        "14:03:07.123Z shop ← GET /orders?id=7  200  12.3 ms\n\
         14:03:07.124Z ├─ shop → GET stock:9000/stock/7  404  5.0 ms  both_sides\n\
         14:03:07.125Z │  └─ stock ← GET /stock/7  404  750 µs  ↓1.5 MB  connection  incomplete: gap, truncated\n\
         14:03:07.124Z └─ shop → connect 192.0.2.9:1  ECONNREFUSED  5.0 ms  both_sides\n"
    );
    forest.finish();
    assert_eq!(printed(&mut forest, PLAIN), "", "each once");
}

#[test]
fn a_late_span_names_its_parent_and_has_its_children_below() {
    let mut forest = Forest::new(10);
    forest.add(&server_span(), at(0));
    forest.tick(at(200));
    printed(&mut forest, PLAIN);
    forest.add(&stock_server(), at(300));
    forest.tick(at(600));
    assert_eq!(printed(&mut forest, PLAIN), "", "its parent has not come");
    forest.add(&client_span(), at(600));
    forest.tick(at(800));
    assert_eq!(
        printed(&mut forest, PLAIN),
        "14:03:07.124Z shop → GET stock:9000/stock/7  404  5.0 ms  both_sides  late, under shop GET /orders\n\
         14:03:07.125Z └─ stock ← GET /stock/7  404  750 µs  ↓1.5 MB  connection  incomplete: gap, truncated\n"
    );
}

#[test]
fn a_remote_parent_makes_a_root_and_a_missing_one_an_orphan() {
    let mut forest = Forest::new(10);
    let mut remote = server_span();
    remote.parent = Some(Parent { span: span_id(99), evidence: Evidence::Traceparent, remote: true });
    forest.add(&remote, at(0));
    let mut orphan = child(4, 98, 0);
    orphan.trace = trace_id(1);
    orphan.parent_unknown = true;
    forest.add(&orphan, at(0));
    forest.tick(at(200));
    assert_eq!(
        printed(&mut forest, PLAIN),
        "14:03:07.123Z shop ← GET /orders?id=7  200  12.3 ms  traceparent\n"
    );
    forest.tick(at(59_999));
    assert_eq!(printed(&mut forest, PLAIN), "");
    forest.tick(at(60_000));
    assert_eq!(
        printed(&mut forest, PLAIN),
        "14:03:07.124Z shop → GET stock:9000/stock/7  404  1.0 ms  both_sides  \
         parent 00f067aa0ba90262 not seen  parent unknown\n"
    );
}

#[test]
fn an_open_request_is_shown_at_once() {
    let mut forest = Forest::new(10);
    let SpanEvent::Open(span) = open() else { panic!("it is open") };
    forest.open(&span);
    assert_eq!(printed(&mut forest, PLAIN), "14:03:07.123Z shop ← GET /orders?id=7  … open 1.2 s\n");
}

#[test]
fn hostile_text_does_not_reach_the_terminal() {
    let mut span = server_span();
    span.error = Some("\u{9b}31m".into());
    let facts = ProcessFacts { service_name: "a\rb".into(), ..ProcessFacts::default() };
    span.process = Arc::new(facts);
    if let Some(http) = &mut span.http {
        http.method = "_OTHER";
        http.set(Text::MethodOriginal, Some("\u{1b}]0;x\u{7}"));
        http.set(Text::Path, Some("/\u{1b}[2J\u{202e}\n"));
        http.set(Text::Query, Some("\u{0}\u{200b}ü"));
    }
    let mut forest = Forest::new(10);
    forest.add(&span, at(0));
    forest.finish();
    assert_eq!(
        printed(&mut forest, PLAIN),
        "14:03:07.123Z a\\u{d}b ← \\u{1b}]0;x\\u{7} /\\u{1b}[2J\\u{202e}\\u{a}?\\u{0}\\u{200b}ü  200  \
         \\u{9b}31m  12.3 ms\n"
    );
}

#[test]
fn colours_only_where_wanted_and_errors_are_red() {
    let mut forest = Forest::new(10);
    let mut failed = server_span();
    failed.status = Status::Error;
    failed.error = Some("500".into());
    if let Some(http) = &mut failed.http {
        http.status = Some(500);
    }
    forest.add(&failed, at(0));
    forest.finish();
    assert_eq!(
        printed(&mut forest, Style { color: true, width: None }),
        "\u{1b}[2m14:03:07.123Z\u{1b}[0m \u{1b}[1mshop\u{1b}[0m\u{1b}[2m ← \u{1b}[0mGET /orders?id=7\
         \u{1b}[31m  500\u{1b}[0m  12.3 ms\n"
    );
}

#[test]
fn paths_are_cut_to_the_terminal_but_never_to_nothing() {
    let mut span = server_span();
    if let Some(http) = &mut span.http {
        http.set(Text::Path, Some(&format!("/{}", "long".repeat(50))));
        http.set(Text::Query, None);
    }
    for (width, expected) in [(80, 80), (60, 60), (20, 50), (1, 50)] {
        let mut forest = Forest::new(10);
        forest.add(&span, at(0));
        forest.finish();
        let text = printed(&mut forest, Style { color: true, width: Some(width) });
        let visible: usize = strip(&text).trim_end().chars().count();
        assert_eq!(visible, expected, "{width}: {text}");
        assert!(text.contains('…') && text.contains("12.3 ms"), "{text}");
    }
}

/// Without the SGR sequences that we write ourselves.
fn strip(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    out
}

#[test]
fn too_many_traces_are_printed_early_oldest_first_and_counted() {
    let mut forest = Forest::new(2);
    for trace in 0..5 {
        let mut span = child(1, 50, u64::from(trace));
        span.trace = trace_id(trace);
        forest.add(&span, at(0));
    }
    assert_eq!(forest.take_early(), 3);
    let rows = forest.take_rows();
    let traces: Vec<_> = rows.iter().map(|row| row.span.trace).collect();
    assert_eq!(traces, [trace_id(0), trace_id(1), trace_id(2)]);
    forest.finish();
    assert_eq!(forest.take_rows().len(), 2);
}

#[test]
fn one_endless_trace_is_bounded_too() {
    let mut forest = Forest::new(1_000);
    let mut printed = 0;
    for number in 0..60_000_u64 {
        let mut span = child(0, 50, 0);
        span.id.0 = (1_000 + number).to_be_bytes();
        forest.add(&span, at(0));
        printed += forest.take_rows().len();
    }
    assert!(printed >= 40_000 - 1, "{printed} of 60000 printed, the rest held");
    forest.finish();
    assert_eq!(printed + forest.take_rows().len(), 60_000);
}

#[test]
fn circles_and_deep_chains_end() {
    let mut forest = Forest::new(10);
    forest.add(&child(1, 2, 0), at(0));
    forest.add(&child(2, 1, 0), at(0));
    forest.add(&child(3, 3, 0), at(0));
    forest.finish();
    assert_eq!(forest.take_rows().len(), 3);

    let mut root = server_span();
    root.id.0 = 1_u64.to_be_bytes();
    forest.add(&root, at(0));
    for number in 2..10_000_u64 {
        let mut span = child(0, 0, 0);
        span.id.0 = number.to_be_bytes();
        span.parent.as_mut().unwrap().span.0 = (number - 1).to_be_bytes();
        forest.add(&span, at(0));
    }
    forest.tick(at(200));
    let rows = forest.take_rows();
    assert_eq!(rows.len(), 9_999);
    assert!(rows.iter().all(|row| row.branches.chars().count() <= 3 * 24));
}

/// A destination that keeps what it is given, or is closed.
#[derive(Debug, Clone, Default)]
struct Kept {
    text: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
}

impl Lines for Kept {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.closed() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.text.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }

    fn closed(&self) -> bool {
        self.closed.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn traced(spans: Vec<Span>) -> crate::pipeline::queue::Batch {
    let mut entries: Vec<_> = spans.into_iter().map(|span| SpanEvent::Span(Box::new(span))).collect();
    entries.push(open());
    samples::batch(entries)
}

#[test]
fn the_console_prints_all_at_the_end_and_counts_spans_only() {
    let feed = Arc::new(Feed::new("console", 100));
    feed.queue.push(traced(vec![client_span(), server_span()]));
    feed.queue.close();
    let kept = Kept::default();
    TreeConsole::new(ConsoleSettings::default(), Arc::clone(&feed), kept.clone()).run();
    let text = String::from_utf8(kept.text.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(!text.contains('\u{1b}'), "no colours: stdout of a test is no terminal");
    assert_eq!((feed.exported(), feed.summary().dropped_total()), (2, 0));
}

#[test]
fn a_reader_that_is_gone_ends_the_console() {
    let feed = Arc::new(Feed::new("console", 100));
    let kept = Kept::default();
    kept.closed.store(true, std::sync::atomic::Ordering::Relaxed);
    feed.queue.push(traced(vec![server_span()]));
    // The queue stays open: only the closed destination ends the run.
    TreeConsole::new(ConsoleSettings::default(), Arc::clone(&feed), kept).run();
    feed.settle();
    assert_eq!((feed.exported(), feed.summary().dropped_total()), (0, 1));
}

/// Path of the socket and path of the request are two.
#[test]
fn a_call_over_a_unix_socket_names_it_before_the_path() {
    let mut span = client_span();
    span.peer = Endpoint::Unix(UnixAddress::Path((*b"/run/stock.sock").into()));
    if let Some(http) = &mut span.http {
        http.set(Text::ServerAddress, Some("/run/stock.sock"));
        http.server_port = None;
        http.set(Text::Path, Some("/stock/7"));
        http.set(Text::Query, None);
    }
    span.parent = None;
    let mut forest = Forest::new(10);
    forest.add(&span, at(0));
    forest.tick(at(2_000));
    let line = printed(&mut forest, PLAIN);
    assert!(line.contains(" /run/stock.sock:/stock/7  "), "{line}");
}
