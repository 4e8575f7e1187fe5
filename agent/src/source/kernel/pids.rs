//! The map `PIDS` in our memory: a byte for each pid that says whether its process is selected (`agent-ebpf/src/selected.rs`).
//!
//! The programs write the same bytes. To change a byte through the map's own update would write its seven neighbours, too.

#![expect(unsafe_code, reason = "mapped memory is a pointer, and shared with the kernel")]

use std::{
    fs,
    num::NonZero,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

use agent_common::{PIDS_PER_ENTRY, pid_flags};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Pids that the kernel may give: `PID_MAX_LIMIT` (include/linux/threads.h).
const MOST: u32 = 4 << 20;
/// Pids for which there is a byte on every host.
const LEAST: u32 = 32_768;

/// Entries of the map on this host. A process whose pid is beyond them, since `kernel.pid_max` was raised, is found by hash.
pub(super) fn entries() -> u32 {
    let known = fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let most = known.and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(MOST);
    most.clamp(LEAST, MOST).div_ceil(PIDS_PER_ENTRY)
}

/// The mapped bytes.
#[derive(Debug)]
pub(super) struct Pids {
    bytes: NonNull<AtomicU8>,
    length: NonZero<usize>,
}

// SAFETY: the memory is nobody else's in this process, and is only reached by atomic operations.
unsafe impl Send for Pids {}

impl Pids {
    /// Maps a map of so many entries.
    pub(super) fn new(map: impl AsFd, entries: u32) -> nix::Result<Self> {
        let length = NonZero::new(entries as usize * PIDS_PER_ENTRY as usize).ok_or(nix::Error::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let bytes = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { bytes: bytes.cast(), length })
    }

    fn byte(&self, pid: u32) -> Option<&AtomicU8> {
        if pid as usize >= self.length.get() {
            return None;
        }
        // SAFETY: within the mapping, which lives as long as `self`.
        let byte = unsafe { self.bytes.add(pid as usize) };
        // SAFETY: the kernel gave zeros, and every byte is a valid value.
        Some(unsafe { byte.as_ref() })
    }

    /// Whether the programs take the process for selected; a pid beyond the map is the hash's alone.
    pub(super) fn is_selected(&self, pid: u32) -> bool {
        self.byte(pid).is_none_or(|byte| byte.load(Ordering::Relaxed) & pid_flags::SELECTED != 0)
    }

    /// From now on the programs take it for selected, or not.
    pub(super) fn set(&self, pid: u32, selected: bool) {
        let Some(byte) = self.byte(pid) else { return };
        if selected {
            byte.fetch_or(pid_flags::SELECTED, Ordering::SeqCst);
        } else {
            byte.store(0, Ordering::SeqCst);
        }
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it outlives the value.
        let unmapped = unsafe { munmap(self.bytes.cast(), self.length.get()) };
        debug_assert!(unmapped.is_ok(), "the mapping was valid");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_one_processs() {
        let file = tempfile::tempfile().unwrap();
        let entries = LEAST / PIDS_PER_ENTRY;
        file.set_len(u64::from(LEAST)).unwrap();
        let pids = Pids::new(&file, entries).unwrap();
        pids.set(7, true);
        pids.set(LEAST - 1, true);
        assert_eq!([6, 7, 8, LEAST - 1].map(|pid| pids.is_selected(pid)), [false, true, false, true]);
        pids.set(7, false);
        assert!(!pids.is_selected(7) && pids.is_selected(LEAST), "what is beyond is the hash's");
        pids.set(LEAST, false);
        assert!(pids.is_selected(LEAST - 1));
    }

    #[test]
    fn there_is_room_for_the_pids_of_this_host() {
        assert!(entries() * PIDS_PER_ENTRY > std::process::id());
    }
}
