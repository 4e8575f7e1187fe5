//! Symbols of an ELF file, and the bytes that they name. Any file may be given; what cannot be read
//! counts as missing.

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, ReadRef, read::elf::ElfFile64};

/// Most symbols of one table that are read; libpython exports 2,000 and has 10,000 in all.
const SYMBOLS: usize = 200_000;

/// Page size, by which mappings are aligned.
const PAGE: u64 = 4096;

/// A file that was opened as ELF.
pub(super) struct Elf<'data, R: ReadRef<'data>>(ElfFile64<'data, object::Endianness, R>);

impl<'data, R: ReadRef<'data>> Elf<'data, R> {
    /// `None`: not a 64-bit ELF file of this kind of machine.
    pub(super) fn parse(data: R) -> Option<Self> {
        let file = ElfFile64::parse(data).ok()?;
        (file.architecture() == object::Architecture::X86_64 && file.is_little_endian()).then_some(Self(file))
    }

    /// Addresses of these symbols, as the file has them: from the table that stripped files keep,
    /// and with `also_hidden` from the other one, too.
    pub(super) fn addresses<const N: usize>(&self, names: [&str; N], also_hidden: bool) -> [Option<u64>; N] {
        let mut found = [None; N];
        let mut note = |name: &str, address: u64| {
            for (slot, wanted) in found.iter_mut().zip(names) {
                if slot.is_none() && name == wanted {
                    *slot = Some(address);
                }
            }
        };
        for symbol in self.0.dynamic_symbols().take(SYMBOLS).filter(|symbol| !symbol.is_undefined()) {
            note(symbol.name().unwrap_or_default(), symbol.address());
        }
        if also_hidden {
            for symbol in self.0.symbols().take(SYMBOLS).filter(|symbol| !symbol.is_undefined()) {
                note(symbol.name().unwrap_or_default(), symbol.address());
            }
        }
        found
    }

    /// `N` bytes at this address.
    pub(super) fn bytes<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let size = u64::try_from(N).ok()?;
        self.0
            .segments()
            .find_map(|segment| segment.data_range(address, size).ok().flatten())
            .and_then(|bytes| bytes.first_chunk().copied())
    }

    /// Difference between the addresses in memory and in the file, when the file's bytes from
    /// `offset` on are mapped at `start`. Modulo 2^64: a file may be linked above the addresses
    /// where it is loaded.
    pub(super) fn bias(&self, offset: u64, start: u64) -> Option<u64> {
        if self.0.kind() == object::ObjectKind::Executable {
            return Some(0);
        }
        let down = |number: u64| number - number % PAGE;
        self.0
            .segments()
            .find(|segment| down(segment.file_range().0) == offset)
            .map(|segment| start.wrapping_sub(down(segment.address())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn ask(data: &[u8]) {
        let Some(elf) = Elf::parse(data) else { return };
        let [main, _] = elf.addresses(["main", "_PyRuntime"], true);
        for address in [0, 0x40_0000, u64::MAX - 1, main.unwrap_or_default()] {
            let _none: Option<[u8; 12]> = elf.bytes(address);
            let _none = elf.bias(address, u64::MAX);
        }
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
        let elf = Elf::parse(&*data).unwrap();
        let [main, none] = elf.addresses(["main", "no such symbol"], true);
        let code: [u8; 4] = elf.bytes(main.unwrap()).unwrap();
        assert_ne!(code, [0; 4]);
        assert_eq!(none, None);
        assert_eq!(elf.bias(0, 0x7f00_0000_0000), Some(0x7f00_0000_0000));
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
