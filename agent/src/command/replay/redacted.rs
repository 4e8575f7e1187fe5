//! Redacted logs: whatever a conversation is and however it is cut into transfers, the masked log has the same spans and no secret.

use std::sync::mpsc;

use proptest::prelude::*;

use super::simulated::{FRONT, Run};
use crate::{
    event::{Direction, Event},
    pipeline::{self, EventSink, redact::Masker},
    source::log::samples::Owned,
    trace::span::SpanEvent,
};

/// Requests and their responses, of every framing.
const TALKS: &[(&str, &str)] = &[
    (
        "GET /a?b=s3cret HTTP/1.1\r\nHost: a.b:81\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ns3cret",
    ),
    ("HEAD /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"),
    (
        "PUT /a HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n6;s=t\r\ns3cret\r\n0\r\nX: s3cret\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nX: s3cret\r\n\r\n",
    ),
    (
        "REPORT http://me:s3cret@h:8080/s3cret/x HTTP/1.1\nHost: b\n\n",
        "HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n",
    ),
    (
        "POST /a/b HTTP/1.0\r\nContent-Length: 30\r\n\r\nGET /s3cret HTTP/1.1\r\nHost: \r\n",
        "HTTP/1.1 500 s3cret\r\nTransfer-Encoding: chunked\r\n\r\n1F\r\nHTTP/1.1 200 s3cret\r\nAge: 100\r\n\r\n0\r\n\r\n",
    ),
    (
        "PUT /a HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 6\r\n\r\ns3cret",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 6\r\n\r\ns3cret",
    ),
    // A chunk that is longer than it says.
    (
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ns3cret\r\n0\r\n\r\n",
    ),
];

/// A program that exports its own traces is recognised in a redacted log, so that its spans are left out there, too.
#[test]
fn an_instrumented_program_is_one_in_a_redacted_log() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const GRPC: &str = "s3cret/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const HTTP: &str = "POST /s3cret/v1/traces HTTP/1.1\r\nContent-Length: 6\r\n\r\ns3cret";
    let spans = |export: &[&'static str]| {
        let mut run = Run::new();
        export.iter().for_each(|text| run.transfer(2, Direction::Out, FRONT, None, text));
        let (request, response) = TALKS[0];
        run.transfer(1, Direction::In, FRONT, None, request);
        run.transfer(1, Direction::Out, FRONT, None, response);
        let events = run.end();
        let mut masker = Masker::default();
        let masked: Vec<_> = events.iter().map(|event| Owned::copy(&masker.mask(&event.event()))).collect();
        assert_eq!(described(&masked), described(&events));
        described(&events).len()
    };
    assert_eq!(
        [spans(&[HTTP]), spans(&[PREFACE, GRPC]), spans(&[&PREFACE[..9], &PREFACE[9..], GRPC])],
        [0; 3]
    );
    assert_eq!([spans(&[]), spans(&[PREFACE])], [1; 2]);
}

/// A request line that is not to the letter makes a span that says so, also in a redacted log.
#[test]
fn a_malformed_request_is_one_in_a_redacted_log() {
    for line in ["GET  /s3cret HTTP/1.1", "GET /s3c ret?s3cret=s3cret HTTP/1.1", "GET /s3cret HTTP/1.2"] {
        let mut run = Run::new();
        run.transfer(1, Direction::In, FRONT, None, &format!("{line}\r\nHost: s3cret\r\n\r\n"));
        run.transfer(1, Direction::Out, FRONT, None, TALKS[0].1);
        let events = run.end();
        let mut masker = Masker::default();
        let masked: Vec<_> = events.iter().map(|event| Owned::copy(&masker.mask(&event.event()))).collect();
        assert_eq!(described(&masked), described(&events), "{line}");
        assert!(described(&events)[0].contains("malformed"));
    }
}

/// What the spans of a conversation have that a redaction keeps.
fn described(events: &[Owned]) -> Vec<String> {
    described_of(|feed| events.iter().for_each(|event| feed(&event.event())))
}

/// The same of the events that `source` feeds.
pub(super) fn described_of(source: impl FnOnce(&mut dyn FnMut(&Event<'_>))) -> Vec<String> {
    let (sender, batches) = mpsc::channel();
    let mut sink = EventSink::new(pipeline::Settings::default(), move |batch| sender.send(batch).unwrap());
    source(&mut |event| {
        sink.feed(event);
        drop(sink.drain_feedback());
    });
    drop(sink);
    let mut described = vec![];
    for batch in batches {
        for traced in batch.entries.iter() {
            let SpanEvent::Span(span) = traced else { continue };
            let http = span.http.as_ref().map(|http| {
                let path = http.path().map(str::len);
                let sizes = (http.request_body_size, http.response_body_size);
                (http.method, path, http.status, sizes, http.server_port, http.query().is_some())
            });
            described.push(format!("{:?} {:?} {http:?} {:?}", span.id, span.error, span.incomplete));
        }
    }
    described
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However a conversation is cut into transfers, its masked form has the same exchanges and no
    /// secret.
    #[test]
    fn a_masked_conversation_is_the_same_conversation(
        talks in prop::collection::vec(0..TALKS.len() - 1, 1..6),
        malformed in any::<bool>(),
        cuts in prop::collection::vec(1..50_usize, 1..8),
    ) {
        let mut run = Run::new();
        let mut cuts = cuts.iter().cycle();
        // After it the framing is lost. A body may then be taken for a message, and its masked form
        // may not.
        let last = malformed.then_some(TALKS.len() - 1);
        for talk in talks.into_iter().chain(last) {
            let (request, response) = TALKS[talk];
            for (direction, mut text) in [(Direction::In, request), (Direction::Out, response)] {
                while !text.is_empty() {
                    let (piece, rest) = text.split_at((*cuts.next().unwrap()).min(text.len()));
                    run.transfer(1, direction, FRONT, None, piece);
                    text = rest;
                }
            }
        }
        let events = run.end();
        let mut masker = Masker::default();
        let mut masked = vec![];
        let mut bytes = vec![];
        for event in &events {
            let event = masker.mask(&event.event());
            if let Event::Transfer(transfer) = &event {
                bytes.extend_from_slice(transfer.head);
            }
            masked.push(Owned::copy(&event));
        }
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(!text.contains("s3c") && !text.contains("cret"), "{}", text);
        let plain = described(&events);
        prop_assert!(!plain.is_empty());
        prop_assert_eq!(described(&masked), plain, "{}", text);
    }
}
