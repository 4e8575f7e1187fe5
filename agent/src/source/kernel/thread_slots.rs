//! The map `THREAD_SLOTS`, which has the last receives of threads (`agent-ebpf/src/threads.rs`).
//! Read and changed in mapped memory: each slot by a system call would take 65,536 of them, and
//! an update of the map could overwrite a receive that comes meanwhile.

#![expect(unsafe_code, reason = "mapped memory is a pointer, and shared with the kernel")]

use std::{
    num::NonZero,
    os::fd::AsFd,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use agent_common::{THREAD_SLOTS, thread_slot};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

const WORDS: usize = THREAD_SLOTS as usize * 2;
const SIZE: NonZero<usize> = NonZero::new(WORDS * size_of::<AtomicU64>()).expect("there are slots");

/// Empties the slots whose last receive is one of a stale connection.
pub(super) fn forget(map: impl AsFd, stale: impl Fn(u64) -> bool) -> nix::Result<()> {
    let slots = Slots::of(map)?;
    for [first, _] in slots.words().as_chunks::<2>().0 {
        let word = first.load(Ordering::Relaxed);
        if word != 0 && stale(thread_slot::cookie(word)) {
            // A receive that came meanwhile stays.
            let _newer = first.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The mapped map.
struct Slots(NonNull<AtomicU64>);

impl Slots {
    fn of(map: impl AsFd) -> nix::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(None, SIZE, access, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self(start.cast()))
    }

    const fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped as long as `self` lives, and each is accessed at once.
        unsafe { slice::from_raw_parts(self.0.as_ptr(), WORDS) }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference into it outlives the value.
        let unmapped = unsafe { munmap(self.0.cast(), SIZE.get()) };
        debug_assert!(unmapped.is_ok(), "the mapping was valid");
    }
}

#[cfg(test)]
mod tests {
    use agent_common::LastReceive;

    use super::*;

    #[test]
    fn only_slots_of_stale_connections_are_emptied() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE.get() as u64).unwrap();
        // Cookies also count down from -1.
        let receives = [(1, 5), (70_000, u64::MAX), (65_535, 7), (4_194_303, 8)];
        let word = |tid: u32| (tid % THREAD_SLOTS) as usize * 2;
        let slots = Slots::of(&file).unwrap();
        for (tid, cookie) in receives {
            let words = thread_slot::packed(tid, LastReceive { cookie, position: cookie });
            slots.words()[word(tid)].store(words[0], Ordering::Relaxed);
            slots.words()[word(tid) + 1].store(words[1], Ordering::Relaxed);
        }
        // Threads 65,535 and 4,194,303 share a slot, and the second one has it.
        forget(&file, |cookie| [u64::MAX, 7, 0].contains(&cookie)).unwrap();
        let left = receives.map(|(tid, _)| {
            let [a, b] = [0, 1].map(|at| slots.words()[word(tid) + at].load(Ordering::Relaxed));
            if thread_slot::is_of(a, tid) { thread_slot::unpacked(tid, [a, b]).cookie } else { 0 }
        });
        assert_eq!(left, [5, 0, 0, 8]);
    }

    #[test]
    fn mixed_words_are_nobodys() {
        let packed = |tid, cookie| thread_slot::packed(tid, LastReceive { cookie, position: 9 });
        let ([a, b], [c, d]) = (packed(3, 1), packed(65_539, 2));
        assert_eq!(thread_slot::unpacked(3, [a, b]), LastReceive { cookie: 1, position: 9 });
        assert_eq!(thread_slot::unpacked(3, [a, d]), LastReceive::NONE);
        assert!(!thread_slot::is_of(c, 3) && !thread_slot::is_of(0, 3) && !thread_slot::is_of(0, 65_539));
    }
}
