//! Programs made byte by byte, as the linkers of several versions write them, and other files that
//! claim to be programs.

use proptest::prelude::*;

use super::*;

const ROUND_TRIP: &str = GO_NET_HTTP.probes[0].symbol;
const REQUEST_WRITE: &str = GO_NET_HTTP.probes[1].symbol;
const TEXT: u64 = 0x40_1000;
const CODE: &[u8] =
    b"\x4c\x8d\xa4\x24\x58\xfe\xff\xff\x4d\x3b\x66\x10\x0f\x86\x9a\x04\0\0\x55\x48\x89\xe5\x90\x90\x90";

/// What a made-up program has.
struct Made {
    version: &'static str,
    magic: u32,
    functions: &'static [&'static str],
    code: &'static [u8],
    /// The table itself has the start of the code, as up to 1.25; otherwise only `moduledata` has
    /// it.
    says_text: bool,
}

const MADE: Made = Made {
    version: "go1.26.8",
    magic: 0xffff_fff1,
    functions: &["runtime.main", ROUND_TRIP, "net/http.(*persistConn).roundTrip.func1", REQUEST_WRITE],
    code: CODE,
    says_text: false,
};

fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Code at file offset 0x1000, the table at 0x2000, data at 0x4000; no sections, as after `sstrip`.
fn file(made: &Made) -> Vec<u8> {
    let mut file = vec![0; 0x6000];
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(&mut file, 32, &64_u64.to_le_bytes());
    put(&mut file, 52, &[64, 0, 56, 0, 3, 0, 64, 0]);
    for (index, (flags, offset, size)) in
        [(5_u32, 0x1000_u64, 0x1000_u64), (4, 0x2000, 0x2000), (6, 0x4000, 0x2000)].into_iter().enumerate()
    {
        let at = 64 + 56 * index;
        put(&mut file, at, &1_u32.to_le_bytes());
        put(&mut file, at + 4, &flags.to_le_bytes());
        for (field, value) in [(8, offset), (16, 0x40_0000 + offset), (32, size), (40, size)] {
            put(&mut file, at + field, &value.to_le_bytes());
        }
    }
    for index in 0..made.functions.len() {
        put(&mut file, 0x1000 + 64 * index, made.code);
    }
    put(&mut file, 0x2000, &table(made));
    let module = 0x4800;
    put(&mut file, module, &0x40_2000_u64.to_le_bytes());
    put(&mut file, module + 8, &(0x40_2000_u64 + 0x100).to_le_bytes());
    put(&mut file, module + 176, &TEXT.to_le_bytes());
    put(&mut file, 0x4000, b"\xff Go buildinf:\x08\x02");
    put(&mut file, 0x4020, &[made.version.len() as u8]);
    put(&mut file, 0x4021, made.version.as_bytes());
    file
}

/// One that can be read.
pub(in crate::process::runtime) fn made() -> Vec<u8> {
    file(&MADE)
}

/// Names at 0x100, entries at 0x800.
fn table(made: &Made) -> Vec<u8> {
    let old = made.magic == 0xffff_fffa;
    let word = if old { 8 } else { 4 };
    let number = |value: u64| value.to_le_bytes()[..word].to_vec();
    let mut table = Vec::new();
    put(&mut table, 0, &made.magic.to_le_bytes());
    put(&mut table, 4, &[0, 0, 1, 8]);
    put(&mut table, 8, &(made.functions.len() as u64).to_le_bytes());
    let offsets = if old { 24 } else { 32 };
    if made.says_text && !old {
        put(&mut table, 24, &TEXT.to_le_bytes());
    }
    for (index, value) in [0x100_u64, 0x700, 0x700, 0x700, 0x800].into_iter().enumerate() {
        put(&mut table, offsets + 8 * index, &value.to_le_bytes());
    }
    let mut name_at = 0;
    for (index, name) in made.functions.iter().enumerate() {
        put(&mut table, 0x100 + name_at, name.as_bytes());
        let place = 64 * index as u64 + if old { TEXT } else { 0 };
        let described = 0x200 + 0x40 * index as u64;
        put(&mut table, 0x800 + 2 * word * index, &number(place));
        put(&mut table, 0x800 + 2 * word * index + word, &number(described));
        put(&mut table, 0x800 + described as usize, &number(place));
        put(&mut table, 0x800 + described as usize + word, &(name_at as u32).to_le_bytes());
        name_at += name.len() + 1;
    }
    table.resize(0x1000, 0);
    table
}

