//! The `key=value,key=value` lists of OpenTelemetry's environment variables.
//!
//! OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS share the format of W3C Baggage without
//! properties: keys and values are percent-encoded UTF-8 (OpenTelemetry "Resource SDK" and "OTLP
//! Exporter Configuration").

/// Pairs taken from one list; what comes later is ignored.
pub const MAX_ATTRIBUTES: usize = 64;

/// The list is malformed: the specification says to ignore it as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    #[error("\"{0}\" is not key=value; separate pairs by commas and write a comma in a value as %2C")]
    NotAPair(String),
    #[error("\"{0}\" is not percent-encoded UTF-8; write a percent sign as %25")]
    NotDecodable(String),
}

/// Decodes a list. Empty elements are skipped, the last of equal keys wins, the order is that of
/// first occurrence.
///
/// # Errors
/// When an element has no key or no `=`, or does not decode to UTF-8.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, AttributesError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
        let not_a_pair = || AttributesError::NotAPair(element.to_owned());
        let (key, value) = element.split_once('=').ok_or_else(not_a_pair)?;
        let (key, value) = (decode(key.trim())?, decode(value.trim())?);
        if key.is_empty() {
            return Err(not_a_pair());
        }
        if let Some(existing) = pairs.iter_mut().find(|(known, _)| *known == key) {
            existing.1 = value;
        } else if pairs.len() < MAX_ATTRIBUTES {
            pairs.push((key, value));
        }
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, AttributesError> {
    let undecodable = || AttributesError::NotDecodable(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(undecodable()) };
        bytes.push(u8::try_from(high << 4 | low).map_err(|_| undecodable())?);
    }
    String::from_utf8(bytes).map_err(|_| undecodable())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists() {
        for (text, expected) in [
            ("", vec![]),
            (" , ", vec![]),
            ("a=b", vec![("a", "b")]),
            (
                "service.namespace=shop, deployment.environment.name=prod ",
                vec![("service.namespace", "shop"), ("deployment.environment.name", "prod")],
            ),
            ("a=x%2Cy%3Dz%20%C3%A9", vec![("a", "x,y=z é")]),
            ("a=b=c", vec![("a", "b=c")]),
            ("a=1,b=2,a=3", vec![("a", "3"), ("b", "2")]),
            ("a=", vec![("a", "")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["a", "=b", "a=%", "a=%4", "a=%zz", "a=%ff", "a=b,c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn encoding_is_undone(key in "[a-z.]{1,20}", value in ".{0,40}") {
            let encoded: String = value.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(parse(&format!("{key}={encoded}")), Ok(vec![(key, value)]));
        }
    }
}
