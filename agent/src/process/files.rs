//! Paths of executables that the kernel names by device and inode. They are learned from processes
//! that live long enough to be read, so that a process that does not has its path, too.
//!
//! An inode is used again once its file is gone. So a path counts only while it still leads to the
//! file that it led to when it was learned. A file in another mount namespace cannot be checked
//! like that and has no path.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use agent_common::ExeKey;
use rustc_hash::FxHashMap;

/// Most files that are remembered; about 200 bytes each. Beyond it, a process that ends before it
/// is read has no path.
const FILES: usize = 16_384;

/// A path, with the result of `stat`. On file systems that give each part a device of its own
/// (btrfs, overlayfs) `stat` and the kernel name the file differently.
#[derive(Debug)]
struct Known {
    path: Arc<str>,
    seen: ExeKey,
}

/// The paths of executables.
#[derive(Debug, Default)]
pub(crate) struct Files {
    known: FxHashMap<ExeKey, Known>,
}

impl Files {
    /// Learns that the kernel names the file at `path` by `key`. `link` leads to that file whatever
    /// has become of the path.
    pub(crate) fn learn(&mut self, key: ExeKey, path: &str, link: &Path) {
        if self.known.get(&key).is_some_and(|known| &*known.path == path) {
            return;
        }
        let Some(seen) = key_of(link).filter(|seen| key_of(Path::new(path)) == Some(*seen)) else { return };
        if self.known.len() < FILES || self.known.contains_key(&key) {
            self.known.insert(key, Known { path: path.into(), seen });
        }
    }

    /// The path of a file. `name` is the name under which it was executed: it leads to the file or,
    /// for a script, to another one.
    pub(crate) fn path(&mut self, key: ExeKey, name: Option<&str>) -> Option<Arc<str>> {
        if let Some(known) = self.known.get(&key) {
            if key_of(Path::new(&*known.path)) == Some(known.seen) {
                return Some(Arc::clone(&known.path));
            }
            self.known.remove(&key);
        }
        let name = name.filter(|name| name.starts_with('/'))?;
        // What /proc/PID/exe would show: without symbolic links.
        let real = fs::canonicalize(name).ok()?;
        if key_of(&real) != Some(key) {
            return None;
        }
        let path = real.to_str()?;
        self.learn(key, path, &real);
        Some(path.into())
    }
}

/// The file as the kernel names it: inode and `s_dev` (MKDEV,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/kdev_t.h>).
pub(crate) fn key_of(path: &Path) -> Option<ExeKey> {
    let metadata = fs::metadata(path).ok()?;
    let device = metadata.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    Some(ExeKey { inode: metadata.ino(), device: u64::from(major) << 20 | u64::from(minor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_while_it_leads_to_its_file() {
        let directory = std::env::temp_dir().join(format!("wirespan-files-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (program, other) = (directory.join("program"), directory.join("other"));
        fs::write(&program, "a").unwrap();
        fs::write(&other, "b").unwrap();
        let text = program.to_str().unwrap();
        let key = key_of(&program).unwrap();
        let mut files = Files::default();

        assert_eq!(files.path(key, None), None);
        assert_eq!(files.path(key, other.to_str()), None, "a script, or another file by now");
        assert_eq!(files.path(key, Some("program")), None, "relative to whom?");
        assert_eq!(files.path(key, Some(text)).as_deref(), Some(text));
        assert_eq!(files.path(key, None).as_deref(), Some(text));

        // Where the kernel and stat disagree.
        let elsewhere = ExeKey { inode: key.inode, device: key.device + 1 };
        files.learn(elsewhere, text, &other);
        assert_eq!(files.path(elsewhere, None), None, "the file of that name is another one by now");
        files.learn(elsewhere, text, &program);
        assert_eq!(files.path(elsewhere, None).as_deref(), Some(text));

        fs::rename(&other, &program).unwrap();
        assert_eq!(files.path(key, None), None, "another file has the name");
        assert_eq!(files.path(elsewhere, None), None);
        fs::remove_dir_all(&directory).unwrap();
    }
}
