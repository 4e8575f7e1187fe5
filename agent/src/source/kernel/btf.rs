//! The kernel's own type information (`/sys/kernel/btf/vmlinux`): the offset of a field in a
//! struct, the parameters of a function, the functions that exist. Format:
//! <https://github.com/torvalds/linux/blob/v6.12/Documentation/bpf/btf.rst>.
//!
//! Rust BPF has no relocations, so offsets are looked up here and passed as constants. The reader
//! trusts nothing: every access is bounds-checked, and a malformed file is an error.

use std::{fs, io, path::Path};

use thiserror::Error;

/// Where kernels since 5.4 (CONFIG_DEBUG_INFO_BTF) show their types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// How deep anonymous structs and unions may nest before the file counts as malformed.
const NESTING: u32 = 16;
/// Most members looked at for one question. The largest structs of a kernel have some hundreds,
/// nested ones included.
const MEMBERS: u32 = 1 << 16;

/// Why there is no type information.
#[derive(Debug, Error)]
pub enum BtfError {
    #[error(
        "cannot read {path}: {source}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y (all major distributions since 2021)"
    )]
    Unreadable { path: String, source: io::Error },
    #[error("type information is malformed: {0}")]
    Malformed(&'static str),
}

/// Kinds of types that are read (`BTF_KIND_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Struct,
    Union,
    Typedef,
    Modifier,
    Func,
    FuncProto,
    Other,
}

/// One type's header and where its members lie.
#[derive(Debug, Clone, Copy)]
struct Type {
    name: u32,
    kind: Kind,
    members: u32,
    bitfields: bool,
    size_or_type: u32,
    /// Offset of the members in `Btf::types`.
    body: usize,
}

/// Where a member lies in a struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Bits from the start of the struct.
    pub bit: u32,
    /// Bits of a bit field, 0 for an ordinary member.
    pub width: u32,
    type_id: u32,
}

impl Field {
    /// Bytes from the start of the struct.
    #[must_use]
    pub const fn byte(self) -> u32 {
        self.bit / 8
    }
}

/// The parsed type information.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    strings_end: usize,
    /// By type id; id 0 is void.
    types: Vec<Type>,
}

impl Btf {
    /// Reads that of the running kernel.
    pub fn of_kernel() -> Result<Self, BtfError> {
        Self::read(Path::new(VMLINUX))
    }

