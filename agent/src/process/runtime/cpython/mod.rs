//! CPython: where a thread has its current context.
//!
//! `PyThreadState.context` is another object for every task of asyncio. At a system call the
//! interpreter's lock is released, so that `_PyRuntime` does not name the current thread state; the
//! thread's own memory does (the pthread key of `PyGILState`). Layouts differ between minor
//! versions, and within none of those below. The BPF programs check besides that they found a
//! `PyContext`: with an unexpected layout parents are missing, and none is wrong.

mod maps;

use std::{fs::File, path::Path};

use agent_common::{Runtime, runtime};
use object::{ReadRef, read::ReadCache};
use rustc_hash::FxHashMap;

use self::maps::{Mapping, files};
use super::file_key;
use crate::{
    elf::{Image, Symbols},
    process::ProcRoot,
    source::kernel::FileKey,
};

/// Most files that are remembered.
const FILES: usize = 1_024;

/// Offsets in one minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// As in `sys.version_info`.
    version: (u8, u8),
    /// `offsetof(struct pyruntimestate, gilstate.autoTSSkey)`; from 3.12 on `autoTSSkey`.
    key: u64,
    /// `offsetof(PyThreadState, context)`
    context: u32,
}

/// Derived with the headers of Debian's `libpython3.X-dev`, of which a program that prints both
/// expressions is compiled:
///
/// ```text
/// cc -DPy_BUILD_CORE -I include/python3.X -I include/python3.X/internal offsets.c
/// #include <Python.h>, <internal/pycore_runtime.h>, <internal/pycore_interp.h>
/// ```
///
/// `ob_type` (8), `ctx_entered` (40) and `Py_tss_t` (two numbers of 4 bytes) are the same in all of
/// them.
const LAYOUTS: [Layout; 3] = [
    // bullseye, 3.9.2
    Layout { version: (3, 9), key: 584, context: 240 },
    // bookworm, 3.11.2; the same in 3.11.7
    Layout { version: (3, 11), key: 592, context: 224 },
    // trixie, 3.13.5
    Layout { version: (3, 13), key: 2160, context: 208 },
];

/// Why the contexts of a CPython process are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Off {
    /// A version whose layout is unknown.
    Version(u8, u8),
    /// Older than 3.11, where the version is not in the file, and not 3.9.
    UnknownVersion,
    /// A debug build or one without the interpreter's lock.
    Build,
    /// No glibc, or one that does not describe where the values of its keys are.
    Libc,
}

impl Off {
    /// The value of the label `result` of `wirespan_runtime_lookups_total`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version(..) | Self::UnknownVersion => "other_version",
            Self::Build => "other_build",
            Self::Libc => "other_libc",
        }
    }
}

/// What kind of file this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Other,
    Off(Off),
    /// CPython; addresses are those of the file.
    Python {
        key: u64,
        context_type: u64,
        context: u32,
    },
    /// glibc, with the offset of the first keys' values in a thread's memory.
    Libc {
        specific: u32,
    },
}

/// Examines processes, and remembers what it has read of files.
#[derive(Debug, Default)]
pub struct Programs {
    contents: FxHashMap<FileKey, Content>,
}

impl Programs {
    /// How to find the contexts of process `pid`; `None`: it is not CPython, or not yet, because a
    /// library may be loaded later.
    pub fn detect(&mut self, proc: &ProcRoot, pid: u32) -> Option<Result<Runtime, Off>> {
        let text = proc.maps(pid)?;
        let exe = proc.executable(pid).ok().flatten()?;
        let namespace = proc.namespace(pid, "mnt").ok().flatten();
        let ours = namespace.is_some() && namespace == proc.own_namespace("mnt");
        let (mut python, mut specific) = (None, None);
        for mapping in files(&text) {
            let name = mapping.path.rsplit('/').next().unwrap_or_default();
            let wanted = if mapping.path == exe || name.starts_with("libpython3") {
                Wanted::Python
            } else if is_libc(name) {
                Wanted::Libc
            } else {
                continue;
            };
            let path = if mapping.path == exe {
                proc.file(pid, "exe")
            } else if ours {
                // Also works for a process that has changed its root: /proc shows paths as the
                // agent sees them.
                mapping.path.into()
            } else {
                proc.file(pid, "root").join(mapping.path.trim_start_matches('/'))
            };
            let python_file = wanted == Wanted::Python && name.contains("python");
            let symbols = if python_file { Symbols::All } else { Symbols::Exported };
            match self.read(&path, &mapping, symbols).unwrap_or((Content::Other, 0)) {
                (Content::Libc { specific: found }, _) => specific = Some(found),
                (found @ (Content::Python { .. } | Content::Off(_)), bias) => python = Some((found, bias)),
                (Content::Other, _) => {}
            }
        }
        let (python, bias) = python?;
        Some(match (python, specific) {
            (Content::Off(off), _) => Err(off),
            (Content::Python { key, context_type, context }, Some(specific)) => Ok(Runtime {
                kind: runtime::CPYTHON,
                offset: context,
                key: key.wrapping_add(bias),
                context_type: context_type.wrapping_add(bias),
                specific,
                padding: 0,
            }),
            _ => Err(Off::Libc),
        })
    }

