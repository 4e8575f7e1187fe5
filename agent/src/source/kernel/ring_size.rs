//! The default size of the ring: by what the host can produce and what memory the agent may use.
//!
//! Records have no other room while the reader does not run. Each CPU can fill about 50 MB of the
//! ring in a second (200,000 records of 250 bytes), so [`PER_CPU`] is some 150 ms of a CPU that
//! only sends.

use std::{fs, path::Path};

use nix::unistd::{SysconfVar, sysconf};

use super::CgroupRoot;

/// Bytes of ring for each CPU that is online.
const PER_CPU: u64 = 8 << 20;
/// Smallest and largest default.
const LEAST: u64 = 4 << 20;
const MOST: u64 = 64 << 20;
/// The ring takes at most this part of the memory that the agent may use.
const OF_MEMORY: u64 = 64;

/// Bytes of the ring for this host.
pub(super) fn of_host(root: &CgroupRoot) -> u32 {
    let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    let cpus = cpus.and_then(|cpus| u64::try_from(cpus).ok()).unwrap_or(1);
    let installed = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let allowed = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| allowed(&root.0, &text));
    size(cpus, installed.into_iter().chain(allowed).min().unwrap_or(u64::MAX))
}

/// A power of two, as the kernel requires (`ringbuf_map_alloc`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/ringbuf.c>).
fn size(cpus: u64, memory: u64) -> u32 {
    let wanted = (PER_CPU * cpus.max(1)).next_power_of_two().min(MOST);
    let affordable = 1 << (memory / OF_MEMORY).max(1).ilog2();
    u32::try_from(wanted.min(affordable).max(LEAST)).unwrap_or(u32::MAX)
}

/// `MemTotal` of /proc/meminfo, bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest `memory.max` of this process's cgroup and those above it, all of cgroup2. Since 5.11
/// the ring counts there.
fn allowed(root: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |dir: &Path| fs::read_to_string(root.join(dir).join("memory.max")).ok()?.trim().parse().ok();
    Path::new(path).ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_cpus_as_far_as_memory_allows() {
        const GIB: u64 = 1 << 30;
        let sizes =
            [(1, 8 * GIB), (2, 24 * GIB), (3, 24 * GIB), (64, 512 * GIB)].map(|(n, m)| size(n, m) >> 20);
        assert_eq!(sizes, [8, 16, 32, 64]);
        let limited = [(64, GIB), (64, GIB / 2), (64, GIB / 8), (64, 0)].map(|(n, m)| size(n, m) >> 20);
        assert_eq!(limited, [16, 8, 4, 4]);
    }

    #[test]
    fn memory_is_what_the_host_has_and_the_cgroups_allow() {
        assert_eq!(total("MemTotal:       24639012 kB\nMemFree: 1 kB\n"), Some(24_639_012 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("system.slice/wirespan.service");
        fs::create_dir_all(&unit).unwrap();
        let own = "12:memory:/x\n0::/system.slice/wirespan.service\n";
        assert_eq!(allowed(root.path(), own), None);
        fs::write(unit.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("system.slice/memory.max"), "1073741824\n").unwrap();
        assert_eq!(allowed(root.path(), own), Some(1 << 30));
        fs::write(unit.join("memory.max"), "536870912\n").unwrap();
        assert_eq!(allowed(root.path(), own), Some(1 << 29));
    }
}
