//! A byte of the map `PIDS`, from which the programs know whether a process is selected
//! (`agent-ebpf/src/selected.rs`).
//!
//! The programs write the same bytes. An update of the map would overwrite the seven neighbours of
//! a byte, too. So the page of the byte is mapped for a moment; the whole map is 4 MiB, which would
//! count as memory of the agent.

#![expect(unsafe_code, reason = "mapped memory is a pointer, and shared with the kernel")]

use std::{
    num::NonZero,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

use agent_common::pid_flags;
use nix::{
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};

/// From now on the programs take the process for selected, or not.
pub(super) fn set(map: impl AsFd, pid: u32, selected: bool) -> nix::Result<()> {
    let page = Page::of(map, pid)?;
    if selected {
        page.byte().fetch_or(pid_flags::SELECTED, Ordering::SeqCst);
    } else {
        page.byte().store(0, Ordering::SeqCst);
    }
    Ok(())
}

/// Whether the programs take the process for selected.
pub(super) fn is_set(map: impl AsFd, pid: u32) -> nix::Result<bool> {
    let page = Page::of(map, pid)?;
    Ok(page.byte().load(Ordering::SeqCst) & pid_flags::SELECTED != 0)
}

/// A mapped page of the map, and where a pid's byte lies in it.
struct Page {
    start: NonNull<AtomicU8>,
    length: NonZero<usize>,
    at: usize,
}

impl Page {
    fn of(map: impl AsFd, pid: u32) -> nix::Result<Self> {
        let length = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| usize::try_from(size).ok());
        let length = length.and_then(NonZero::new).ok_or(nix::Error::EINVAL)?;
        let at = pid as usize % length;
        let offset = i64::from(pid) - at as i64;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map, offset) }?;
        Ok(Self { start: start.cast(), length, at })
    }

    fn byte(&self) -> &AtomicU8 {
        // SAFETY: `at` is within the page, which is mapped as long as `self` lives.
        let byte = unsafe { self.start.add(self.at) };
        // SAFETY: every byte is a valid value, and all accesses are single loads and stores.
        unsafe { byte.as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it outlives the value.
        let unmapped = unsafe { munmap(self.start.cast(), self.length.get()) };
        debug_assert!(unmapped.is_ok(), "the mapping was valid");
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, io::Seek};

    use super::*;

    #[test]
    fn a_byte_is_one_processs() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(16_384).unwrap();
        for pid in [7, 8, 4_095, 4_096, 16_383] {
            set(&file, pid, true).unwrap();
        }
        set(&file, 8, false).unwrap();
        assert!(is_set(&file, 7).unwrap() && !is_set(&file, 8).unwrap());
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let selected: Vec<_> = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).collect();
        assert_eq!(selected, [(7, &1), (4_095, &1), (4_096, &1), (16_383, &1)]);
    }
}
