//! Segments that come late, twice, overlapping or never.

use super::{
    Outcome, View, options, run,
    talk::{Client, Server, Talk, request, response},
};

fn client(talk: &Talk) -> Outcome {
    let outcome = run(&talk.file(), &options(View::Client));
    assert_eq!(outcome.violations, 0, "the ledger balances");
    outcome
}

/// A response of 300 bytes of body in segments of 100 bytes: packets 4 to 7, acknowledged by packet
/// 8.
fn cut_response() -> Talk {
    Talk::new().handshake().say(Client, &request("/a")).say_cut(Server, &response(200, 300), 100)
}

const WHOLE: [&str; 1] = ["client GET /a 200 0/300"];

#[test]
fn in_order() {
    let outcome = client(&cut_response().bye());
    assert_eq!(outcome.lines(), WHOLE);
    assert_eq!(outcome.losses(), []);
    assert_eq!(
        outcome.events.join(", "),
        "opened [true, true], Out 0+39/39, In 0+100/100, In 100+100/100, In 200+100/100, In 300+39/39, \
         fin Out 39, fin In 339, closed 0 [39, 339] [0, 0]"
    );
}

#[test]
fn out_of_order() {
    let mut talk = cut_response().bye();
    talk.packets[4..8].reverse();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), WHOLE);
    assert_eq!(outcome.losses(), []);
}

#[test]
fn times_that_go_back_are_no_waiting() {
    // Not sorted, 30 ms apart: what is acknowledged first comes later in the file and was captured
    // earlier.
    let mut talk = cut_response();
    for (packet, number) in talk.packets.iter_mut().zip(0..) {
        packet.at += number * 30_000;
    }
    talk.packets = [0, 1, 2, 8, 3, 7, 6, 5, 4].map(|index| talk.packets[index].clone()).to_vec();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), WHOLE);
    assert_eq!(outcome.losses(), []);
}

#[test]
fn the_fin_comes_first() {
    let mut talk = Talk::new().handshake().say(Client, &request("/a")).say(Server, &response(200, 30)).bye();
    let fin = talk.packets.remove(6);
    assert!(fin.fin);
    talk.packets.insert(4, fin);
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/30"]);
    assert!(outcome.events.last().unwrap().starts_with("closed 0"));
}

#[test]
fn retransmitted_once_read_and_while_waiting() {
    let mut talk = cut_response();
    let waiting = talk.packets[6].clone();
    talk.packets.insert(7, waiting.clone());
    talk.packets.swap(5, 7);
    talk.packets.push(waiting);
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), WHOLE);
    assert_eq!(outcome.losses(), [("bytes retransmitted", 200)]);
}

#[test]
fn coalesced_retransmission_brings_new_bytes() {
    let mut talk = cut_response();
    // Segment 2 was lost on the way, then came together with segments 1 and 3.
    let (first, third) = (talk.packets[4].clone(), talk.packets[6].clone());
    talk.packets[5].sequence = first.sequence;
    let middle = std::mem::take(&mut talk.packets[5].payload);
    talk.packets[5].payload = [first.payload, middle, third.payload].concat();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), WHOLE);
    assert_eq!(outcome.losses(), [("bytes retransmitted", 200)]);
}

#[test]
fn of_overlapping_bytes_the_first_ones_hold_and_the_span_is_flagged() {
    let mut talk = cut_response();
    // Already read: the second segment claims the end of the head, with another length.
    let first = talk.packets[4].clone();
    let tail = String::from_utf8(first.payload[30..].to_vec()).unwrap();
    talk.packets[5].sequence = first.sequence + 30;
    let forged = tail.replace("300", "999").into_bytes();
    talk.packets[5].payload = [forged, talk.packets[5].payload.clone()].concat();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/300 [overlap]"]);
    assert_eq!(
        outcome.losses(),
        [("bytes retransmitted", 70), ("segments with other bytes than before", 1)],
        "{:?}",
        outcome.events
    );
}