    /// What kind of file a mapped file is, and the difference between its addresses and those in
    /// memory. `symbols`: those that say so.
    fn read(&mut self, path: &Path, mapping: &Mapping<'_>, symbols: Symbols) -> Option<(Content, u64)> {
        let file = File::open(path).ok()?;
        let key = file_key(&file)?;
        let known = self.contents.get(&key).copied();
        if known == Some(Content::Other) {
            return None;
        }
        let cache = ReadCache::new(file);
        let image = Image::parse(&cache);
        let content =
            known.unwrap_or_else(|| image.as_ref().map_or(Content::Other, |image| content(image, symbols)));
        if self.contents.len() >= FILES {
            self.contents.clear();
        }
        self.contents.insert(key, content);
        Some((content, image?.bias(mapping.offset, mapping.start)?))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Python,
    Libc,
}

/// Before glibc 2.34 the threads are a library of their own.
fn is_libc(name: &str) -> bool {
    ["libc.so.6", "libc-2.", "libpthread.so.0", "libpthread-2."].iter().any(|libc| name.starts_with(libc))
}

fn content<'data, R: ReadRef<'data>>(image: &Image<'data, R>, symbols: Symbols) -> Content {
    let [runtime, context_type, version, tracked, sends, debug, free_threaded] = image.addresses(
        [
            "_PyRuntime",
            "PyContext_Type",
            // From 3.11 on.
            "Py_Version",
            // From 3.9 on, and from 3.10 on.
            "PyObject_GC_IsTracked",
            "PyIter_Send",
            // Only with Py_REF_DEBUG, and only with Py_GIL_DISABLED.
            "_Py_NegativeRefcount",
            "_Py_MergeZeroLocalRefcount",
        ],
        symbols,
    );
    let (Some(runtime), Some(context_type)) = (runtime, context_type) else { return libc(image) };
    if debug.or(free_threaded).is_some() {
        return Content::Off(Off::Build);
    }
    let version = match version.map(|address| image.array(address)) {
        // PY_VERSION_HEX: major, minor, micro, release level and serial number.
        Some(Some([_, _, minor, major])) => (major, minor),
        None if tracked.is_some() && sends.is_none() => (3, 9),
        _ => return Content::Off(Off::UnknownVersion),
    };
    match LAYOUTS.iter().find(|layout| layout.version == version) {
        Some(layout) => {
            Content::Python { key: runtime.wrapping_add(layout.key), context_type, context: layout.context }
        }
        None => Content::Off(Off::Version(version.0, version.1)),
    }
}

/// glibc describes `struct pthread` to debuggers: `_thread_db_pthread_specific` is the size in
/// bits, the count and the offset of `specific`, 32 addresses, before which the values of the first
/// 32 keys stand (nptl/descr.h). Exported since 2.34; the thread library before that keeps it for
/// debuggers.
fn libc<'data, R: ReadRef<'data>>(image: &Image<'data, R>) -> Content {
    const ADDRESSES_IN_BITS: u32 = 32 * 64;
    const FIRST_VALUES: u32 = 32 * 16;
    let [place] = image.addresses(["_thread_db_pthread_specific"], Symbols::All);
    let bytes: Option<[u8; 12]> = place.and_then(|place| image.array(place));
    let Some([a, b, c, d, _, _, _, _, e, f, g, h]) = bytes else { return Content::Other };
    let (size, offset) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    match offset.checked_sub(FIRST_VALUES) {
        Some(specific) if size == ADDRESSES_IN_BITS && offset < 1 << 16 => Content::Libc { specific },
        _ => Content::Other,
    }
}

#[cfg(test)]
mod tests;
