//! Where a function of a Go program lies, stripped or not: the table from program counters to
//! functions (`pclntab`), which the runtime itself needs for tracebacks (runtime/symtab.go,
//! debug/gosym/pclntab.go).
//!
//! Since 1.18 the table counts from the start of Go's code. Up to 1.25 its header has that address;
//! `moduledata` has it in every version. `moduledata` is found by its first words, the addresses of
//! the table's header and of the names that follow it.

use memchr::memmem;
use object::ReadRef;

use crate::elf::{Image, u32_at, u64_at};

/// Go 1.16 and 1.17, 1.18 and 1.19, and since 1.20.
const MAGICS: [u32; 3] = [0xffff_fffa, 0xffff_fff0, 0xffff_fff1];
const GO_1_16: u32 = MAGICS[0];
/// What follows the magic on amd64: two zeros, code in steps of 1, pointers of 8 bytes.
const AMD64: u32 = 0x0801_0000;
/// Most places that begin like a table and are tried.
const CANDIDATES: usize = 4;
/// Where `moduledata` has the start of the code: after the header's address, six slices,
/// `findfunctab`, `minpc` and `maxpc`.
const MODULE_TEXT: usize = 8 + 6 * 24 + 3 * 8;

/// The table of a program.
pub(super) struct Functions<'data> {
    table: &'data [u8],
    names: &'data [u8],
    /// Pairs of numbers: a function's place, and the place of its description.
    entries: &'data [u8],
    /// Bytes of such a number.
    word: usize,
    count: usize,
    /// The address from which the table counts.
    text: u64,
}

impl<'data> Functions<'data> {
    pub(super) fn find<R: ReadRef<'data>>(image: &Image<'data, R>) -> Option<Self> {
        let sections = [".gopclntab", ".data.rel.ro.gopclntab"];
        if let Some(found) = sections.iter().find_map(|name| image.section(name)) {
            return Self::parse(image, found.0, found.1);
        }
        // Linkers other than Go's may have put it among other read-only data.
        let segments = image.mapped(false).chain(image.mapped(true));
        segments.into_iter().find_map(|(address, content)| {
            MAGICS.iter().find_map(|magic| {
                let mut start = [0; 8];
                start[..4].copy_from_slice(&magic.to_le_bytes());
                start[4..].copy_from_slice(&AMD64.to_le_bytes());
                let found = memmem::find_iter(content, &start).take(CANDIDATES);
                found
                    .into_iter()
                    .find_map(|at| Self::parse(image, address.checked_add(at as u64)?, content.get(at..)?))
            })
        })
    }

    fn parse<R: ReadRef<'data>>(image: &Image<'data, R>, address: u64, table: &'data [u8]) -> Option<Self> {
        let magic = u32_at(table, 0).filter(|magic| MAGICS.contains(magic))?;
        if u32_at(table, 4)? != AMD64 {
            return None;
        }
        // The first versions have no start of the code in the header.
        let old = magic == GO_1_16;
        let (offsets, word) = if old { (24, 8) } else { (32, 4) };
        let field =
            |index: usize| -> Option<usize> { usize::try_from(u64_at(table, offsets + 8 * index)?).ok() };
        let (names, after_names, entries) = (field(0)?, field(1)?, field(4)?);
        let count = usize::try_from(u64_at(table, 8)?).ok()?;
        let text = if old { 0 } else { text(image, table, address, names as u64)? };
        Some(Self {
            table: table.get(entries..)?,
            names: table.get(names..after_names)?,
            entries: table.get(entries..)?.get(..count.checked_mul(2 * word)?)?,
            word,
            count,
            text,
        })
    }

    /// The address of the function of this name; `None`: it is not in the program.
    pub(super) fn address(&self, name: &str) -> Option<u64> {
        let name = self.name_offset(name)?;
        (0..self.count).find_map(|index| {
            let entry = self.entries.get(index * 2 * self.word..)?;
            let (place, described) = (self.number(entry, 0)?, self.number(entry, self.word)?);
            // A description begins with the place, and the name follows.
            let at = usize::try_from(described).ok()?.checked_add(self.word)?;
            if u32_at(self.table, at)? != name { None } else { self.text.checked_add(place) }
        })
    }

    /// Names end with a zero.
    fn name_offset(&self, name: &str) -> Option<u32> {
        let ends = memmem::find_iter(self.names, name.as_bytes()).find(|&at| {
            let whole = at == 0 || self.names.get(at - 1) == Some(&0);
            whole && self.names.get(at + name.len()) == Some(&0)
        });
        u32::try_from(ends?).ok()
    }

    fn number(&self, bytes: &[u8], at: usize) -> Option<u64> {
        if self.word == 8 { u64_at(bytes, at) } else { u32_at(bytes, at).map(u64::from) }
    }
}

/// Where Go's code starts.
fn text<'data, R: ReadRef<'data>>(
    image: &Image<'data, R>,
    table: &[u8],
    address: u64,
    names: u64,
) -> Option<u64> {
    let mut first = [0; 16];
    first[..8].copy_from_slice(&address.to_le_bytes());
    first[8..].copy_from_slice(&address.checked_add(names)?.to_le_bytes());
    let module = image.mapped(true).find_map(|(_, content)| {
        let at = memmem::find(content, &first)?;
        u64_at(content, at + MODULE_TEXT)
    });
    module.or_else(|| u64_at(table, 24)).filter(|text| *text != 0)
}
