//! The names of the fields that matter, compared as words: by length first, then 4 or 8 bytes at a time.

/// A field whose value is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Accept,
    Authorization,
    ContentLength,
    ContentType,
    Cookie,
    Expect,
    Host,
    IfNoneMatch,
    Range,
    Referer,
    RequestId,
    Traceparent,
    Tracestate,
    TransferEncoding,
    Upgrade,
    UserAgent,
    XAmznTraceId,
    XCorrelationId,
    XRequestId,
}

impl Name {
    /// The field of this name, in any case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Some(match name.len() {
            4 if is(name, b"host") => Self::Host,
            5 if is(name, b"range") => Self::Range,
            6 if is(name, b"accept") => Self::Accept,
            6 if is(name, b"cookie") => Self::Cookie,
            6 if is(name, b"expect") => Self::Expect,
            7 if is(name, b"referer") => Self::Referer,
            7 if is(name, b"upgrade") => Self::Upgrade,
            10 if is(name, b"user-agent") => Self::UserAgent,
            10 if is(name, b"tracestate") => Self::Tracestate,
            10 if is(name, b"request-id") => Self::RequestId,
            11 if is(name, b"traceparent") => Self::Traceparent,
            12 if is(name, b"content-type") => Self::ContentType,
            12 if is(name, b"x-request-id") => Self::XRequestId,
            13 if is(name, b"authorization") => Self::Authorization,
            13 if is(name, b"if-none-match") => Self::IfNoneMatch,
            14 if is(name, b"content-length") => Self::ContentLength,
            15 if is(name, b"x-amzn-trace-id") => Self::XAmznTraceId,
            16 if is(name, b"x-correlation-id") => Self::XCorrelationId,
            17 if is(name, b"transfer-encoding") => Self::TransferEncoding,
            _ => return None,
        })
    }

    /// The first letters of fields that matter. `content`: those of [`Content`](crate::protocol::http::Content) do, too.
    pub(super) const fn letters(content: bool) -> u32 {
        const ALWAYS: u32 = Name::FRAMING | all_letters(b"h");
        const OF_CONTENT: u32 = all_letters(b"airx");
        if content { ALWAYS | OF_CONTENT } else { ALWAYS }
    }

    /// The first letters of fields that frame a body.
    pub(super) const FRAMING: u32 = all_letters(b"cetu");

    /// The field whose name the line begins with, in any case, and the name's length: what stands behind it may be more of a name.
    /// Without `content` those of [`Content`](crate::protocol::http::Content) alone are left out.
    #[inline(always)]
    pub(super) fn begins(line: &[u8], content: bool) -> Option<(Self, usize)> {
        /// Whether the line goes on behind this name.
        #[inline(always)]
        fn begins<const N: usize>(line: &[u8], name: &[u8; N]) -> bool {
            line.len() > N && is(&line[..N], name)
        }
        Some(match line.first()? | 0x20 {
            b'c' if begins(line, b"content-length") => (Self::ContentLength, 14),
            b'c' if content && begins(line, b"content-type") => (Self::ContentType, 12),
            b'c' if content && begins(line, b"cookie") => (Self::Cookie, 6),
            b'h' if begins(line, b"host") => (Self::Host, 4),
            b'u' if begins(line, b"user-agent") => (Self::UserAgent, 10),
            b'u' if begins(line, b"upgrade") => (Self::Upgrade, 7),
            b't' if begins(line, b"transfer-encoding") => (Self::TransferEncoding, 17),
            b't' if begins(line, b"traceparent") => (Self::Traceparent, 11),
            b't' if begins(line, b"tracestate") => (Self::Tracestate, 10),
            b'e' if begins(line, b"expect") => (Self::Expect, 6),
            _ if !content => return None,
            b'a' if begins(line, b"accept") => (Self::Accept, 6),
            b'a' if begins(line, b"authorization") => (Self::Authorization, 13),
            b'i' if begins(line, b"if-none-match") => (Self::IfNoneMatch, 13),
            b'r' if begins(line, b"referer") => (Self::Referer, 7),
            b'r' if begins(line, b"range") => (Self::Range, 5),
            b'r' if begins(line, b"request-id") => (Self::RequestId, 10),
            b'x' if begins(line, b"x-request-id") => (Self::XRequestId, 12),
            b'x' if begins(line, b"x-amzn-trace-id") => (Self::XAmznTraceId, 15),
            b'x' if begins(line, b"x-correlation-id") => (Self::XCorrelationId, 16),
            _ => return None,
        })
    }
}

