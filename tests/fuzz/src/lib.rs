//! Hostile input for every parser and reader. Each target takes any bytes and checks properties, of
//! which the absence of panics is the least. `main.rs` gives the targets to libFuzzer,
//! `tests/corpus.rs` runs them over everything that is committed.
//!
//! To add a target, add a module, a line in [`TARGETS`] and a directory of seeds, `corpus/NAME`.

mod btf;
mod config;
mod elf;
mod http1;
mod log;
mod pcap;
mod reader;
mod spans;
mod stream;

/// Takes any bytes; panics when a property does not hold.
pub type Target = fn(&[u8]);

/// Every target, by the name of its directory of seeds.
pub const TARGETS: [(&str, Target); 7] = [
    ("btf", btf::run),
    ("config", config::run),
    ("elf", elf::run),
    ("http1", http1::run),
    ("log", log::run),
    ("pcap", pcap::run),
    ("stream", stream::run),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|(known, _)| *known == name).map(|(_, target)| target)
}
