//! The list format of OpenTelemetry's environment variables: `key=value,key=value` with percent-encoded values (W3C Baggage
//! without properties), as in OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS.

/// The pairs of `list` in their order, trimmed and decoded; an entry without `=` or without a key is skipped.
#[must_use]
pub fn parse(list: &str) -> Vec<(String, String)> {
    list.split(',')
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (percent_decode(key.trim()), percent_decode(value.trim())))
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

/// Replaces `%XX`; a `%` that no two hex digits follow stays. What is not UTF-8 after that becomes U+FFFD.
fn percent_decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Value of an ASCII hex digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let cases: [(&str, &[(&str, &str)]); 8] = [
            ("", &[]),
            ("a=1", &[("a", "1")]),
            (" a = 1 , b=2,", &[("a", "1"), ("b", "2")]),
            ("authorization=Basic%20dXNlcjpwYXNz=", &[("authorization", "Basic dXNlcjpwYXNz=")]),
            ("a=%2C%3d%e2%82%AC", &[("a", ",=€")]),
            ("a=100%,b=%zz,c=%4", &[("a", "100%"), ("b", "%zz"), ("c", "%4")]),
            ("nothing,=x,a=", &[("a", "")]),
            ("a=%ff", &[("a", "\u{fffd}")]),
        ];
        for (list, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(parse(list), expected, "{list}");
        }
    }
}
