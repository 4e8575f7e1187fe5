//! Go programs: the version that made them, where goroutines keep their number, and where
//! `net/http` hands a request over.
//!
//! Only the file is read, so that the result holds for every process that runs it. Stripped
//! (`-s -w`), position-independent and cgo programs work as well.

mod build_info;
mod functions;
mod prologue;
mod version;

use std::{fs::File, path::Path};

use object::{ReadCache, ReadRef};
use rustc_hash::FxHashMap;

use self::functions::Functions;
use super::file_key;
use crate::{
    elf::Image,
    source::kernel::{FileKey, GO_NET_HTTP, Offsets, Unlocated},
};

/// Most files that are remembered.
const FILES: usize = 1_024;

/// What the file of a Go program says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Offset of `goid` in `runtime.g`.
    pub goid: u32,
    /// The same of `parentGoid`; `None`: not known.
    pub parent: Option<u32>,
    /// Where the probes of [`GO_NET_HTTP`] belong; `None`: it has no `net/http` client.
    pub probes: Option<Offsets>,
}

/// Why a Go program is followed by its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("its version of Go is not known")]
    Version,
    #[error("its table of functions cannot be read")]
    Functions,
    #[error("net/http does not begin its functions as expected")]
    Code,
}

/// Examines a program; `None`: Go has not made it.
pub fn examine<'data, R: ReadRef<'data>>(data: R) -> Option<Result<Program, Unknown>> {
    let image = Image::parse(data)?;
    let version = build_info::version(&image)?;
    Some(program(&image, version))
}

fn program<'data, R: ReadRef<'data>>(image: &Image<'data, R>, version: &str) -> Result<Program, Unknown> {
    let goid = version::goid(version).ok_or(Unknown::Version)?;
    let parent = version::parent(version);
    let functions = Functions::find(image).ok_or(Unknown::Functions)?;
    let has_client = GO_NET_HTTP.probes.first().is_some_and(|it| functions.address(it.symbol).is_some());
    if !has_client {
        return Ok(Program { goid, parent, probes: None });
    }
    let probes = GO_NET_HTTP.locate(image, |symbol| functions.address(symbol), prologue::jump);
    let probes = probes.map_err(|unlocated| match unlocated {
        Unlocated::Symbol(_) => Unknown::Functions,
        Unlocated::Code(_) => Unknown::Code,
    })?;
    Ok(Program { goid, parent, probes: Some(probes) })
}

/// Results by file.
#[derive(Debug, Default)]
pub(super) struct Programs {
    known: FxHashMap<FileKey, Option<Result<Program, Unknown>>>,
}

impl Programs {
    /// Of the file at this path; `None`: it cannot be read, or Go has not made it.
    pub(super) fn of(&mut self, path: &Path) -> Option<(FileKey, Result<Program, Unknown>)> {
        let file = File::open(path).ok()?;
        let key = file_key(&file)?;
        if self.known.len() >= FILES {
            self.known.clear();
        }
        let program = self.known.entry(key).or_insert_with(|| {
            let cache = ReadCache::new(file);
            let program = examine(&cache);
            if let Some(Err(reason)) = &program {
                tracing::debug!("{}: goroutines are not followed: {reason}", path.display());
            }
            program
        });
        program.clone().map(|program| (key, program))
    }
}

#[cfg(test)]
pub(super) mod tests;
