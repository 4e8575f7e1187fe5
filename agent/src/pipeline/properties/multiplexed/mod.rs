//! Programs that speak a multiplexing protocol on both sides: messages of many exchanges are interleaved on few connections, and
//! one read may hold several of them or a part of one. Whatever the schedule, no call gets a wrong parent; where a program
//! reads one message at a time and handles it at once, nearly all calls get theirs.

mod program;

use std::collections::HashMap;

use self::program::{Program, STYLES, Style};
use crate::trace::{
    operation::Kind,
    span::{Span, SpanId, SpanKind},
};

/// Requests of a schedule.
const SHORT: u32 = 60;

/// Calls with the right parent, with a wrong one, and all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Score {
    right: u32,
    wrong: u32,
    calls: u32,
}

fn score(spans: &[Span]) -> Score {
    let path = |span: &Span| {
        let operation = span.operation.as_deref().expect("it is no HTTP");
        let path = if operation.kind == Kind::Messaging { &operation.target } else { &operation.name };
        path.clone().unwrap_or_default().into_string()
    };
    let requests: HashMap<SpanId, String> =
        spans.iter().filter(|span| span.kind == SpanKind::Server).map(|span| (span.id, path(span))).collect();
    let mut score = Score::default();
    for call in spans.iter().filter(|span| span.kind == SpanKind::Client) {
        score.calls += 1;
        let Some(parent) = &call.parent else { continue };
        let path = path(call);
        let job = path.rsplit_once('/').map_or("", |(job, _)| job);
        let is_right = requests.get(&parent.span).is_some_and(|request| request == job);
        score.right += u32::from(is_right);
        score.wrong += u32::from(!is_right);
    }
    score
}

/// Schedules of each style; `WIRESPAN_SCHEDULES` asks for more.
fn schedules() -> u64 {
    std::env::var("WIRESPAN_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

#[test]
fn no_schedule_gives_a_wrong_parent() {
    for (style, threads) in STYLES.into_iter().flat_map(|style| [(style, 1), (style, 3)]) {
        let mut sum = Score::default();
        for seed in 0..schedules() {
            let found = score(&Program::new(seed, style, threads, SHORT, false).run());
            assert_eq!(found.wrong, 0, "{style:?}, {threads} threads, seed {seed}: {found:?}");
            sum.right += found.right;
            sum.calls += found.calls;
        }
        println!("{style:?}, {threads} threads: {sum:?}");
    }
}

/// A one-way request was over for the tracer when it was read, and the program still made calls for it. The only other request
/// then seemed to be alone, and got such a call.
#[test]
fn a_one_way_request_may_still_have_calls() {
    let found = score(&Program::new(508, Style::AtOnce, 1, SHORT, false).run());
    assert_eq!(found.wrong, 0, "{found:?}");
}

/// A program that is observed for long shows which of its sides can be trusted.
#[test]
fn a_long_schedule_gives_calls_their_parents() {
    for (style, threads) in STYLES.into_iter().flat_map(|style| [(style, 1), (style, 3)]) {
        for plain in [false, true] {
            let found = score(&Program::new(1, style, threads, 4_000, plain).run());
            println!("{style:?}, {threads} threads, plain: {plain}: {found:?}");
            assert_eq!(found.wrong, 0, "{style:?}, {threads} threads: {found:?}");
            if style == Style::OneByOne && plain {
                assert!(found.right * 10 > found.calls * 9, "{threads} threads: {found:?}");
            }
        }
    }
}
