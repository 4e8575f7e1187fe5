//! The last receive of each thread. A thread has a slot of an array, by the low half of its id:
//! reading it needs neither a hash nor a helper. Threads that share a slot are rare; the first one
//! has it, and the others are in the hash `THREADS`.
//!
//! Two threads may take an empty slot at once, and 5.10 has no compare-and-exchange. So both words
//! of a slot name its thread: mixed words are nobody's, and a receive is lost, never another
//! thread's taken for it.

use core::ptr::{read_volatile, write_volatile};

use agent_common::{Counter, LastReceive, OUT, THREAD_SLOTS as SLOTS, thread_slot};

use crate::{
    count::add,
    maps::{CROWDED, SCRATCH, THREAD_SLOTS, THREADS},
};

type Slot = *mut [u64; 2];

#[inline(always)]
fn slot(tid: u32) -> Option<Slot> {
    THREAD_SLOTS.get_ptr_mut(tid % SLOTS)
}

/// The words of a slot.
#[inline(always)]
fn words(slot: Slot) -> [u64; 2] {
    // SAFETY: an entry of an array, which is never freed; each word is read at once.
    unsafe { [read_volatile(slot.cast::<u64>()), read_volatile(slot.cast::<u64>().add(1))] }
}

#[inline(always)]
fn write(slot: Slot, tid: u32, receive: LastReceive) {
    let [cookie, position] = thread_slot::packed(tid, receive);
    // SAFETY: as above; each word is written at once.
    unsafe {
        write_volatile(slot.cast::<u64>(), cookie);
        write_volatile(slot.cast::<u64>().add(1), position);
    }
}

/// The last receive of a thread.
#[inline(always)]
pub(crate) fn last_receive(tid: u32) -> LastReceive {
    let Some(slot) = slot(tid) else { return LastReceive::NONE };
    let words = words(slot);
    if thread_slot::is_of(words[0], tid) {
        return thread_slot::unpacked(tid, words);
    }
    if !CROWDED.is_on(0) || crowded_receive(tid) == 0 {
        return LastReceive::NONE;
    }
    let Some(scratch) = SCRATCH.get_ptr(OUT as u32) else { return LastReceive::NONE };
    // SAFETY: the per-CPU scratch of sends; nothing else writes it until this program ends.
    unsafe { read_volatile(&raw const (*scratch).receive.last) }
}

/// Remembers a receive of a thread: the current one, or one that has not begun to run.
#[inline(always)]
pub(crate) fn set_last_receive(tid: u32, receive: LastReceive) {
    let Some(slot) = slot(tid) else { return };
    // SAFETY: as in `words`.
    let first = unsafe { read_volatile(slot.cast::<u64>()) };
    if thread_slot::is_of(first, tid) {
        return write(slot, tid, receive);
    }
    set_elsewhere(tid, receive.cookie, receive.position);
}

/// The thread has ended, or executes another program.
#[inline(always)]
pub(crate) fn forget(tid: u32) {
    let Some(slot) = slot(tid) else { return };
    // SAFETY: as in `words`.
    unsafe {
        if thread_slot::is_of(read_volatile(slot.cast::<u64>()), tid) {
            write_volatile(slot.cast::<u64>(), 0);
        }
    }
    if CROWDED.is_on(0) {
        let _none = THREADS.remove(tid);
    }
}

// What runs rarely is a global function (`no_mangle`, numbers only): the verifier checks each once.

/// Puts the last receive of a thread without a slot into the scratch of sends; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn crowded_receive(tid: u32) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(OUT as u32) else { return 0 };
    let Some(entry) = THREADS.get_ptr(tid) else { return 0 };
    // SAFETY: only the thread writes its entry while it lives; the scratch as above.
    unsafe { write_volatile(&raw mut (*scratch).receive.last, *entry) };
    1
}

/// A receive of a thread that has no slot, maybe not yet.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn set_elsewhere(tid: u32, cookie: u64, position: u64) -> u64 {
    let receive = LastReceive { cookie, position };
    if let Some(entry) = THREADS.get_ptr_mut(tid) {
        // SAFETY: only the thread writes its entry while it lives.
        unsafe { *entry = receive };
        return 0;
    }
    if cookie == 0 {
        return 0;
    }
    let Some(slot) = slot(tid) else { return 0 };
    if words(slot)[0] == 0 {
        write(slot, tid, receive);
        return 0;
    }
    CROWDED.set_on(0);
    if THREADS.insert(tid, receive, 0).is_err() {
        add(Counter::ThreadsFull, 1);
    }
    0
}