    /// Reads a file of BTF.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let data = fs::read(path)
            .map_err(|source| BtfError::Unreadable { path: path.display().to_string(), source })?;
        Self::parse(data)
    }

    /// Parses BTF in little-endian byte order.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let magic = u16_at(&data, 0)?;
        if magic != MAGIC {
            return Err(BtfError::Malformed("wrong magic number"));
        }
        let header = u32_at(&data, 4)? as usize;
        let section = |at: usize, length: usize| -> Result<(usize, usize), BtfError> {
            let start = header.checked_add(u32_at(&data, at)? as usize).ok_or(OVERFLOW)?;
            let end = start.checked_add(u32_at(&data, length)? as usize).ok_or(OVERFLOW)?;
            if end > data.len() {
                return Err(BtfError::Malformed("a section ends beyond the file"));
            }
            Ok((start, end))
        };
        let (types_start, types_end) = section(8, 12)?;
        let (strings, strings_end) = section(16, 20)?;
        let types = index(&data, types_start, types_end)?;
        Ok(Self { data, strings, strings_end, types })
    }

    /// Where `path` (member, member of that member …) lies in `struct name`; `None` when the kernel
    /// has no such member.
    #[must_use]
    pub fn field(&self, name: &str, path: &[&str]) -> Option<Field> {
        let mut id = self.find(Kind::Struct, name)?;
        let mut bit = 0;
        let mut found = None;
        let mut left = MEMBERS;
        for member in path {
            let field = self.member(id, member, NESTING, &mut left)?;
            bit = field.bit.checked_add(bit)?;
            id = self.resolve(field.type_id)?;
            found = Some(Field { bit, ..field });
        }
        found
    }

    /// Whether a typedef of that name exists (`btf_trace_X`: raw tracepoint X).
    #[must_use]
    pub fn has_typedef(&self, name: &str) -> bool {
        self.find(Kind::Typedef, name).is_some()
    }

    /// Names of a function's parameters; `None` when the kernel has no such function, or has
    /// inlined it everywhere.
    #[must_use]
    pub fn parameters(&self, function: &str) -> Option<Vec<String>> {
        let id = self.find(Kind::Func, function)?;
        let proto = self.types.get(self.types.get(id as usize)?.size_or_type as usize)?;
        if proto.kind != Kind::FuncProto {
            return None;
        }
        (0..proto.members as usize)
            .map(|n| self.name(u32_at(&self.data, proto.body + n * 8).ok()?).map(str::to_owned))
            .collect()
    }

    fn find(&self, kind: Kind, name: &str) -> Option<u32> {
        let found = self.types.iter().position(|t| t.kind == kind && self.name(t.name) == Some(name))?;
        u32::try_from(found).ok()
    }

    fn name(&self, offset: u32) -> Option<&str> {
        let start = self.strings.checked_add(offset as usize)?;
        let bytes = self.data.get(start..self.strings_end)?;
        let end = bytes.iter().position(|&b| b == 0)?;
        std::str::from_utf8(&bytes[..end]).ok()
    }

    /// Follows typedefs and modifiers to the struct or union itself.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..NESTING {
            let t = self.types.get(id as usize)?;
            if !matches!(t.kind, Kind::Typedef | Kind::Modifier) {
                return Some(id);
            }
            id = t.size_or_type;
        }
        None
    }

    /// A member by name, looking into anonymous structs and unions, at `left` members at most.
    fn member(&self, id: u32, name: &str, depth: u32, left: &mut u32) -> Option<Field> {
        let depth = depth.checked_sub(1)?;
        let t = self.types.get(self.resolve(id)? as usize)?;
        if !matches!(t.kind, Kind::Struct | Kind::Union) {
            return None;
        }
        for n in 0..t.members as usize {
            *left = left.checked_sub(1)?;
            let at = t.body + n * 12;
            let member = u32_at(&self.data, at).ok()?;
            let type_id = u32_at(&self.data, at + 4).ok()?;
            let raw = u32_at(&self.data, at + 8).ok()?;
            let (bit, width) = if t.bitfields { (raw & 0x00ff_ffff, raw >> 24) } else { (raw, 0) };
            match self.name(member)? {
                "" => {
                    if let Some(inner) = self.member(type_id, name, depth, left) {
                        return Some(Field { bit: inner.bit.checked_add(bit)?, ..inner });
                    }
                }
                found if found == name => return Some(Field { bit, width, type_id }),
                _ => {}
            }
        }
        None
    }
}

const OVERFLOW: BtfError = BtfError::Malformed("an offset overflows");

fn u16_at(data: &[u8], at: usize) -> Result<u16, BtfError> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk::<2>());
    bytes.map(|b| u16::from_le_bytes(*b)).ok_or(BtfError::Malformed("the file ends too early"))
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map(|b| u32::from_le_bytes(*b)).ok_or(BtfError::Malformed("the file ends too early"))
}

