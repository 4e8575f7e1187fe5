//! Durations and sizes as people write them, in the configuration and on the command line alike.

use std::time::Duration;

/// What [`duration()`] expects, for error messages.
pub(crate) const DURATION: &str = "a duration like 500ms, 10s, 2m or 1h";

/// What [`bytes()`] expects, for error messages.
pub(crate) const SIZE: &str = "a size like 500KiB, 128MiB or 2GiB";

/// A whole number and its unit: `500ms`, `30s`, `2m`, `1h`. A space may stand between. A bare
/// number has no obvious unit: OTEL_EXPORTER_OTLP_TIMEOUT counts milliseconds, timeout(1) seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        _ => None,
    }
}

/// A whole number and its unit, a bare one in bytes: `8192`, `64KiB`, `8MiB`, `1GiB`. A space may
/// stand between.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Digits and the unit after them, perhaps with a space between.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("30s", Some(Duration::from_secs(30))),
            ("2 m", Some(Duration::from_secs(120))),
            ("0s", Some(Duration::ZERO)),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1h", Some(Duration::from_secs(3_600))),
            ("1d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615m", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
        for (text, expected) in [
            ("8192", Some(8192)),
            ("64KiB", Some(65_536)),
            ("8 MiB", Some(8 << 20)),
            ("1GiB", Some(1 << 30)),
            ("8MB", None),
            ("MiB", None),
            ("", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
