//! A system call of which more is captured than its first and its last bytes: one record for each
//! piece of a buffer, or for each iovec. Of a body framed by chunks the first bytes of each iovec
//! are enough; of a head every byte is captured.
//!
//! A global function (`no_mangle`, numbers only) puts one piece, so that the verifier checks it
//! once, alone. Inlined into a loop it cost two seconds of verification at each start.

use core::ptr::{read_volatile, write_volatile};

use agent_common::{CAPTURE_MAX, Counter, IOVECS, not_captured, transfer_flags};

use crate::{
    capture::{Scratch, bounded, copy},
    count::add,
    heads::{self, capture},
    maps::{SCRATCH, tunable},
    record::Record,
    ring,
};

/// Most pieces: 128 KiB of a buffer, or every iovec that is looked at.
const PIECES: u32 = IOVECS as u32;

/// What is to be captured of a system call.
pub(crate) struct Plan {
    pub length: u32,
    /// Most bytes of one piece that is not a head's.
    pub most: u32,
    /// `heads::capture`.
    pub how: u32,
    /// Flags of the record with the last byte of the system call.
    pub flags: u8,
}

/// How far a system call has been put into the ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pieces {
    address: u64,
    /// Iovecs in the scratch; 0: the address is that of a buffer.
    count: u32,
    length: u32,
    most: u32,
    done: u32,
    lost_bytes: u32,
    lost_records: u32,
    flags: u32,
    /// `heads::capture`, of the next pieces.
    how: u32,
    /// The next piece's iovec, and how many of its bytes are done.
    index: u32,
    within: u32,
}

/// What did not get into the ring.
pub(crate) struct Lost {
    pub records: u32,
    pub bytes: u32,
    /// Bytes of the system call behind the last piece.
    pub rest: u32,
}

/// Puts a system call, whose first bytes are in the scratch, piece by piece. The position of the
/// record moves along.
#[inline(always)]
pub(crate) fn put_all(scratch: *mut Scratch, slot: u32, plan: &Plan) -> Lost {
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    let source = unsafe { read_volatile(&raw const (*scratch).source) };
    let used = if source.count > IOVECS as u64 { IOVECS as u32 } else { source.count as u32 };
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    let pieces = unsafe { &raw mut (*scratch).pieces };
    let start = Pieces {
        address: source.address,
        count: if source.vector { used } else { 0 },
        length: plan.length,
        most: plan.most,
        done: 0,
        lost_bytes: 0,
        lost_records: 0,
        flags: u32::from(plan.flags),
        how: plan.how,
        index: 0,
        within: 0,
    };
    // SAFETY: as above.
    unsafe { write_volatile(pieces, start) };
    let mut index = 0;
    while index < PIECES {
        if put_piece(slot) == 0 {
            break;
        }
        if plan.how == capture::HEAD {
            look_on(slot);
        }
        index += 1;
    }
    // SAFETY: as above.
    let end = unsafe { read_volatile(pieces) };
    Lost { records: end.lost_records, bytes: end.lost_bytes, rest: end.length - end.done }
}

/// Puts the next piece; 0 when no other one is needed.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put_piece(slot: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    // SAFETY: the per-CPU scratch of this direction.
    let pieces = unsafe { &raw mut (*scratch).pieces };
    // SAFETY: as above.
    let mut now = unsafe { read_volatile(pieces) };
    if now.done >= now.length || now.how == capture::ENDS {
        return 0;
    }
    let left = now.length - now.done;
    let (base, room) = if now.count == 0 {
        (now.address + u64::from(now.done), u64::from(left))
    } else {
        if now.index >= now.count {
            return 0;
        }
        let index = bounded::<{ IOVECS as u32 - 1 }>(now.index) as usize;
        // SAFETY: index < IOVECS; the iovecs have been read into the scratch.
        let [base, room] =
            unsafe { read_volatile((&raw const (*scratch).vector).cast::<[u64; 2]>().add(index)) };
        (base + u64::from(now.within), room - u64::from(now.within))
    };
    let room = if room > u64::from(left) { left } else { room as u32 };
    let length = piece(&now, room);
    now.within += length;
    if length == room {
        now.index += 1;
        now.within = 0;
    }
    if length == 0 {
        // SAFETY: as above.
        unsafe { write_volatile(pieces, now) };
        return 1;
    }
    let most = if now.how == capture::HEAD { CAPTURE_MAX as u32 } else { now.most };
    let head = bounded::<{ CAPTURE_MAX as u32 }>(if length > most { most } else { length });
    let copied = copy(scratch, 0, base, head);
    let head = if copied { head } else { 0 };
    // SAFETY: as above.
    let record = unsafe { &mut (*scratch).record.transfer };
    record.header.length = length;
    record.header.not_captured = if copied { not_captured::NONE } else { not_captured::FAULT };
    let task = record.header.flags & !transfer_flags::FIN;
    record.header.flags = task | if length == left { now.flags as u8 } else { 0 };
    record.head = head;
    record.tail = 0;
    // SAFETY: as above.
    let whole = unsafe { &raw const (*scratch).record };
    if ring::put_bytes(whole.cast(), size_of::<Record>() as u64 + u64::from(head)) {
        add(Counter::Events, 1);
        add(Counter::Bytes, u64::from(head));
    } else {
        add(Counter::DropTransfer, 1);
        now.lost_records += 1;
        now.lost_bytes += length;
    }
    record.position = record.position.wrapping_add(u64::from(length));
    now.done += length;
    // SAFETY: as above.
    unsafe { write_volatile(pieces, now) };
    1
}

/// Bytes of the next piece: of an iovec that has `room` bytes left, or of a buffer. Where only the
/// first bytes of a piece are copied, a whole iovec is one piece.
#[inline(always)]
fn piece(now: &Pieces, room: u32) -> u32 {
    let most = if now.how == capture::HEAD { CAPTURE_MAX as u32 } else { now.most };
    let at_once = now.count != 0 && now.how == capture::CHUNKS;
    if at_once || room < most { room } else { most }
}

/// The last piece belonged to a head: decides how the rest of the system call is captured. Not part
/// of `put_piece`, because the stack frames along a chain of functions add up.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn look_on(slot: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    // SAFETY: the per-CPU scratch of this direction.
    let (pieces, size) = unsafe { (&raw mut (*scratch).pieces, (*scratch).record.transfer.head) };
    // SAFETY: as above.
    let (left, done, how) = unsafe { ((*pieces).length - (*pieces).done, (*pieces).done, (*pieces).how) };
    if how != capture::HEAD {
        return 0;
    }
    let next = heads::look(slot, size, left);
    let too_long = next == capture::HEAD && done >= tunable!(head_bytes);
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*pieces).how, if too_long { capture::ENDS } else { next }) };
    0
}
