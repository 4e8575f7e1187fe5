//! The Go version of a program: the linker writes it to the start of the data, and `-s -w` leaves
//! it there (debug/buildinfo/buildinfo.go).

use object::ReadRef;

use crate::elf::{Image, u64_at};

const MAGIC: &[u8; 14] = b"\xff Go buildinf:";
/// Alignment of the magic.
const ALIGNMENT: usize = 16;
/// Most bytes before it in the data; no linker has put it further back.
const SEARCHED: usize = 64 * 1024;
const HEADER: usize = 32;
/// Since 1.18: the version stands behind the header, and no pointer to it.
const INLINE: u8 = 2;
/// A version with its experiments has some tens of bytes.
const LONGEST: u64 = 256;

/// The version of Go, as it names itself; `None`: not a Go program.
pub(super) fn version<'data, R: ReadRef<'data>>(image: &Image<'data, R>) -> Option<&'data str> {
    let own = image.section(".go.buildinfo").map(|(_, content)| content);
    let data = image.mapped(true).map(|(_, content)| &content[..content.len().min(SEARCHED)]);
    own.into_iter().chain(data).find_map(|content| {
        let at = (0..content.len()).step_by(ALIGNMENT).find(|&at| content[at..].starts_with(MAGIC))?;
        stated(image, &content[at..])
    })
}

fn stated<'data, R: ReadRef<'data>>(image: &Image<'data, R>, header: &'data [u8]) -> Option<&'data str> {
    let (pointer_size, flags) = (*header.get(14)?, *header.get(15)?);
    let text = if flags & INLINE != 0 {
        let (length, start) = varint(header.get(HEADER..)?)?;
        let text = header.get(HEADER..)?.get(start..)?;
        text.get(..usize::try_from(length).ok().filter(|_| length <= LONGEST)?)?
    } else if pointer_size == 8 && flags == 0 {
        // A string: pointer and length.
        let string = image.at(u64_at(header, 16)?, 16)?;
        image.at(u64_at(string, 0)?, u64_at(string, 8).filter(|length| *length <= LONGEST)?)?
    } else {
        return None;
    };
    std::str::from_utf8(text).ok()
}

/// A number of encoding/binary and the bytes that it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints() {
        assert_eq!(varint(&[8]), Some((8, 1)));
        assert_eq!(varint(&[0x88, 1]), Some((136, 2)));
        assert_eq!(varint(&[0x88]), None);
        assert_eq!(varint(&[0xff; 9]), None);
    }
}
