//! Verdicts on executable files, by which the kernel decides at exec and listen without asking. The
//! rules decide the same for every process that executes a file. So a program that lives for a few
//! milliseconds is traced from its first system call.

use std::{fs, path::Path};

use agent_common::{ExeKey, verdict};
use rustc_hash::FxHashMap;

use crate::{
    process::{FileVerdict, Selection, key_of},
    source::kernel::KernelSource,
};

/// Most files with a verdict in the kernel: the size of its map.
const FILES: usize = 16_384;

/// Where programs usually are. The start lists these directories, so that the kernel decides the
/// first exec of each program, too.
const DIRECTORIES: [&str; 6] =
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Files that have a verdict.
#[derive(Debug, Default)]
pub(super) struct ExeCache {
    known: FxHashMap<ExeKey, u32>,
    new: Vec<(ExeKey, u32)>,
}

impl ExeCache {
    /// At the start: finds the verdicts on files in the usual directories and on the paths that
    /// rules name.
    pub(super) fn prefill(&mut self, selection: &Selection, source: &mut KernelSource) {
        let listed = DIRECTORIES.iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path());
        let named = selection.exact_exes().map(Path::new).map(Path::to_path_buf);
        for path in listed.chain(named) {
            // The path that rules see is that of /proc/PID/exe: without symbolic links.
            let Ok(real) = fs::canonicalize(&path) else { continue };
            if let (Some(key), Some(text)) = (key_of(&real), real.to_str()) {
                self.learn(selection, key, text);
            }
        }
        self.flush(source);
    }

    /// Finds the verdict on the file at `path`, which the kernel knows by `key`.
    pub(super) fn learn(&mut self, selection: &Selection, key: ExeKey, path: &str) {
        let verdict = match selection.verdict_of_file(path) {
            FileVerdict::Select => verdict::SELECT,
            FileVerdict::Ignore => verdict::IGNORE,
            FileVerdict::Allow => verdict::ALLOW,
            FileVerdict::Open => verdict::OPEN,
        };
        let has_room = self.known.len() < FILES || self.known.contains_key(&key);
        if has_room && self.known.insert(key, verdict) != Some(verdict) {
            self.new.push((key, verdict));
        }
    }

    /// Passes new verdicts to the kernel.
    pub(super) fn flush(&mut self, source: &mut KernelSource) {
        for (key, verdict) in self.new.drain(..) {
            if let Err(error) = source.decide_exe(key, verdict) {
                tracing::debug!("the kernel did not take a verdict on a file: {error}");
            }
        }
    }
}
