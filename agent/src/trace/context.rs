//! W3C trace context: what `traceparent` and `tracestate` say
//! (<https://www.w3.org/TR/trace-context/>).

use super::span::{SpanId, TraceId};

/// Characters of `tracestate` that are kept. Longer values are cut at a list member (section
/// 3.3.1.5 asks for at least 512).
const STATE_CHARACTERS: usize = 512;
/// List members of `tracestate`. A longer list is invalid and dropped whole (section 3.3.1.1).
const STATE_MEMBERS: usize = 32;
/// The flags that version 00 defines: sampled, and random trace id (level 2).
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// A valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TraceParent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) flags: u8,
}

/// Parses a `traceparent` strictly: lower-case hex, no version `ff`, no zero ids. Anything after
/// the flags must follow a dash, and only in versions above `00` (sections 3.2.2 and 4.1).
pub(super) fn trace_parent(value: &str) -> Option<TraceParent> {
    let bytes = value.as_bytes();
    let (fixed, rest) = bytes.split_at_checked(55)?;
    if fixed[2] != b'-' || fixed[35] != b'-' || fixed[52] != b'-' {
        return None;
    }
    let [version] = hex::<1>(&fixed[..2])?;
    let trace = hex::<16>(&fixed[3..35])?;
    let span = hex::<8>(&fixed[36..52])?;
    let [flags] = hex::<1>(&fixed[53..])?;
    let suffix_allowed = match version {
        0xff => return None,
        0 => rest.is_empty(),
        _ => rest.is_empty() || rest[0] == b'-',
    };
    if !suffix_allowed || trace == [0; 16] || span == [0; 8] {
        return None;
    }
    let flags = flags & if version == 0 { KNOWN_FLAGS } else { SAMPLED };
    Some(TraceParent { trace: TraceId(trace), span: SpanId(span), flags })
}

/// The part of a `tracestate` that is kept: whole members, at most 512 characters. `None` if it is
/// invalid.
pub(super) fn trace_state(value: &str) -> Option<&str> {
    let value = value.trim_matches([' ', '\t']);
    let printable = value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if !printable || value.split(',').count() > STATE_MEMBERS {
        return None;
    }
    if value.len() <= STATE_CHARACTERS {
        return Some(value);
    }
    // All characters are ASCII here, so every index is a boundary.
    let kept = &value[..=STATE_CHARACTERS];
    Some(kept.rfind(',').map_or("", |comma| &kept[..comma]))
}

/// Decodes exactly `2 * N` lower-case hex digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn valid_trace_parents() {
        for (value, flags) in [
            (format!("00-{TRACE}-{SPAN}-01"), 1),
            (format!("00-{TRACE}-{SPAN}-00"), 0),
            (format!("00-{TRACE}-{SPAN}-03"), 3),
            (format!("00-{TRACE}-{SPAN}-ff"), 3),
            (format!("01-{TRACE}-{SPAN}-01"), 1),
            (format!("cc-{TRACE}-{SPAN}-03-what-the-future-holds"), 1),
            (format!("cc-{TRACE}-{SPAN}-01-"), 1),
        ] {
            let parsed = trace_parent(&value).unwrap_or_else(|| panic!("{value} is valid"));
            assert_eq!(parsed.flags, flags, "{value}");
            assert_eq!(parsed.trace.0[..2], [0x0a, 0xf7]);
            assert_eq!(parsed.span.0[6..], [0x33, 0x31]);
        }
    }

    #[test]
    fn invalid_trace_parents() {
        let zeros = "0".repeat(32);
        for value in [
            String::new(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00-{}g-{SPAN}-01", &TRACE[..31]),
            format!("00-{}é-{SPAN}-01", &TRACE[..30]),
        ] {
            assert_eq!(trace_parent(&value), None, "{value}");
        }
    }

    #[test]
    fn trace_state_is_kept_within_its_limits() {
        assert_eq!(trace_state(" a=1,b=2 "), Some("a=1,b=2"));
        assert_eq!(trace_state("a=\u{1}"), None);
        assert_eq!(trace_state("a=ä"), None);
        let many = vec!["k=v"; 33].join(",");
        assert_eq!(trace_state(&many), None);
        assert_eq!(trace_state(&many[4..]), Some(&many[4..]));
        let long = format!("{},b={}", "a".repeat(300), "b".repeat(300));
        assert_eq!(trace_state(&long), Some("a".repeat(300).as_str()));
        assert_eq!(trace_state(&"a".repeat(513)), Some(""));
        let exact = format!("{},{}", "a".repeat(255), "b".repeat(256));
        assert_eq!(trace_state(&exact), Some(exact.as_str()));
        assert_eq!(trace_state(&format!("{exact},c")), Some(exact.as_str()));
    }

    proptest! {
        #[test]
        fn hostile_headers_do_no_harm(value in ".{0,80}", state in ".{0,700}") {
            let _ = trace_parent(&value);
            if let Some(kept) = trace_state(&state) {
                prop_assert!(kept.len() <= STATE_CHARACTERS);
            }
        }

        #[test]
        fn a_printed_traceparent_is_parsed_back(
            trace in any::<[u8; 16]>(),
            span in any::<[u8; 8]>(),
            flags in 0_u8..4,
        ) {
            let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let value = format!("00-{}-{}-{flags:02x}", digits(&trace), digits(&span));
            let expected = (trace != [0; 16] && span != [0; 8])
                .then_some(TraceParent { trace: TraceId(trace), span: SpanId(span), flags });
            prop_assert_eq!(trace_parent(&value), expected);
        }
    }
}