fn found(goid: u32, parent: Option<u32>) -> Option<Result<Program, Unknown>> {
    let probes = [0x1000 + 64 + 12, 0x1000 + 3 * 64 + 12].into();
    Some(Ok(Program { goid, parent, probes: Some(probes) }))
}

#[test]
fn programs_of_several_versions() {
    assert_eq!(examine(&*file(&MADE)), found(152, Some(280)));
    assert_eq!(
        examine(&*file(&Made { version: "go1.24.1", says_text: true, ..MADE })),
        found(160, Some(280))
    );
    assert_eq!(examine(&*file(&Made { version: "go1.18", magic: 0xffff_fff0, ..MADE })), found(152, None));
    assert_eq!(examine(&*file(&Made { version: "go1.17.3", magic: 0xffff_fffa, ..MADE })), found(152, None));
}

#[test]
fn a_program_without_a_client_has_no_probes() {
    let made = Made { functions: &["runtime.main", REQUEST_WRITE], ..MADE };
    assert_eq!(examine(&*file(&made)), Some(Ok(Program { goid: 152, parent: Some(280), probes: None })));
}

#[test]
fn what_is_not_known_is_said() {
    let unknown = |made: &Made| examine(&*file(made)).and_then(Result::err);
    assert_eq!(unknown(&Made { version: "go1.99", ..MADE }), Some(Unknown::Version));
    assert_eq!(unknown(&Made { magic: 0xffff_fff2, ..MADE }), Some(Unknown::Functions));
    assert_eq!(unknown(&Made { code: b"\x55\x48\x89\xe5", ..MADE }), Some(Unknown::Code));
    assert_eq!(unknown(&Made { functions: &[ROUND_TRIP], ..MADE }), Some(Unknown::Functions));
    let mut other = file(&MADE);
    other[0x4000] = 0;
    assert_eq!(examine(&*other), None, "not made by Go");
    other[18] = 183;
    assert_eq!(examine(&*other), None, "another machine");
    assert_eq!(examine(&b""[..]), None);
}

#[test]
fn a_file_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("program");
    std::fs::write(&path, file(&MADE)).unwrap();
    let mut programs = Programs::default();
    let (id, program) = programs.of(&path).unwrap();
    assert_eq!(Some(program), found(152, Some(280)));
    assert_eq!(programs.of(&path).unwrap().0, id);
    assert_eq!(programs.known.len(), 1);
    assert!(programs.of(dir.path()).is_none() && programs.of(&dir.path().join("none")).is_none());
}

proptest! {
    #[test]
    fn any_file_is_answered(changes in proptest::collection::vec((0..0x6000_usize, any::<u8>()), 0..40), end in 0..0x6001_usize) {
        let mut file = file(&MADE);
        for (at, byte) in changes {
            file[at] = byte;
        }
        if let Some(Ok(Program { probes: Some(at), .. })) = examine(&file[..end]) {
            prop_assert!(at.iter().all(|offset| *offset < end as u64));
        }
    }

    /// Where structure is: the headers of the file and of the table.
    #[test]
    fn any_header_is_answered(changes in proptest::collection::vec((0..0x80_usize, prop_oneof![Just(0_usize), Just(64), Just(0x2000), Just(0x2800), Just(0x4000)], any::<u8>()), 1..8)) {
        let mut file = file(&MADE);
        for (at, base, byte) in changes {
            file[base + at] = byte;
        }
        let _any = examine(&*file);
    }
}