/// The bit of a first letter in a set of them, the same for both cases (and for some bytes that are no letters).
pub(in crate::protocol) const fn first_letter(letter: u8) -> u32 {
    1 << (letter & 0x1f)
}

const fn all_letters(letters: &[u8]) -> u32 {
    let (mut all, mut index) = (0, 0);
    while index < letters.len() {
        all |= first_letter(letters[index]);
        index += 1;
    }
    all
}

/// Whether `name` is this one, which is in lower case, in any case. As words: the last one may overlap the one before.
#[inline(always)]
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    const { assert!(N >= 4 && N <= 24) };
    let Some(name) = name.as_array::<N>() else { return false };
    if N < 8 {
        return same::<4>(name, known, 0) && same::<4>(name, known, N - 4);
    }
    same::<8>(name, known, 0) && (N <= 16 || same::<8>(name, known, 8)) && same::<8>(name, known, N - 8)
}

/// Whether so many bytes at `at` are the same. Only a letter has another case: of no other byte may the bit be left out.
#[inline(always)]
fn same<const BYTES: usize>(name: &[u8], known: &[u8], at: usize) -> bool {
    let (mut word, mut lower, mut letters) = ([0; 8], [0; 8], [0; 8]);
    word[..BYTES].copy_from_slice(&name[at..at + BYTES]);
    lower[..BYTES].copy_from_slice(&known[at..at + BYTES]);
    for (letter, byte) in letters.iter_mut().zip(lower) {
        *letter = if byte.is_ascii_lowercase() { 0x20 } else { 0 };
    }
    u64::from_le_bytes(word) | u64::from_le_bytes(letters) == u64::from_le_bytes(lower)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const NAMES: [(&str, Name); 19] = [
        ("accept", Name::Accept),
        ("authorization", Name::Authorization),
        ("content-length", Name::ContentLength),
        ("content-type", Name::ContentType),
        ("cookie", Name::Cookie),
        ("expect", Name::Expect),
        ("host", Name::Host),
        ("if-none-match", Name::IfNoneMatch),
        ("range", Name::Range),
        ("referer", Name::Referer),
        ("request-id", Name::RequestId),
        ("traceparent", Name::Traceparent),
        ("tracestate", Name::Tracestate),
        ("transfer-encoding", Name::TransferEncoding),
        ("upgrade", Name::Upgrade),
        ("user-agent", Name::UserAgent),
        ("x-amzn-trace-id", Name::XAmznTraceId),
        ("x-correlation-id", Name::XCorrelationId),
        ("x-request-id", Name::XRequestId),
    ];

    #[test]
    fn any_byte_in_any_place_of_a_name() {
        for (text, name) in NAMES {
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), Some(name));
            for at in 0..text.len() {
                for byte in 0..=u8::MAX {
                    let mut changed = text.as_bytes().to_vec();
                    changed[at] = byte;
                    let same = byte.eq_ignore_ascii_case(&text.as_bytes()[at]);
                    let other = NAMES.iter().find(|(text, _)| text.as_bytes() == changed);
                    assert_eq!(
                        Name::of(&changed),
                        if same { Some(name) } else { other.map(|it| it.1) },
                        "{changed:?}"
                    );
                }
                assert_eq!(
                    Name::of(&text.as_bytes()[at + 1..]),
                    NAMES.iter().find(|it| it.0 == &text[at + 1..]).map(|it| it.1)
                );
            }
        }
    }

    #[test]
    fn a_line_begins_with_the_name_that_it_has() {
        for (text, name) in NAMES {
            let of_content = !matches!(
                name,
                Name::ContentLength
                    | Name::Expect
                    | Name::Host
                    | Name::Traceparent
                    | Name::Tracestate
                    | Name::TransferEncoding
                    | Name::Upgrade
                    | Name::UserAgent
            );
            let expected = Some((name, text.len()));
            for line in [format!("{text}: x"), text.to_ascii_uppercase() + ":x", format!("{text} :")] {
                let line = line.as_bytes();
                assert_eq!(Name::begins(line, true), expected);
                assert_eq!(Name::begins(line, false), expected.filter(|_| !of_content));
                assert_ne!(Name::letters(true) & first_letter(line[0]), 0);
                assert!(of_content || Name::letters(false) & first_letter(line[0]) != 0);
            }
            for end in 0..=text.len() {
                assert_eq!(Name::begins(&text.as_bytes()[..end], true), None, "{text} {end}");
            }
            // No name is the beginning of another one: what comes first does not matter.
            assert!(NAMES.iter().all(|(other, _)| *other == text || !other.starts_with(text)));
        }
        assert_eq!((Name::begins(b"", true), Name::begins(b"via: x", true)), (None, None));
    }
}
