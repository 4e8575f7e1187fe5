//! Detection, on a /proc of its own and on the Python of this machine.

use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::{
    process::fake::{FakeProc, FakeProcess},
    skipped::{Machine, skip},
};

const PYTHON: &str = "/usr/bin/python3.11";
const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";

/// Process 5, which has these files mapped at multiples of 256 MiB.
fn process(files: &[&str], exe: &str) -> FakeProc {
    let proc = FakeProc::new();
    proc.add(&FakeProcess { pid: 5, exe, ..FakeProcess::default() });
    let directory = proc.root().path().join("5");
    symlink("/", directory.join("root")).unwrap();
    let maps: String = files
        .iter()
        .enumerate()
        .map(|(at, path)| format!("{:x}-{:x} r--p 00000000 fe:01 9 {path}\n", (at + 1) << 28, (at + 2) << 28))
        .collect();
    fs::write(directory.join("maps"), maps).unwrap();
    proc
}

fn machine_has(files: &[&str]) -> bool {
    let missing = files.iter().find(|file| !Path::new(file).exists());
    if let Some(file) = missing {
        skip(Machine::Lacks, &format!("this machine has no {file}"));
    }
    missing.is_none()
}

#[test]
fn the_python_of_this_machine_is_found() {
    if !machine_has(&[PYTHON, LIBC]) {
        return;
    }
    let proc = process(&[PYTHON, LIBC], PYTHON);
    let mut programs = Programs::default();
    let first = programs.detect(proc.root(), 5).expect("a Python").expect("a known version");
    assert_eq!((first.kind, first.offset, first.specific), (runtime::CPYTHON, 224, 0x310));
    // The second time it comes from memory.
    assert_eq!(programs.detect(proc.root(), 5), Some(Ok(first)));
    let data = fs::read(PYTHON).unwrap();
    let image = Image::parse(&*data).unwrap();
    let [runtime, context_type] = image.addresses(["_PyRuntime", "PyContext_Type"], Symbols::Exported);
    let bias = image.bias(0, 1 << 28).unwrap();
    assert_eq!(first.key, runtime.unwrap() + 592 + bias);
    assert_eq!(first.context_type, context_type.unwrap() + bias);
}

#[test]
fn without_glibc_it_is_off() {
    if machine_has(&[PYTHON]) {
        let proc = process(&[PYTHON, "/lib/ld-musl-x86_64.so.1"], PYTHON);
        assert_eq!(Programs::default().detect(proc.root(), 5), Some(Err(Off::Libc)));
    }
}

#[test]
fn other_programs_are_none() {
    let own = std::env::current_exe().unwrap().display().to_string();
    let mut programs = Programs::default();
    for (files, exe) in [
        (vec![own.as_str(), LIBC], own.as_str()),
        // A library that is not loaded yet, a file that is gone, one that is none of ours.
        (vec![LIBC], own.as_str()),
        (vec!["/no/such/libpython3.11.so.1.0"], own.as_str()),
        (vec![], own.as_str()),
    ] {
        assert_eq!(programs.detect(process(&files, exe).root(), 5), None);
    }
    assert_eq!(programs.detect(FakeProc::new().root(), 5), None);
}

#[test]
fn files_that_are_no_elf_are_remembered_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("libpython3.11.so.1.0");
    fs::write(&path, "no ELF").unwrap();
    let path = path.display().to_string();
    let proc = process(&[&path], "/usr/bin/app");
    let mut programs = Programs::default();
    for _ in 0..2 {
        assert_eq!(programs.detect(proc.root(), 5), None);
        assert_eq!(programs.contents.values().collect::<Vec<_>>(), [&Content::Other]);
    }
}

/// Debian's packages of every version in the table and of one that is not, where `WIRESPAN_PYTHONS`
/// names a directory with their unpacked files: `SUITE/root`.
#[test]
fn the_pythons_of_debian_are_told_apart() {
    let Some(directory) = std::env::var_os("WIRESPAN_PYTHONS") else {
        skip(Machine::Lacks, "WIRESPAN_PYTHONS names no directory of unpacked packages");
        return;
    };
    let root = Path::new(&directory).join("bullseye/root");
    let libc = root.join("lib/x86_64-linux-gnu/libpthread-2.31.so").display().to_string();
    let newer = Path::new(&directory).join("trixie/root");
    let newer_libc = newer.join("usr/lib/x86_64-linux-gnu/libc.so.6").display().to_string();
    for (root, file, libc, context) in [
        (&root, "usr/bin/python3.9", &libc, 240),
        (&root, "usr/lib/x86_64-linux-gnu/libpython3.9.so.1.0", &libc, 240),
        (&newer, "usr/bin/python3.13", &newer_libc, 208),
        (&newer, "usr/lib/x86_64-linux-gnu/libpython3.13.so.1.0", &newer_libc, 208),
    ] {
        let file = root.join(file).display().to_string();
        let exe = if file.contains("/bin/") { file.as_str() } else { "/usr/bin/app" };
        let proc = process(&[&file, libc], exe);
        let found = Programs::default().detect(proc.root(), 5).expect("a Python").expect("a known version");
        assert_eq!((found.offset, found.specific), (context, 0x310), "{file}");
    }
}
