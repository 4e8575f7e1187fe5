//! The bytes of calls: messages as load generators, browsers and programs write them.

use std::io::Write as _;

/// What a call moves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bytes {
    PlainRequest,
    TwoPlainRequests,
    PlainResponse,
    BrowserRequest,
    BrowserHead(&'static str, &'static str),
    BrowserPage,
    Chunk,
    LastChunk,
    Body(usize),
    CallRequest,
    CallResponse,
}

impl Bytes {
    /// Requests that begin in the call.
    pub(super) const fn requests(self) -> u64 {
        match self {
            Self::TwoPlainRequests => 2,
            Self::PlainRequest | Self::BrowserRequest | Self::CallRequest => 1,
            _ => 0,
        }
    }

    /// Appends the bytes; `number` is that of the last request in them.
    pub(super) fn write(self, number: u64, out: &mut Vec<u8>) {
        match self {
            Self::PlainRequest => plain_request(number, out),
            Self::TwoPlainRequests => {
                plain_request(number - 1, out);
                plain_request(number, out);
            }
            Self::PlainResponse => plain_response(out),
            Self::BrowserRequest => browser_request(number, out),
            Self::BrowserHead(status, framing) => browser_head(status, framing, out),
            Self::BrowserPage => {
                browser_head("200 OK", "Content-Length: 1200\r\n", out);
                filler(1_200, out);
            }
            Self::Chunk => chunk(1_400, out),
            Self::LastChunk => out.extend_from_slice(b"0\r\n\r\n"),
            Self::Body(length) => filler(length, out),
            Self::CallRequest => call(number, out),
            Self::CallResponse => call_response(out),
        }
    }
}

/// Writes into memory, which cannot fail.
macro_rules! put {
    ($out:expr, $($what:tt)*) => { write!($out, $($what)*).expect("memory takes it") };
}

fn plain_request(number: u64, out: &mut Vec<u8>) {
    put!(out, "GET /hello/{number} HTTP/1.1\r\nHost: 127.0.0.1:26990\r\n\r\n");
}

fn plain_response(out: &mut Vec<u8>) {
    put!(
        out,
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 02:41:27 GMT\r\nContent-Type: text/plain\r\n\
         Content-Length: 6\r\nConnection: keep-alive\r\n\r\nhello\n"
    );
}

fn browser_request(number: u64, out: &mut Vec<u8>) {
    put!(
        out,
        "GET /shop/items/{number}?page={}&sort=price&session={number:016x} HTTP/1.1\r\nHost: shop.example.com\r\n\
         Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
         sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
         AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,\
         application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n\
         Sec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\nReferer: https://shop.example.com/shop/items/{number}\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: id={number:032x}; \
         consent=all; theme=dark; basket={number:040x}\r\n\r\n",
        number % 40
    );
}

/// The head of a browser's response; `framing` is the field that says where the body ends, with its line's end.
fn browser_head(status: &str, framing: &str, out: &mut Vec<u8>) {
    put!(
        out,
        "HTTP/1.1 {status}\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 02:41:27 GMT\r\nContent-Type: text/html; \
         charset=utf-8\r\n{framing}Connection: keep-alive\r\nVary: Accept-Encoding\r\nCache-Control: private, max-age=0\r\n\
         ETag: W/\"5f1c-18a\"\r\nSet-Cookie: seen=1; Path=/; HttpOnly; SameSite=Lax\r\nX-Frame-Options: DENY\r\n\
         Strict-Transport-Security: max-age=63072000\r\n\r\n"
    );
}

fn chunk(length: usize, out: &mut Vec<u8>) {
    put!(out, "{length:x}\r\n");
    filler(length, out);
    out.extend_from_slice(b"\r\n");
}

fn filler(length: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + length, b'x');
}

fn call(number: u64, out: &mut Vec<u8>) {
    put!(
        out,
        "POST /api/v2/orders/{number}/lines HTTP/1.1\r\nHost: orders.internal:8080\r\nUser-Agent: okhttp/4.12.0\r\n\
         Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: 200\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    filler(200, out);
}

fn call_response(out: &mut Vec<u8>) {
    put!(
        out,
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 350\r\n\
         Date: Sat, 21 Nov 2026 02:41:27 GMT\r\n\r\n"
    );
    filler(350, out);
}
