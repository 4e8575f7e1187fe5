//! Every uprobe: in which file it belongs, at which symbol, where in that function, and which BPF
//! program it runs. A runtime or a library that needs probes gets rows here, and names the
//! addresses of their symbols.

use std::{path::PathBuf, sync::Arc};

use object::ReadRef;

use crate::elf::Image;

/// Names an executable file or a library: device, inode, and whatever changes with its content.
pub type FileKey = [u64; 4];

/// Which file of a process has the symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbedFile {
    /// The program itself.
    Executable,
    /// A library whose file name begins like this.
    Library(&'static str),
}

/// Where in its function a probe belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its first instruction.
    Entry,
    /// Where it returns. Never in Go, which moves its stacks.
    Return,
    /// An instruction that depends on the code: whoever reads the file finds it. `length` bytes of
    /// the function's code say where it is.
    Offset { length: u64 },
}

/// One uprobe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub symbol: &'static str,
    pub place: Place,
    /// The BPF program.
    pub program: &'static str,
}

/// Probes that belong into one file together, or not at all.
#[derive(Debug, PartialEq, Eq)]
pub struct ProbeSet {
    /// What a report of the hooks calls them.
    pub name: &'static str,
    pub file: ProbedFile,
    pub probes: &'static [Probe],
    /// What the agent cannot do without them.
    pub without: &'static str,
}

/// Go's handoff of a request from one goroutine to another one. Both are placed behind the stack
/// check, on a jump that the kernel emulates.
pub static GO_NET_HTTP: ProbeSet = ProbeSet {
    name: "Go net/http: roundTrip, Request.write",
    file: ProbedFile::Executable,
    probes: &[
        Probe {
            symbol: "net/http.(*persistConn).roundTrip",
            place: Place::Offset { length: 24 },
            program: "go_round_trip",
        },
        Probe {
            symbol: "net/http.(*Request).write",
            place: Place::Offset { length: 24 },
            program: "go_request_write",
        },
    ],
    without: "Go programs are followed by their threads, and only calls whose two sides agree are linked",
};

/// All of them.
pub(crate) static TABLE: [&ProbeSet; 1] = [&GO_NET_HTTP];

/// Where the probes of a set lie, as offsets in their file, in the order of the set.
pub type Offsets = Arc<[u64]>;

/// Why a file cannot carry the probes of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlocated {
    /// It has no such symbol, or the symbol lies in no part of the file.
    Symbol(&'static str),
    /// The function's code is not as expected.
    Code(&'static str),
}

/// A file that gets probes, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSite {
    /// Probes in a file are shared by all its processes.
    pub file: FileKey,
    /// A path to the file, in any mount namespace.
    pub path: PathBuf,
    pub set: &'static ProbeSet,
    pub offsets: Offsets,
}

impl ProbeSet {
    /// Where the probes belong in the file of `image`. `address` finds a symbol, `within` the
    /// instruction of a [`Place::Offset`], from the beginning of the function's code.
    ///
    /// # Errors
    /// When one of them cannot be placed: then none should be.
    pub(crate) fn locate<'data, R: ReadRef<'data>>(
        &self,
        image: &Image<'data, R>,
        address: impl Fn(&str) -> Option<u64>,
        within: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<Offsets, Unlocated> {
        let offset = |&Probe { symbol, place, .. }: &Probe| {
            let function = address(symbol).ok_or(Unlocated::Symbol(symbol))?;
            let start = image.file_offset(function).ok_or(Unlocated::Symbol(symbol))?;
            let into = match place {
                Place::Entry | Place::Return => 0,
                Place::Offset { length } => {
                    image.at(function, length).and_then(&within).ok_or(Unlocated::Code(symbol))?
                }
            };
            start.checked_add(into).ok_or(Unlocated::Code(symbol))
        };
        self.probes.iter().map(offset).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::elf::Symbols;

    #[test]
    fn a_program_runs_at_one_place_only() {
        let programs: Vec<_> = TABLE.iter().flat_map(|set| set.probes).map(|probe| probe.program).collect();
        assert_eq!(programs.iter().collect::<BTreeSet<_>>().len(), programs.len());
        assert!(TABLE.iter().all(|set| !set.probes.is_empty()));
    }

    /// A set as a library would have it, placed in this test's own program.
    #[test]
    fn entries_and_returns_lie_at_the_symbol_and_offsets_behind_it() {
        let set = |symbol, place| ProbeSet {
            name: "test",
            file: ProbedFile::Library("libtest.so"),
            probes: Box::leak(Box::new([Probe { symbol, place, program: "test" }])),
            without: "nothing",
        };
        let data = std::fs::read("/proc/self/exe").unwrap();
        let image = Image::parse(&*data).unwrap();
        let address = |symbol: &str| image.addresses([symbol], Symbols::All)[0];
        let locate =
            |symbol, place| set(symbol, place).locate(&image, address, |code| (code.len() == 8).then_some(5));
        let entry = image.file_offset(address("main").unwrap()).unwrap();
        assert_eq!(locate("main", Place::Entry), Ok([entry].into()));
        assert_eq!(locate("main", Place::Return), Ok([entry].into()));
        assert_eq!(locate("main", Place::Offset { length: 8 }), Ok([entry + 5].into()));
        assert_eq!(locate("main", Place::Offset { length: 9 }), Err(Unlocated::Code("main")));
        assert_eq!(locate("no such symbol", Place::Entry), Err(Unlocated::Symbol("no such symbol")));
    }
}
