//! What the kernel may decide by itself at exec: where every rule looks at the executable alone, the verdict on a file is
//! the same each time. So a program that lives for a few milliseconds is traced from its first system call.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use agent_common::{ExeKey, verdict};
use rustc_hash::FxHashMap;

use crate::{process::Selection, source::kernel::KernelSource};

/// Most files about which the kernel is told (the size of its map).
const FILES: usize = 16_384;

/// Where programs usually lie: looked through at start, so that also the first exec of each is decided in the kernel.
const DIRECTORIES: [&str; 6] =
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Files about which the rules have been asked.
#[derive(Debug)]
pub(super) struct ExeCache {
    selection: Option<Selection>,
    told: FxHashMap<ExeKey, u32>,
    new: Vec<(ExeKey, u32)>,
}

impl ExeCache {
    /// Only where a rule needs nothing but the executable; else the cache stays empty.
    pub(super) fn new(selection: &Selection) -> Self {
        let usable = selection.only_executables();
        Self { selection: usable.then(|| selection.clone()), told: FxHashMap::default(), new: Vec::new() }
    }

    /// At start: decides about the usual directories and the paths that rules name.
    pub(super) fn prefill(&mut self, source: &mut KernelSource) {
        let Some(selection) = self.selection.clone() else { return };
        let listed = DIRECTORIES.iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path());
        let named = selection.exact_exes().map(Path::new).map(Path::to_path_buf);
        for path in listed.chain(named.collect::<Vec<_>>()) {
            // The path that rules see is that of /proc/PID/exe: without symbolic links.
            let Ok(real) = fs::canonicalize(&path) else { continue };
            let Some(key) = key(&real) else { continue };
            let selected = real.to_str().is_some_and(|text| selection.decide_executable(text));
            self.tell(key, if selected { verdict::SELECT } else { verdict::IGNORE });
        }
        self.flush(source);
    }

    /// The rules have just judged `pid`: the same holds for whoever executes that file next.
    pub(super) fn learn(&mut self, pid: u32, selected: bool) {
        let Some(selection) = &self.selection else { return };
        let link = format!("/proc/{pid}/exe");
        let (Ok(path), Some(key)) = (fs::read_link(&link), key(Path::new(&link))) else { return };
        // A pinned process is selected whatever its file is.
        let by_rule = path.to_str().is_some_and(|text| selection.decide_executable(text));
        if by_rule == selected {
            self.tell(key, if selected { verdict::SELECT } else { verdict::IGNORE });
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

    fn tell(&mut self, key: ExeKey, verdict: u32) {
        if self.told.len() < FILES && self.told.insert(key, verdict) != Some(verdict) {
            self.new.push((key, verdict));
        }
    }
}

/// The file as the kernel names it: inode and `s_dev` (MKDEV, include/linux/kdev_t.h), which on file systems that give
/// each file a device of its own (btrfs) matches nothing: then user space decides at each exec.
fn key(path: &Path) -> Option<ExeKey> {
    let metadata = fs::metadata(path).ok()?;
    let device = metadata.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    Some(ExeKey { inode: metadata.ino(), device: u64::from(major) << 20 | u64::from(minor) })
}
