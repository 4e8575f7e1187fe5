//! Runs the targets over everything that is committed, with any compiler, so that a defect that was
//! found once does not come back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use wirespan_fuzz::{TARGETS, target};

/// Each committed input is also cut at these places: readers fail at ends of files.
const CUTS: usize = 24;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// The output of a failed test names the file that was read last.
fn run(name: &str, file: &Path, cuts: usize) {
    println!("{name}: {}", file.display());
    let data = fs::read(file).expect("a readable file");
    let run = target(name).expect("a known target");
    run(&data);
    for cut in 0..cuts {
        let end = data.len() * cut / cuts;
        println!("  its first {end} bytes");
        run(&data[..end]);
    }
}

fn seeds(name: &str) {
    let files = files(&here("corpus").join(name));
    assert!(!files.is_empty(), "{name} has no seeds");
    for file in files {
        assert!(
            file.metadata().expect("a readable file").len() < 2_048,
            "{} is large for a seed",
            file.display()
        );
        run(name, &file, CUTS);
    }
}

#[test]
fn each_target_has_its_directory() {
    let mut directories: Vec<_> = fs::read_dir(here("corpus"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    directories.sort();
    assert_eq!(directories, TARGETS.map(|(name, _)| name));
}

#[test]
fn btf() {
    seeds("btf");
}

#[test]
fn elf() {
    seeds("elf");
}

#[test]
fn config() {
    seeds("config");
    run("config", &here("../../agent/src/config/default.yaml"), CUTS);
}

#[test]
fn http1() {
    seeds("http1");
}

#[test]
fn log() {
    seeds("log");
    for file in
        files(&here("../fixtures/log")).iter().filter(|file| file.extension() == Some("wslog".as_ref()))
    {
        run("log", file, 2);
    }
}

#[test]
fn pcap() {
    seeds("pcap");
    for file in files(&here("../fixtures/pcap")) {
        run("pcap", &file, 2);
    }
}

#[test]
fn stream() {
    seeds("stream");
}