#[test]
fn other_bytes_for_what_waits_are_flagged_too() {
    let mut talk = cut_response();
    let mut forged = talk.packets[6].clone();
    forged.payload.fill(b'!');
    talk.packets.insert(7, forged);
    talk.packets.swap(5, 8);
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/300 [overlap]"]);
    assert_eq!(outcome.report.disputed, 1);
}

#[test]
fn a_lost_segment_inside_a_body_costs_nothing_but_is_counted() {
    let mut talk = cut_response();
    talk.packets.remove(5);
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), WHOLE);
    assert_eq!(outcome.losses(), [("gaps", 1), ("bytes in gaps", 100)]);
}

#[test]
fn a_lost_segment_with_a_head_is_a_gap() {
    let mut talk = cut_response().bye();
    talk.packets.remove(4);
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a - 0/- [gap]"]);
    assert_eq!(outcome.losses(), [("gaps", 1), ("bytes in gaps", 100)]);
    assert!(outcome.events.last().unwrap().ends_with("[39, 339] [0, 100]"));
}

#[test]
fn a_lost_end_of_a_request_is_a_gap() {
    let head = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut talk = Talk::new()
        .handshake()
        .say(Client, head.as_bytes())
        .say(Client, b"2\r\nab\r\n0\r\n\r\n")
        .say(Server, &response(200, 10))
        .bye();
    talk.packets.remove(4);
    assert_eq!(client(&talk).lines(), ["client POST /a 200 -/10 [gap]"]);
}

#[test]
fn a_hole_is_given_up_once_acknowledged_and_time_has_passed() {
    let mut talk = cut_response();
    let lost = talk.packets.remove(4);
    let talk = talk.later(300_000).exchange("/b", 10).bye();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a - 0/- [gap]", "client GET /b 200 0/10"]);
    // What comes for it afterwards is late.
    let mut late = talk;
    late.packets
        .push(crate::source::pcap::tests::talk::Packet { at: late.packets.last().unwrap().at, ..lost });
    assert_eq!(client(&late).lines(), ["client GET /a - 0/- [gap]", "client GET /b 200 0/10"]);
}

#[test]
fn a_hole_is_waited_for_while_nobody_acknowledges_it() {
    let mut talk = cut_response();
    let mut retransmitted = talk.packets.remove(4);
    talk.packets.pop();
    retransmitted.at += 3_000_000;
    talk.packets.push(retransmitted);
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), WHOLE);
    assert_eq!(outcome.losses(), []);
}

#[test]
fn sequence_numbers_wrap() {
    for before in [1_u32, 20, 60, 150, 4_000] {
        let ends = ["10.0.0.9:80", "10.0.0.1:54321"].map(|end| end.parse().unwrap());
        let first = 0_u32.wrapping_sub(before);
        let mut talk = Talk::between(ends[0], ends[1], [first, first])
            .handshake()
            .say(Client, &request("/a"))
            .say_cut(Server, &response(200, 300), 100)
            .exchange("/b", 4_000)
            .bye();
        talk.packets.swap(5, 6);
        let outcome = client(&talk);
        assert_eq!(outcome.lines(), ["client GET /a 200 0/300", "client GET /b 200 0/4000"], "{before}");
        assert_eq!(outcome.losses(), []);
    }
}

#[test]
fn keep_alive_probes_are_no_data() {
    let mut talk = cut_response();
    let mut probe = talk.packets[3].clone();
    probe.sequence += u32::try_from(probe.payload.len()).unwrap() - 1;
    probe.payload = vec![0];
    talk.packets.push(probe);
    let talk = talk.exchange("/b", 1).bye();
    let outcome = client(&talk);
    assert_eq!(outcome.lines(), ["client GET /a 200 0/300", "client GET /b 200 0/1"]);
    assert_eq!(outcome.losses(), [("keep-alive probes", 1)]);
}

