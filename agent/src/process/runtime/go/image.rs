//! The parts of a program's file that its Go runtime describes: sections, and what the kernel maps
//! at an address. Any bytes may be given, whatever they claim.

use object::{
    LittleEndian as LE, ReadRef,
    elf::{EM_X86_64, FileHeader64, PT_LOAD, ProgramHeader64, SHT_NOBITS},
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable},
};

/// Most bytes of a section or a segment that are read. The largest Go programs have tables of some
/// tens of MiB.
const LARGEST: u64 = 256 << 20;
/// Most segments that are read; linkers make five or six.
const SEGMENTS: usize = 16;

/// A 64-bit x86 ELF file.
pub(super) struct Image<'data, R: ReadRef<'data>> {
    data: R,
    segments: &'data [ProgramHeader64<LE>],
    sections: SectionTable<'data, FileHeader64<LE>, R>,
}

impl<'data, R: ReadRef<'data>> Image<'data, R> {
    pub(super) fn parse(data: R) -> Option<Self> {
        let header = FileHeader64::<LE>::parse(data).ok()?;
        if header.e_machine.get(LE) != EM_X86_64 || !header.is_little_endian() {
            return None;
        }
        let segments = header.program_headers(LE, data).ok()?;
        // A file without sections still runs.
        let sections = header.sections(LE, data).unwrap_or_default();
        Some(Self { data, segments, sections })
    }

    /// Address and content of a section.
    pub(super) fn section(&self, name: &str) -> Option<(u64, &'data [u8])> {
        let (_, section) = self.sections.section_by_name(LE, name.as_bytes())?;
        if section.sh_type(LE) == SHT_NOBITS {
            return None;
        }
        let content = self.bytes(section.sh_offset(LE), section.sh_size(LE))?;
        Some((section.sh_addr(LE), content))
    }

    /// Address and content of each segment that is mapped from the file, writable ones or the
    /// others.
    pub(super) fn mapped(&self, writable: bool) -> impl Iterator<Item = (u64, &'data [u8])> {
        let segments = self.segments.iter().filter(move |segment| {
            let can_write = segment.p_flags(LE) & object::elf::PF_W != 0;
            segment.p_type(LE) == PT_LOAD && can_write == writable
        });
        segments.take(SEGMENTS).filter_map(|segment| {
            let content = self.bytes(segment.p_offset(LE), segment.p_filesz(LE))?;
            Some((segment.p_vaddr(LE), content))
        })
    }

    /// Where in the file the byte at this address lies.
    pub(super) fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().filter(|segment| segment.p_type(LE) == PT_LOAD).find_map(|segment| {
            let into = address.checked_sub(segment.p_vaddr(LE))?;
            if into < segment.p_filesz(LE) { segment.p_offset(LE).checked_add(into) } else { None }
        })
    }

    /// `size` bytes at an address.
    pub(super) fn at(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        self.bytes(self.file_offset(address)?, size)
    }

    fn bytes(&self, offset: u64, size: u64) -> Option<&'data [u8]> {
        let end = offset.checked_add(size)?;
        if size > LARGEST || end > self.data.len().ok()? {
            return None;
        }
        self.data.read_bytes_at(offset, size).ok()
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk::<4>().copied()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk::<8>().copied()?))
}
