//! Answers of servers that are no collectors of ours, byte by byte.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    sync::mpsc,
    thread,
};

use super::{
    settings::{Endpoint, Protocol},
    *,
};

/// Takes one request after another, each on a connection of its own, and answers with the next of these bytes. Tells the
/// paths that were asked for.
fn server(answers: Vec<Vec<u8>>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, paths) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 1 << 16];
            let count = stream.read(&mut request).unwrap();
            let head = String::from_utf8_lossy(&request[..count]).into_owned();
            drop(asked.send(head.split(' ').nth(1).unwrap_or_default().to_owned()));
            drop(stream.write_all(&answer));
            drop(stream.shutdown(Shutdown::Write));
            // Until the client closes: a reset would overtake the answer.
            while stream.read(&mut request).is_ok_and(|count| count > 0) {}
        }
    });
    (url, paths)
}

fn client(url: String, protocol: Protocol) -> Client {
    let settings = OtlpSettings {
        endpoint: Some(Endpoint::Base(url)),
        protocol: Some(protocol),
        timeout: Some(Duration::from_secs(60)),
        ..OtlpSettings::default()
    };
    Client::new(&settings).unwrap()
}

async fn answered(answer: &[u8]) -> Result<Accepted, SendError> {
    let (url, _paths) = server(vec![answer.to_vec()]);
    let client = client(url, Protocol::HttpProtobuf);
    client.send(client.body(vec![])).await
}

#[tokio::test]
async fn spans_are_taken_whatever_follows_the_status() {
    let large = [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &vec![b'x'; 4 << 20]].concat();
    for (answer, unreadable) in [
        (&b"HTTP/1.0 200 OK\r\n\r\n"[..], false),
        (b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}\n", false),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", false),
        (b"HTTP/1.1 204 No Content\r\n\r\n", false),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n<html>", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", true),
        (&large, true),
    ] {
        let accepted = answered(answer).await.unwrap();
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(120)]);
        assert_eq!((accepted.rejected, accepted.unreadable.is_some()), (0, unreadable), "{shown}");
    }
}

#[tokio::test]
async fn a_request_follows_its_endpoint_on_the_same_host() {
    let moved = |to: &str| {
        format!("HTTP/1.1 308 Moved\r\nLocation: {to}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    };
    let taken = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (url, paths) = server(vec![moved("/v1/traces/"), moved("/otlp"), taken]);
    let there = client(url, Protocol::HttpProtobuf);
    assert_eq!(there.send(there.body(vec![])).await, Ok(Accepted::default()));
    assert_eq!(paths.iter().take(3).collect::<Vec<_>>(), ["/v1/traces", "/v1/traces/", "/otlp"]);
    let (url, _paths) = server(vec![moved("/a"); 4]);
    let circle = client(url, Protocol::HttpProtobuf);
    let refused = circle.send(circle.body(vec![])).await.unwrap_err();
    assert!(
        matches!(&refused, SendError::Refused { reason } if reason.contains("set it to /a")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_other_protocols_port_is_recognised() {
    // SETTINGS and GOAWAY, as a gRPC server sends them before it closes.
    let settings = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\x01";
    let Err(SendError::Retryable { reason, .. }) = answered(settings).await else { panic!("no error") };
    assert!(reason.contains("protocol: grpc"), "{reason}");
    let (url, _paths) = server(vec![b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec()]);
    let grpc = client(url, Protocol::Grpc);
    let Err(SendError::Retryable { reason, .. }) = grpc.send(grpc.body(vec![])).await else {
        panic!("no error")
    };
    assert!(reason.contains("protocol: http/protobuf"), "{reason}");
}
