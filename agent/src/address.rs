//! IP addresses as text, for every encoding: each span has two or three of them, and `Display` takes 1,800 instructions for one
//! of IPv6.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::Range,
};

use compact_str::ToCompactString as _;

/// Each octet in decimal, and the dot after it.
static OCTETS: [[u8; 4]; 256] = octets();

/// Bytes of an IPv4 address, as text, with a dot at its end.
const LONGEST_DOTTED: usize = "255.255.255.255.".len();

type Dotted = [u8; LONGEST_DOTTED];
/// Bytes of an IPv6 address, as text, and what the last digits may take too much.
const LONGEST_V6: usize = 48;

/// Appends `address` as its `Display` has it.
pub(crate) fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => write_dotted(address.octets(), out),
        IpAddr::V6(address) => write_v6(address, out),
    }
}

/// Gives `address`, as its `Display` has it, to `take`.
pub(crate) fn with_address(address: IpAddr, take: impl FnOnce(&str)) {
    let IpAddr::V4(address) = address else { return take(&address.to_compact_string()) };
    let (text, length) = dotted(address.octets());
    // Digits and dots are UTF-8.
    take(str::from_utf8(&text[..length]).unwrap_or_default());
}

fn write_dotted(octets: [u8; 4], out: &mut Vec<u8>) {
    let (text, length) = dotted(octets);
    let start = out.len();
    out.extend_from_slice(&text);
    out.truncate(start + length);
}

/// The text, and how long it is.
#[inline]
fn dotted(octets: [u8; 4]) -> (Dotted, usize) {
    let mut text = [0; LONGEST_DOTTED];
    let mut end = 0;
    for octet in octets {
        // Four bytes, of which the next octet overwrites what is too much.
        text[end..end + 4].copy_from_slice(&OCTETS[usize::from(octet)]);
        end += length_with_dot(octet);
    }
    (text, end - 1)
}

/// In the form that RFC 5952 recommends (section 4).
#[inline(never)]
fn write_v6(address: Ipv6Addr, out: &mut Vec<u8>) {
    if let Some(mapped) = address.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return write_dotted(mapped.octets(), out);
    }
    let segments = address.segments();
    let zeros = longest_zeros(segments);
    let start = out.len();
    out.extend_from_slice(&[0; LONGEST_V6]);
    let text = &mut out[start..];
    let mut end = write_segments(&segments[..zeros.start], text, 0);
    if !zeros.is_empty() {
        let colons: &[u8] = if zeros.start == 0 { b"::" } else { b":" };
        text[end..end + colons.len()].copy_from_slice(colons);
        end += colons.len();
    }
    let rest = &segments[zeros.end..];
    end = write_segments(rest, text, end);
    let last_colon = usize::from(!rest.is_empty());
    out.truncate(start + end - last_colon);
}

/// Writes each of `segments` with a colon after it at `end`. Returns the new end.
fn write_segments(segments: &[u16], text: &mut [u8], mut end: usize) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for segment in segments {
        let [first, second, third, fourth] =
            [12, 8, 4, 0].map(|shift| DIGITS[usize::from(segment >> shift & 15)]);
        let leading_zeros = (segment.leading_zeros() / 4).min(3);
        // Eight bytes, of which the next segment overwrites what is too much.
        let all = u64::from_be_bytes([first, second, third, fourth, b':', 0, 0, 0]) << (8 * leading_zeros);
        text[end..end + 8].copy_from_slice(&all.to_be_bytes());
        end += 5 - leading_zeros as usize;
    }
    end
}

/// The segments that `::` stands for: the first of the longest runs of zeros, if it has two or more.
fn longest_zeros(segments: [u16; 8]) -> Range<usize> {
    let mut longest = 0..0;
    let mut run = 0..0;
    for (index, segment) in segments.into_iter().enumerate() {
        if segment != 0 {
            run.start = index + 1;
        }
        run.end = index + 1;
        if run.len() > longest.len() {
            longest = run.clone();
        }
    }
    if longest.len() < 2 { 0..0 } else { longest }
}

const fn length_with_dot(octet: u8) -> usize {
    2 + (octet >= 10) as usize + (octet >= 100) as usize
}

const fn octets() -> [[u8; 4]; 256] {
    let mut all = [[0; 4]; 256];
    let mut octet = 0;
    while octet < all.len() {
        let value = octet as u8;
        let digits = [b'0' + value / 100, b'0' + value / 10 % 10, b'0' + value % 10, b'.'];
        let skipped = digits.len() - length_with_dot(value);
        let mut at = skipped;
        while at < digits.len() {
            all[octet][at - skipped] = digits[at];
            at += 1;
        }
        octet += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(address: IpAddr) -> String {
        let mut out = b"before ".to_vec();
        write_address(address, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_octet_in_every_place() {
        for octet in 0..=u8::MAX {
            for octets in
                [[octet, 0, 10, 255], [255, octet, 0, 1], [1, 100, octet, 9], [0, 255, 99, octet], [octet; 4]]
            {
                let address = IpAddr::from(octets);
                assert_eq!(text(address), format!("before {address}"));
            }
        }
    }

    #[test]
    fn every_pattern_of_zeros() {
        for pattern in 0..=u8::MAX {
            for other in [1, 0x20, 0x300, 0xffff] {
                let segment = |index: u32| if pattern >> index & 1 == 1 { other } else { 0_u16 };
                let address = IpAddr::from([0, 1, 2, 3, 4, 5, 6, 7].map(segment));
                assert_eq!(text(address), format!("before {address}"));
            }
        }
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_displayed(address in any::<IpAddr>()) {
            prop_assert_eq!(text(address), format!("before {address}"));
        }
    }
}
