//! Finds the cgroup2 hierarchy, wherever it is mounted, and the ids by which the kernel knows its
//! cgroups.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::KernelError;

/// Where the cgroup2 hierarchy is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot(pub PathBuf);

/// The first cgroup2 mount of this mount namespace whose root is the hierarchy's root.
pub fn cgroup_root() -> Result<CgroupRoot, KernelError> {
    let path = "/proc/self/mountinfo";
    let mounts =
        fs::read_to_string(path).map_err(|source| KernelError::Io { path: path.to_owned(), source })?;
    find(&mounts).map(CgroupRoot).ok_or(KernelError::NoCgroup2)
}

/// A mountinfo line: `id parent major:minor root mountpoint options … - type source superoptions`
/// (proc(5)).
fn find(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        if right.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let root = fields.next()?;
        let mountpoint = fields.next()?;
        (root == "/").then(|| PathBuf::from(mountpoint.replace("\\040", " ")))
    })
}

/// The cgroup's depth below the root and its id: the inode number of its directory (kernfs, 64-bit
/// hosts).
pub fn cgroup_id(root: &CgroupRoot, path: &str) -> Option<(u32, u64)> {
    let relative =
        Path::new(path).strip_prefix(&root.0).unwrap_or_else(|_| Path::new(path.trim_start_matches('/')));
    let level = u32::try_from(relative.components().count()).ok()?;
    let inode = fs::metadata(root.0.join(relative)).ok()?.ino();
    Some((level, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_wherever_it_is_mounted() {
        let hybrid = "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n";
        assert_eq!(find(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let container = "31 30 0:27 /kubepods/pod1 /sys/fs/cgroup rw shared:4 - cgroup2 cgroup rw\n";
        assert_eq!(find(container), None);
        assert_eq!(find(""), None);
    }
}
