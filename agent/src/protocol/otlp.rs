//! Whether a connection that is no HTTP/1 sends traces over OTLP/gRPC: the path of that RPC in the first bytes that are sent.
//!
//! HTTP/2 is not parsed. But a header's text is either literal or in HPACK's Huffman code (RFC 7541, appendix B), which begins at
//! a byte's boundary and is always the same, so that the path can be searched for.

use memchr::memmem;

/// The path of the RPC (opentelemetry-proto, `TraceService.Export`).
pub(super) const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The same in Huffman code, padded with ones.
const CODED: &[u8] = b"\x60\xf5\x96\xa4\x96\x82\xd2\x54\xd9\xe9\x7a\xec\x3a\x4e\xb9\x0f\x45\x05\x22\x4f\x62\
    \xe9\xb0\x64\x2a\xfd\xc2\xbe\xfb\x06\x42\xee\x2d\x9d\xcc\x42\xb1\x83\xcd\x67\xb1\x3f";

/// Whether what a client sends has the path of OTLP's traces.
pub(super) fn exports_traces(sent: &[u8]) -> bool {
    memmem::find(sent, CODED).is_some() || memmem::find(sent, GRPC_PATH.as_bytes()).is_some()
}

/// Shows in `masked` where `sent` has the path, which is no secret: by it a program is recognised that exports traces.
pub(super) fn show(sent: &[u8], masked: &mut [u8]) {
    for path in [CODED, GRPC_PATH.as_bytes()] {
        for start in memmem::find_iter(sent, path) {
            masked[start..start + path.len()].copy_from_slice(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http2::PREFACE;

    /// Codes of RFC 7541, appendix B, of the characters of the path.
    const CODES: [(u8, u32, u32); 21] = [
        (b'/', 0x18, 6),
        (b'.', 0x17, 6),
        (b'1', 0x1, 5),
        (b'E', 0x60, 7),
        (b'S', 0x6e, 7),
        (b'T', 0x6f, 7),
        (b'a', 0x3, 5),
        (b'c', 0x4, 5),
        (b'e', 0x5, 5),
        (b'i', 0x6, 5),
        (b'l', 0x28, 6),
        (b'm', 0x29, 6),
        (b'n', 0x2a, 6),
        (b'o', 0x7, 5),
        (b'p', 0x2b, 6),
        (b'r', 0x2c, 6),
        (b't', 0x9, 5),
        (b'v', 0x77, 7),
        (b'x', 0x79, 7),
        (b'y', 0x7a, 7),
        (b'_', 0x22, 6),
    ];

    #[test]
    fn the_coded_path_is_that_of_the_specification() {
        let mut bits = String::new();
        for character in GRPC_PATH.as_bytes() {
            let (_, code, length) = CODES.iter().find(|(known, ..)| known == character).unwrap();
            bits.push_str(&format!("{code:0length$b}", length = *length as usize));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let bytes: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect();
        assert_eq!(bytes, CODED);
        assert!(exports_traces(&[PREFACE, b"\x00\x00", CODED, b"\x7a"].concat()));
        assert!(!exports_traces(&CODED[1..]));
    }
}
