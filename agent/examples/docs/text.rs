//! How numbers and tables are written.

use std::{ops::RangeInclusive, time::Duration};

/// Says on each page where it comes from.
pub(crate) fn heading(title: &str, about: &str, made_of: &str) -> String {
    format!("# {title}\n\n<!-- Made by `cargo xtask docs` of {made_of}. Do not edit. -->\n\n{about}\n")
}

/// `65,536`.
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    let digits = whole(number).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `64 KiB`, in the largest unit that leaves no rest.
pub(crate) fn bytes(number: impl TryInto<u64>) -> String {
    let number = whole(number);
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if number > 0 && number.is_multiple_of(1 << shift) && number >> shift > 0 {
            return format!("{} {unit}", count(number >> shift));
        }
    }
    format!("{} bytes", count(number))
}

/// `200 ms`.
pub(crate) fn time(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).expect("a limit is no age of the universe");
    for (unit_millis, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")] {
        if millis > 0 && millis.is_multiple_of(unit_millis) {
            return format!("{} {unit}", count(millis / unit_millis));
        }
    }
    format!("{} ms", count(millis))
}

pub(crate) fn nanoseconds(number: u64) -> String {
    time(Duration::from_nanos(number))
}

/// `256 to 4,096`.
pub(crate) fn range<T: Copy>(range: &RangeInclusive<T>, written: impl Fn(T) -> String) -> String {
    format!("{} to {}", written(*range.start()), written(*range.end()))
}

/// A table of Markdown.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    text
}

fn whole(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or_else(|_| panic!("a limit is not negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_largest_unit() {
        assert_eq!([count(0_u64), count(999_u64), count(1_048_576_u64)], ["0", "999", "1,048,576"]);
        assert_eq!([bytes(512_u64), bytes(65_536_u64), bytes(1_u64 << 30)], ["512 bytes", "64 KiB", "1 GiB"]);
        let times = [200, 30_000, 60_000, 3_600_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(times, ["200 ms", "30 s", "1 min", "1 h"]);
    }
}
