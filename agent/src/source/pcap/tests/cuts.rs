//! Captures of only the first bytes of each packet.

use super::{
    View, options, run,
    talk::{Client, Server, Talk, request, response},
};

#[test]
fn bodies_are_measured_though_not_captured() {
    let talk = Talk::new()
        .handshake()
        .say(Client, &request("/a"))
        .say_cut(Server, &response(200, 5_000), 1_000)
        .exchange("/b", 6)
        .bye();
    // 66 bytes of headers, then 42 of the payload.
    let outcome = run(&talk.cut_file(108), &options(View::Client));
    assert_eq!(outcome.violations, 0);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5000", "client GET /b 200 0/6"]);
    assert_eq!(outcome.losses(), [("bytes cut off by the capture", 4_791)]);
}

#[test]
fn heads_that_were_cut_say_so() {
    let talk = Talk::new().handshake().exchange("/a", 500).exchange("/b", 600).bye();
    let outcome = run(&talk.cut_file(96), &options(View::Client));
    assert_eq!(outcome.violations, 0);
    assert_eq!(outcome.spans.len(), 2, "{:?}", outcome.lines());
    assert!(outcome.spans.iter().all(|span| span.incomplete.contains(&"truncated")));
    assert!(outcome.spans.iter().all(|span| span.missing_bytes > 0));
}

#[test]
fn nothing_but_headers() {
    let talk = Talk::new().handshake().exchange("/a", 500).bye();
    for snaplen in [66, 60, 54, 48] {
        let outcome = run(&talk.cut_file(snaplen), &options(View::Client));
        assert_eq!((outcome.lines(), outcome.violations), (vec![], 0), "{snaplen}");
        assert_eq!(outcome.report.truncated_bytes, 39 + 539);
        assert!(outcome.events.last().unwrap().starts_with("closed 0"));
    }
    for snaplen in [0, 13, 14, 20, 33, 34, 47] {
        let outcome = run(&talk.cut_file(snaplen), &options(View::Client));
        assert_eq!(outcome.losses(), [("undecodable", 8)], "{snaplen}");
    }
}
