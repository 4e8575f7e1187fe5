//! gRPC from the bytes of its frames to the attributes of spans: whence the status comes, and for whom it is an error.

use super::{
    hand_written::{Attributes, spans},
    simulated::{FRONT, Run},
};
use crate::event::Direction;

/// A frame of a few bytes.
fn frame(kind: char, flags: char, stream: u8, payload: &str) -> String {
    let length = char::from(u8::try_from(payload.len()).unwrap());
    format!("\0\0{length}{kind}{flags}\0\0\0{}{payload}", char::from(stream))
}

/// Fields as literals that are not inserted.
fn fields(fields: &[(&str, &str)]) -> String {
    let text = |text: &str| format!("{}{text}", char::from(u8::try_from(text.len()).unwrap()));
    fields.iter().map(|(name, value)| format!("\0{}{}", text(name), text(value))).collect()
}

const HEADERS: char = '\x01';
const RST_STREAM: char = '\x03';
const END_HEADERS: char = '\x04';
const END: char = '\x05';

fn call(stream: u8, method: &str) -> String {
    let head = [(":method", "POST"), (":path", method), ("content-type", "application/grpc")];
    frame(HEADERS, END, stream, &fields(&head))
}

/// Calls with the responses that come, by method.
fn run(direction: Direction, responses: &[(&str, &[String])]) -> Vec<(String, String, String)> {
    let mut run = Run::new();
    let connection = if direction == Direction::In { 1 } else { 2 };
    let mut requests = String::from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    requests += &frame('\x04', '\0', 0, "");
    run.transfer(connection, direction, FRONT, None, &requests);
    for (number, (method, frames)) in responses.iter().enumerate() {
        let stream = u8::try_from(2 * number + 1).unwrap();
        run.transfer(connection, direction, FRONT, None, &call(stream, method));
        let frames = frames.concat().replace("\0\0\0?", &format!("\0\0\0{}", char::from(stream)));
        run.transfer(connection, direction.reverse(), FRONT, None, &frames);
    }
    let of = |span: &Attributes, name: &str| span.get(name).cloned().unwrap_or_default();
    let mut found: Vec<_> = spans(&run.end())
        .iter()
        .map(|span| {
            assert_eq!(
                (of(span, "rpc.system.name"), of(span, "http.request.method")),
                ("grpc".into(), String::new())
            );
            (of(span, "rpc.method"), of(span, "rpc.response.status_code"), of(span, "error.type"))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn the_status_is_that_of_the_trailers() {
    const HERE: u8 = b'?';
    let head = frame(HEADERS, END_HEADERS, HERE, &fields(&[(":status", "200")]));
    let trailers = |code| frame(HEADERS, END, HERE, &fields(&[("grpc-status", code)]));
    let only = frame(HEADERS, END, HERE, &fields(&[(":status", "200"), ("grpc-status", "14")]));
    let reset = frame(RST_STREAM, '\0', HERE, "\0\0\0\x0b");
    let responses: [(&str, &[String]); 5] = [
        ("/a.B/Absent", &[head.clone(), reset]),
        ("/a.B/Late", &[head.clone(), trailers("5")]),
        ("/a.B/Odd", &[head.clone(), trailers("99")]),
        ("/a.B/Ok", &[head.clone(), trailers("0")]),
        ("/a.B/Only", &[only]),
    ];
    let expect = |error_of_late: &str| {
        [
            ("a.B/Absent", "", "ENHANCE_YOUR_CALM"),
            ("a.B/Late", "NOT_FOUND", error_of_late),
            ("a.B/Odd", "UNKNOWN", "UNKNOWN"),
            ("a.B/Ok", "OK", ""),
            ("a.B/Only", "UNAVAILABLE", "UNAVAILABLE"),
        ]
        .map(|(method, status, error)| (method.to_owned(), status.to_owned(), error.to_owned()))
    };
    assert_eq!(run(Direction::Out, &responses), expect("NOT_FOUND"));
    assert_eq!(run(Direction::In, &responses), expect(""));
}
