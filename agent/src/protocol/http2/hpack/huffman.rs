//! The Huffman code of HPACK (RFC 7541, appendix B).
//!
//! The code is canonical: within a length codes rise by one, in the order of [`SYMBOLS`]. So the
//! number of codes of each length and that order are the whole table.

use super::Malformed;

/// How many codes have each length, in bits; the last one is EOS.
const COUNTS: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// The symbols in the order of their codes, without EOS, which is the last of all.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95,
    98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77,
    78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88,
    90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208,
    128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230,
    129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206,
    215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127,
    220, 249, 10, 13, 22,
];

/// The codes of one length.
#[derive(Clone, Copy)]
struct Length {
    bits: u32,
    /// The first code, and the one after the last, at the top of 32 bits.
    first: u64,
    end: u64,
    /// Index of the first symbol.
    symbols: usize,
}

const LENGTHS: [Length; COUNTS.len()] = lengths();

/// For the next 8 bits the symbol and the length of its code; length 0: the code is longer.
static SHORT: [(u8, u8); 256] = short();

const fn lengths() -> [Length; COUNTS.len()] {
    let mut lengths = [Length { bits: 0, first: 0, end: 0, symbols: 0 }; COUNTS.len()];
    let (mut code, mut symbols, mut index) = (0_u64, 0, 0);
    while index < COUNTS.len() {
        let (bits, count) = COUNTS[index];
        let end = code + ((count as u64) << (32 - bits));
        lengths[index] = Length { bits, first: code, end, symbols };
        (code, symbols, index) = (end, symbols + count as usize, index + 1);
    }
    lengths
}

const fn short() -> [(u8, u8); 256] {
    let mut table = [(0, 0); 256];
    let mut next = 0;
    while next < 256 {
        let mut index = 0;
        while index < LENGTHS.len() && LENGTHS[index].bits <= 8 {
            let length = LENGTHS[index];
            let window = (next as u64) << 24;
            if window >= length.first && window < length.end {
                let symbol = length.symbols + ((window - length.first) >> (32 - length.bits)) as usize;
                table[next] = (SYMBOLS[symbol], length.bits as u8);
            }
            index += 1;
        }
        next += 1;
    }
    table
}

/// Appends the decoded bytes to `out`.
pub(super) fn decode(mut coded: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // Bits not yet decoded stand at the top of `bits`.
    let (mut bits, mut held) = (0_u64, 0);
    loop {
        while held <= 56
            && let Some((byte, rest)) = coded.split_first()
        {
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
            coded = rest;
        }
        let (symbol, length) = match SHORT[(bits >> 56) as usize] {
            (_, 0) => long(bits >> 32)?,
            (symbol, length) => (symbol, u32::from(length)),
        };
        if length > held {
            return padding(bits, held);
        }
        out.push(symbol);
        bits <<= length;
        held -= length;
    }
}

/// The symbol whose code, longer than 8 bits, begins these 32 bits, and the code's length.
fn long(window: u64) -> Result<(u8, u32), Malformed> {
    let length = LENGTHS.iter().find(|length| length.bits > 8 && window < length.end).ok_or(Malformed)?;
    let symbol = length.symbols + ((window - length.first) >> (32 - length.bits)) as usize;
    // The only symbol behind the last one is EOS, which must not occur.
    SYMBOLS.get(symbol).map(|symbol| (*symbol, length.bits)).ok_or(Malformed)
}

/// A text ends with less than 8 bits, all of them 1 (section 5.2). No code is a prefix of that.
fn padding(bits: u64, held: u32) -> Result<(), Malformed> {
    if held == 0 {
        return Ok(());
    }
    if held < 8 && bits >> (64 - held) == (1 << held) - 1 { Ok(()) } else { Err(Malformed) }
}
