//! The record of a transfer in the scratch. Its parts end where the payload begins, so a record
//! without its last parts begins later and is still one piece of memory with its payload.
//!
//! Most records need neither drop counts nor a task, and those of receives no last receive. So they
//! have two forms here: one with all parts, and one with those of the direction (`SHORT`).

use core::ptr::{read_volatile, write_volatile};

use agent_common::{
    CAPTURE_MAX, Counter, LastReceive, OUT, TAIL_MAX, Transfer, TransferRest, not_captured, pid_flags,
    transfer_flags,
};

use crate::{
    capture::{Captured, Scratch, bounded},
    count::add,
    maps::SCRATCH,
    ring, selected,
    socket::Event,
};

/// All parts.
#[repr(C)]
pub(crate) struct Record {
    pub transfer: Transfer,
    last: LastReceive,
    rest: TransferRest,
}

const SIZE: usize = size_of::<Record>();
/// Where the short form begins (out, in), in bytes from the start of the long one.
const SHORT: [usize; 2] = [size_of::<TransferRest>(), size_of::<TransferRest>() + size_of::<LastReceive>()];
const WORDS: usize = size_of::<Transfer>() / 8;

const ALL: u8 = transfer_flags::LAST_RECEIVE | transfer_flags::REST;

/// Writes everything that does not depend on what is captured. The form stands in the scratch,
/// where the verifier does not follow it.
#[inline(always)]
pub(crate) fn begin(scratch: *mut Scratch, direction: usize, event: &Event) {
    // SAFETY: an entry of CONNECTIONS; see `connection::Traced`.
    let dropped = unsafe { (*event.traced.state).dropped[direction] };
    let lost = event.process & pid_flags::LOST != 0;
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    unsafe {
        if dropped == 0 && !lost && event.task.flags == 0 {
            let parts = if direction == OUT { transfer_flags::LAST_RECEIVE } else { 0 };
            transfer_into(at(scratch, SHORT[direction]), event, parts);
            if direction == OUT {
                // The second part ends the record.
                last_into(at(scratch, SIZE - size_of::<LastReceive>()), event.last);
            }
            write_volatile(&raw mut (*scratch).start, SHORT[direction] as u32);
            return;
        }
        let record = &raw mut (*scratch).record;
        transfer_into(&raw mut (*record).transfer, event, ALL);
        last_into(&raw mut (*record).last, event.last);
        let drops = if lost { selected::process_drops(event.actor.pid) } else { 0 };
        write_volatile(&raw mut (*record).rest.dropped, dropped);
        write_volatile(&raw mut (*record).rest.process_drops, drops);
        write_volatile(&raw mut (*record).rest.task, event.task.id);
        write_volatile(&raw mut (*scratch).start, 0);
    }
}

/// What stands `offset` bytes behind the start of the long form.
///
/// # Safety
/// `offset` lies within the record.
#[inline(always)]
unsafe fn at<T>(scratch: *mut Scratch, offset: usize) -> *mut T {
    // SAFETY: as above.
    unsafe { (&raw mut (*scratch).record).cast::<u8>().add(offset).cast() }
}

/// # Safety
/// `transfer` lies in this CPU's scratch.
#[inline(always)]
unsafe fn transfer_into(transfer: *mut Transfer, event: &Event, parts: u8) {
    let header = event.header;
    // SAFETY: as above. Volatile, or the compiler makes a memset of zeros in a row.
    unsafe {
        write_volatile(&raw mut (*transfer).header.kind, header.kind);
        write_volatile(&raw mut (*transfer).header.direction, header.direction);
        write_volatile(&raw mut (*transfer).header.flags, header.flags | event.task.flags | parts);
        write_volatile(&raw mut (*transfer).header.length, header.length);
        write_volatile(&raw mut (*transfer).header.at, header.at);
        write_volatile(&raw mut (*transfer).cookie, event.traced.cookie);
        write_volatile(&raw mut (*transfer).position, event.position);
        write_volatile(&raw mut (*transfer).pid, event.actor.pid);
        write_volatile(&raw mut (*transfer).tid, event.actor.tid);
    }
}

/// # Safety
/// `last` lies in this CPU's scratch.
#[inline(always)]
unsafe fn last_into(last: *mut LastReceive, value: LastReceive) {
    // SAFETY: as above.
    unsafe {
        write_volatile(&raw mut (*last).cookie, value.cookie);
        write_volatile(&raw mut (*last).position, value.position);
    }
}

/// Puts the record with what was captured; false when the ring is full.
#[inline(always)]
pub(crate) fn put(scratch: *mut Scratch, direction: usize, captured: Captured) -> bool {
    // SAFETY: the per-CPU scratch of this direction.
    let start = unsafe { read_volatile(&raw const (*scratch).start) };
    if start == 0 { put_from(scratch, 0, captured) } else { put_from(scratch, SHORT[direction], captured) }
}

#[inline(always)]
fn put_from(scratch: *mut Scratch, start: usize, captured: Captured) -> bool {
    // SAFETY: as above; `start` is 0 or one of `SHORT`.
    unsafe {
        let transfer: *mut Transfer = at(scratch, start);
        write_volatile(&raw mut (*transfer).header.not_captured, captured.not_captured);
        write_volatile(&raw mut (*transfer).head, captured.head);
        write_volatile(&raw mut (*transfer).tail, captured.tail);
        let payload = bounded::<{ (CAPTURE_MAX + TAIL_MAX) as u32 }>(captured.head + captured.tail);
        ring::put_bytes(transfer.cast(), (SIZE - start) as u64 + u64::from(payload))
    }
}

// What runs rarely is a global function (`no_mangle`, numbers only): the verifier checks each once.

/// Gives a short record all its parts, so that it can be put several times.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn complete(slot: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    // SAFETY: as in `begin`.
    unsafe {
        if read_volatile(&raw const (*scratch).start) == 0 {
            return 0;
        }
        let mut last = LastReceive::NONE;
        let mut from: *const u64 = at(scratch, SHORT[1]);
        if slot == OUT as u32 {
            last = read_volatile(at(scratch, SIZE - size_of::<LastReceive>()));
            from = at(scratch, SHORT[OUT]);
        }
        let to: *mut u64 = at(scratch, 0);
        let mut word = 0;
        while word < WORDS {
            write_volatile(to.add(word), read_volatile(from.add(word)));
            word += 1;
        }
        let record = &raw mut (*scratch).record;
        (*record).transfer.header.flags |= ALL;
        last_into(&raw mut (*record).last, last);
        write_volatile(&raw mut (*record).rest.dropped, 0);
        write_volatile(&raw mut (*record).rest.process_drops, 0);
        write_volatile(&raw mut (*record).rest.task, 0);
        write_volatile(&raw mut (*scratch).start, 0);
    }
    0
}

/// Puts a record without bytes for the last `length` bytes of a system call that was put in pieces,
/// with the flags of its end; 0: the ring is full.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put_rest(slot: u32, length: u32, flags: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    // SAFETY: as in `begin`; `complete` has made the record a long one.
    let header = unsafe { &mut (*scratch).record.transfer.header };
    header.length = length;
    header.flags = header.flags & !transfer_flags::FIN | flags as u8;
    if !put_from(scratch, 0, Captured::not_captured(not_captured::NONE)) {
        return 0;
    }
    add(Counter::Events, 1);
    1
}