/// Walks the types once and notes where each begins.
fn index(data: &[u8], start: usize, end: usize) -> Result<Vec<Type>, BtfError> {
    let void = Type { name: 0, kind: Kind::Other, members: 0, bitfields: false, size_or_type: 0, body: 0 };
    let mut types = vec![void];
    let mut at = start;
    while at < end {
        let info = u32_at(data, at + 4)?;
        let members = info & 0xffff;
        let (kind, body_size) = match info >> 24 & 0x1f {
            1 | 14 | 17 => (Kind::Other, 4),
            2 | 7 | 16 => (Kind::Other, 0),
            3 => (Kind::Other, 12),
            4 => (Kind::Struct, members as usize * 12),
            5 => (Kind::Union, members as usize * 12),
            6 => (Kind::Other, members as usize * 8),
            8 => (Kind::Typedef, 0),
            9..=11 | 18 => (Kind::Modifier, 0),
            12 => (Kind::Func, 0),
            13 => (Kind::FuncProto, members as usize * 8),
            15 | 19 => (Kind::Other, members as usize * 12),
            _ => return Err(BtfError::Malformed("it has a kind of type that this version does not know")),
        };
        let body = at + 12;
        let size_or_type = u32_at(data, at + 8)?;
        types.push(Type {
            name: u32_at(data, at)?,
            kind,
            members,
            bitfields: info >> 31 == 1,
            size_or_type,
            body,
        });
        at = body + body_size;
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skipped::{Machine, skip};

    fn kernel() -> Option<Btf> {
        match Btf::of_kernel() {
            Ok(btf) => Some(btf),
            Err(error) => {
                skip(Machine::Lacks, &error.to_string());
                None
            }
        }
    }

    #[test]
    fn fields_of_the_running_kernel_are_found() {
        let Some(btf) = kernel() else { return };
        assert_eq!(btf.field("sock_common", &["skc_daddr"]).map(Field::byte), Some(0));
        assert_eq!(btf.field("sock_common", &["skc_family"]).map(Field::byte), Some(16));
        let kern = btf.field("sock", &["sk_kern_sock"]).expect("a bit field");
        assert_eq!(kern.width, 1);
        let nested = btf.field("net", &["ns", "inum"]).expect("a member of a member");
        assert!(nested.byte() > 0);
        assert_eq!(btf.field("sock", &["no_such_field"]), None);
        assert_eq!(btf.field("no_such_struct", &["x"]), None);
    }

    #[test]
    fn functions_of_the_running_kernel_are_found() {
        let Some(btf) = kernel() else { return };
        let parameters = btf.parameters("tcp_sendmsg").expect("tcp_sendmsg exists in every kernel");
        assert_eq!(parameters, ["sk", "msg", "size"]);
        assert_eq!(btf.parameters("no_such_function"), None);
        assert!(btf.has_typedef("btf_trace_inet_sock_set_state"));
    }

    #[test]
    fn malformed_files_are_errors() {
        assert!(Btf::parse(Vec::new()).is_err());
        assert!(Btf::parse(vec![0; 64]).is_err());
        let mut header = vec![0x9f, 0xeb, 1, 0];
        for word in [24u32, 0, 4000, 0, 0] {
            header.extend(word.to_le_bytes());
        }
        assert!(Btf::parse(header).is_err());
    }

    /// Type information with these types (words) and names.
    fn file(types: &[u32], names: &str) -> Vec<u8> {
        let length = u32::try_from(types.len() * 4).unwrap();
        let mut data = vec![0x9f, 0xeb, 1, 0];
        let header = [24, 0, length, length, u32::try_from(names.len()).unwrap()];
        data.extend(header.iter().chain(types).flat_map(|word| word.to_le_bytes()));
        data.extend(names.bytes());
        data
    }

    #[test]
    fn offsets_beyond_any_struct_are_no_offsets() {
        // struct s { struct s a; } at bit 2^32 - 1, of itself.
        let btf = Btf::parse(file(&[1, 4 << 24 | 1, 8, 3, 1, u32::MAX], "\0s\0a\0")).unwrap();
        assert_eq!(btf.field("s", &["a"]).map(|field| field.bit), Some(u32::MAX));
        assert_eq!(btf.field("s", &["a", "a"]), None);
    }

    #[test]
    fn structs_that_hold_themselves_have_an_end() {
        // struct s with eight nameless members, all of type s: eight ways at each of the levels.
        let mut types = vec![1, 4 << 24 | 8, 8];
        types.extend([0, 1, 0].repeat(8));
        let btf = Btf::parse(file(&types, "\0s\0a\0")).unwrap();
        assert_eq!(btf.field("s", &["a"]), None);
    }

    #[test]
    fn truncated_and_damaged_files_do_not_panic() {
        let Ok(data) = fs::read(VMLINUX) else { return skip(Machine::Lacks, "this kernel has no BTF") };
        for cut in [1, 3, 23, 24, 25, 1000, 100_000, data.len() / 2, data.len() - 1] {
            drop(Btf::parse(data[..cut].to_vec()).map(|btf| btf.field("sock", &["sk_err"])));
        }
        for step in 1..200 {
            let mut damaged = data[..200_000.min(data.len())].to_vec();
            let at = (step * 7919) % damaged.len();
            damaged[at] ^= 0xff;
            drop(Btf::parse(damaged).map(|btf| btf.field("sock", &["sk_err"])));
        }
    }
}