/// Milliseconds from the first packet to start and end of the span.
fn times(outcome: &Outcome, talk: &Talk) -> (u64, u64) {
    let [span] = &outcome.spans[..] else { panic!("one span: {:?}", outcome.lines()) };
    let since = |at: u64| (at - talk.packets[0].at * 1_000) / 1_000_000;
    (since(span.start), since(span.end))
}

#[test]
fn a_retransmission_is_read_when_it_comes_and_with_it_what_waited() {
    let mut talk = Talk::new();
    talk.step = 1_000;
    let mut talk = talk
        .handshake()
        .say(Client, &request("/a"))
        .say(Server, &response(200, 300)[..100])
        .say(Server, &response(200, 300)[100..]);
    assert_eq!(times(&client(&talk), &talk), (3, 5));
    let mut late = talk.packets.remove(4);
    late.at += 700_000;
    talk.packets.push(late);
    assert_eq!(times(&client(&talk), &talk), (3, 704));
}

#[test]
fn what_the_capture_lost_does_not_change_when_the_rest_was_there() {
    let mut talk = Talk::new();
    talk.step = 1_000;
    let mut talk = talk
        .handshake()
        .say(Client, &request("/a"))
        .say(Server, &response(200, 300)[..100])
        .say(Server, &response(200, 300)[100..200])
        .say(Server, &response(200, 300)[200..])
        .ack(Client)
        .later(1_000_000)
        .bye();
    talk.packets.remove(5);
    assert_eq!(times(&client(&talk), &talk), (3, 6));
    // Nor does the order of two packets, which the capturing host may change.
    let mut talk = Talk::new().handshake().exchange("/a", 5).bye();
    talk.packets.swap(3, 4);
    let (first, second) = (talk.packets[4].at, talk.packets[3].at);
    (talk.packets[3].at, talk.packets[4].at) = (first, second);
    assert_eq!(client(&talk).lines(), ["client GET /a 200 0/5"]);
}

#[test]
fn only_one_direction_was_captured() {
    let whole = Talk::new().handshake().exchange("/a", 5).exchange("/b", 6).bye();
    let (mut requests, mut responses) = (whole.clone(), whole.clone());
    requests.packets.retain(|packet| packet.source == whole.packets[0].source);
    responses.packets.retain(|packet| packet.source != whole.packets[0].source);
    let outcome = client(&requests);
    let spans = outcome.lines();
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.contains(" - 0/- [")), "{spans:?}");
    assert_eq!(client(&responses).lines(), Vec::<String>::new());
}

#[test]
fn a_lost_request_is_not_paired_with_what_comes_after() {
    let talk = Talk::new().handshake().exchange("/a", 5).exchange("/b", 6).exchange("/c", 7);
    let mut talk = talk.exchange("/d", 8).bye();
    talk.packets.remove(5);
    let outcome = client(&talk);
    // What was lost may be the head of a request of whose body "/c" is a part, as far as anyone can
    // know.
    assert_eq!(outcome.lines(), ["client GET /a 200 0/5", "client GET /d 200 0/8"]);
    let mut talk = Talk::new().handshake().exchange("/a", 5).exchange("/b", 6).exchange("/c", 7).bye();
    talk.packets.remove(6);
    let outcome = client(&talk);
    assert_eq!(outcome.lines()[0], "client GET /a 200 0/5");
    assert!(outcome.lines()[1].starts_with("client GET /b - 0/- ["), "{:?}", outcome.lines());
}

#[test]
fn what_waits_is_bounded() {
    let limits = super::super::Limits { waiting_segments_each: 8, ..super::super::Limits::default() };
    let mut talk =
        Talk::new().handshake().say(Client, &request("/a")).say_cut(Server, &response(200, 10_000), 100);
    talk.packets.remove(10);
    let outcome = run(&talk.file(), &super::super::Options { limits, ..options(View::Client) });
    assert_eq!(outcome.lines(), ["client GET /a 200 0/10000"]);
    assert_eq!(outcome.losses(), [("gaps", 1), ("bytes in gaps", 100), ("times that too much waited", 1)]);
}
