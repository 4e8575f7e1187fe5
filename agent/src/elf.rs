//! The one reader of executable files and libraries: symbols, sections, what the kernel maps at an
//! address, and where that lies in the file. Every runtime and every probe finds its places with it.
//!
//! Any bytes may be given, whatever they claim. What cannot be read counts as missing.

use object::{
    LittleEndian as LE, ReadRef,
    elf::{
        EM_X86_64, ET_EXEC, FileHeader64, PF_W, PT_LOAD, ProgramHeader64, SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB,
    },
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _},
};

/// Most bytes of a section or a segment that are read. The largest Go programs have tables of some
/// tens of MiB.
const LARGEST: u64 = 256 << 20;
/// Most segments in which content is searched; linkers make five or six.
const SEGMENTS: usize = 16;
/// Most symbols of one table that are read; libpython exports 2,000 and has 10,000 in all.
const SYMBOLS: usize = 200_000;
/// Page size, by which mappings are aligned.
const PAGE: u64 = 4096;

/// A 64-bit x86 ELF file.
pub(crate) struct Image<'data, R: ReadRef<'data>> {
    data: R,
    header: &'data FileHeader64<LE>,
    segments: &'data [ProgramHeader64<LE>],
    sections: SectionTable<'data, FileHeader64<LE>, R>,
}

/// Which symbols of a file are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbols {
    /// Those that stripped files keep, for the dynamic linker.
    Exported,
    /// Those of the linker and of debuggers, too, where the file was not stripped.
    All,
}

impl<'data, R: ReadRef<'data>> Image<'data, R> {
    /// `None`: not a 64-bit ELF file of this kind of machine.
    pub(crate) fn parse(data: R) -> Option<Self> {
        let header = FileHeader64::<LE>::parse(data).ok()?;
        if header.e_machine.get(LE) != EM_X86_64 || !header.is_little_endian() {
            return None;
        }
        let segments = header.program_headers(LE, data).ok()?;
        // A file without sections still runs.
        let sections = header.sections(LE, data).unwrap_or_default();
        Some(Self { data, header, segments, sections })
    }

    /// Address of the first instruction that a process of this program executes.
    pub(crate) fn entry(&self) -> u64 {
        self.header.e_entry(LE)
    }

    /// Address and content of a section.
    pub(crate) fn section(&self, name: &str) -> Option<(u64, &'data [u8])> {
        let (_, section) = self.sections.section_by_name(LE, name.as_bytes())?;
        if section.sh_type(LE) == SHT_NOBITS {
            return None;
        }
        let content = self.read(section.sh_offset(LE), section.sh_size(LE))?;
        Some((section.sh_addr(LE), content))
    }

    /// Address and content of each segment that is mapped from the file, writable ones or the
    /// others.
    pub(crate) fn mapped(&self, writable: bool) -> impl Iterator<Item = (u64, &'data [u8])> {
        let segments = self.loaded().filter(move |segment| (segment.p_flags(LE) & PF_W != 0) == writable);
        segments.take(SEGMENTS).filter_map(|segment| {
            let content = self.read(segment.p_offset(LE), segment.p_filesz(LE))?;
            Some((segment.p_vaddr(LE), content))
        })
    }

    /// Addresses of these symbols, as the file has them.
    pub(crate) fn addresses<const N: usize>(&self, names: [&str; N], of: Symbols) -> [Option<u64>; N] {
        let mut found = [None; N];
        self.find_in(SHT_DYNSYM, names, &mut found);
        if of == Symbols::All {
            self.find_in(SHT_SYMTAB, names, &mut found);
        }
        found
    }

    /// Where in the file the byte at this address lies.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        self.loaded().find_map(|segment| {
            let into = address.checked_sub(segment.p_vaddr(LE))?;
            if into < segment.p_filesz(LE) { segment.p_offset(LE).checked_add(into) } else { None }
        })
    }

    /// `size` bytes at an address.
    pub(crate) fn at(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        self.read(self.file_offset(address)?, size)
    }

    /// `N` bytes at an address.
    pub(crate) fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.at(address, u64::try_from(N).ok()?)?.first_chunk().copied()
    }

    /// Difference between the addresses in memory and in the file, when the file's bytes from
    /// `offset` on are mapped at `start`. Modulo 2^64: a file may be linked above the addresses
    /// where it is loaded.
    pub(crate) fn bias(&self, offset: u64, start: u64) -> Option<u64> {
        if self.header.e_type(LE) == ET_EXEC {
            return Some(0);
        }
        let down = |number: u64| number - number % PAGE;
        self.loaded()
            .find(|segment| down(segment.p_offset(LE)) == offset)
            .map(|segment| start.wrapping_sub(down(segment.p_vaddr(LE))))
    }

    fn loaded(&self) -> impl Iterator<Item = &'data ProgramHeader64<LE>> + use<'data, R> {
        self.segments.iter().filter(|segment| segment.p_type(LE) == PT_LOAD)
    }

    /// Fills in the symbols of one table that were not found before.
    fn find_in<const N: usize>(&self, table: u32, names: [&str; N], found: &mut [Option<u64>; N]) {
        let Ok(symbols) = self.sections.symbols(LE, self.data, table) else { return };
        // The first symbol of a table stands for none.
        for symbol in symbols.iter().skip(1).take(SYMBOLS).filter(|symbol| !symbol.is_undefined(LE)) {
            let Ok(name) = symbol.name(LE, symbols.strings()) else { continue };
            for (slot, wanted) in found.iter_mut().zip(names) {
                if slot.is_none() && name == wanted.as_bytes() {
                    *slot = Some(symbol.st_value(LE));
                }
            }
        }
    }

    fn read(&self, offset: u64, size: u64) -> Option<&'data [u8]> {
        let end = offset.checked_add(size)?;
        if size > LARGEST || end > self.data.len().ok()? {
            return None;
        }
        self.data.read_bytes_at(offset, size).ok()
    }
}

/// The little-endian number at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk::<4>().copied()?))
}

/// The little-endian number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk::<8>().copied()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn ask(data: &[u8]) {
        let Some(image) = Image::parse(data) else { return };
        let [main, _] = image.addresses(["main", "_PyRuntime"], Symbols::All);
        for address in [0, 0x40_0000, u64::MAX - 1, image.entry(), main.unwrap_or_default()] {
            let _none: Option<[u8; 12]> = image.array(address);
            let _none = image.bias(address, u64::MAX);
            if let Some(content) = image.at(address, 9) {
                assert_eq!(content.len(), 9);
            }
        }
        let _none = image.section(".text");
        assert!(image.mapped(false).chain(image.mapped(true)).all(|(_, bytes)| bytes.len() <= data.len()));
    }

    /// This test's own program, cut so that many cases can be tried.
    fn program() -> Vec<u8> {
        let mut data = fs::read("/proc/self/exe").unwrap();
        data.truncate(1 << 16);
        data
    }

    #[test]
    fn this_program_has_a_main() {
        let data = fs::read("/proc/self/exe").unwrap();
        let image = Image::parse(&*data).unwrap();
        let [main, none] = image.addresses(["main", "no such symbol"], Symbols::All);
        let code: [u8; 4] = image.array(main.unwrap()).unwrap();
        assert_ne!(code, [0; 4]);
        assert_eq!(none, None);
        assert_eq!(image.bias(0, 0x7f00_0000_0000), Some(0x7f00_0000_0000));
        assert!(image.file_offset(image.entry()).is_some());
        let (address, text) = image.section(".text").unwrap();
        assert_eq!(image.at(address, 16).unwrap(), &text[..16]);
    }

    #[test]
    fn another_machine_and_no_file_at_all_are_none() {
        let mut other = program();
        other[18] = 183;
        assert!(Image::parse(&*other).is_none());
        assert!(Image::parse(&b""[..]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_answered(data in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            ask(&data);
        }

        #[test]
        fn any_damage_is_answered(
            changes in proptest::collection::vec((0..4_096_usize, any::<u8>()), 1..20),
            length in 0..65_536_usize,
        ) {
            let mut data = program();
            for (at, byte) in changes {
                data[at] = byte;
            }
            ask(&data);
            data.truncate(length);
            ask(&data);
        }
    }
}
