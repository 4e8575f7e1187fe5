//! Copies the bytes that a system call moved out of the program's memory: the first ones and the
//! last few, from at most 32 iovecs.

use core::{
    mem::MaybeUninit,
    ptr::{read_volatile, write_volatile},
};

use agent_common::{
    CAPTURE_MAX, Connection, Counter, FlowKey, GoReceive, IOVECS, OUT, Opened, TAIL_MAX, not_captured,
};
use aya_ebpf::helpers::generated::bpf_probe_read_user;

use crate::{
    context::Syscall,
    heads::Scan,
    maps::{SCRATCH, tunable},
    pieces::Pieces,
    record::Record,
    socket::{MSG_ERRQUEUE, MSG_OOB, MSG_PEEK, MSG_TRUNC},
    syscalls::{
        PREADV2, PWRITEV2, READ, READV, RECVFROM, RECVMMSG, RECVMSG, SENDFILE, SENDMMSG, SENDMSG, SENDTO,
        SPLICE, WRITE, WRITEV,
    },
};

const TAIL: u32 = TAIL_MAX as u32;
/// Iovecs that `copy_few` takes.
const FEW: u32 = 4;
/// Nothing was captured: [`not_captured::FAULT`], packed.
const FAULT: u64 = (not_captured::FAULT as u64) << 24;

/// A record with room for its payload. The payload has twice the room that a record may fill: the
/// verifier bounds an offset and a size one by one, and never their sum.
#[repr(C)]
pub(crate) struct Scratch {
    /// Where the record begins, in bytes behind `record`.
    pub start: u32,
    /// What `copy_payload` has captured, packed.
    captured: u32,
    /// Ends where the payload begins.
    pub record: Record,
    pub payload: [u8; 2 * CAPTURE_MAX + 4 * TAIL_MAX],
    pub vector: [[u64; 2]; IOVECS],
    walk: Walk,
    /// Where the bytes of the captured system call lie.
    pub source: Source,
    pub scan: Scan,
    pub pieces: Pieces,
    /// Records of a newly observed connection, which are too large for the stack.
    pub opened: Opened,
    pub connection: Connection,
    pub flow: FlowKey,
    /// The last receive of a goroutine.
    pub receive: GoReceive,
}

/// How far the walk over the iovecs has come.
#[repr(C)]
#[derive(Clone, Copy)]
struct Walk {
    /// Bytes that the system call moved, most bytes to copy, start of the tail, iovecs to look at.
    length: u32,
    want: u32,
    tail_from: u32,
    used: u32,
    /// Bytes walked over, bytes of head and tail copied so far.
    walked: u32,
    head: u32,
    tail: u32,
    fault: u32,
}

/// What was copied into the scratch.
#[derive(Clone, Copy)]
pub(crate) struct Captured {
    pub head: u32,
    pub tail: u32,
    pub not_captured: u8,
}

impl Captured {
    /// Head, tail and reason in 16, 8 and 8 bits: the result of a global function is one number.
    #[inline(always)]
    fn unpacked(packed: u64) -> Self {
        Self {
            head: packed as u32 & 0xffff,
            tail: (packed >> 16) as u32 & 0xff,
            not_captured: (packed >> 24) as u8,
        }
    }

    #[inline(always)]
    fn packed(self) -> u64 {
        u64::from(self.head & 0xffff) | u64::from(self.tail & 0xff) << 16 | u64::from(self.not_captured) << 24
    }

    #[inline(always)]
    pub(crate) fn not_captured(reason: u8) -> Self {
        Self { head: 0, tail: 0, not_captured: reason }
    }
}

/// Where the program's bytes lie. A struct and no enum: before 5.12 the verifier refuses to copy
/// the payload of a variant that is not set.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// Why the bytes may not be read, a value of `not_captured`.
    pub not_captured: u8,
    /// `address` is that of an array of iovecs.
    pub vector: bool,
    pub address: u64,
    pub count: u64,
}

impl Source {
    #[inline(always)]
    pub(crate) fn not_captured(reason: u8) -> Self {
        Self { not_captured: reason, vector: false, address: 0, count: 0 }
    }

    #[inline(always)]
    fn buffer(address: u64) -> Self {
        Self { not_captured: not_captured::NONE, vector: false, address, count: 0 }
    }

    #[inline(always)]
    fn iovecs(address: u64, count: u64) -> Self {
        Self { not_captured: not_captured::NONE, vector: true, address, count }
    }
}

/// Finds the bytes of the current system call.
#[inline(always)]
pub(crate) fn locate(direction: usize, flags: u32) -> Result<Source, Counter> {
    let syscall = Syscall::current()?;
    if syscall.is_32_bit() {
        return Ok(Source::not_captured(not_captured::TASK_32));
    }
    source(&syscall, direction, flags)
}

/// Copies the first bytes of a system call that moved `length`, and its last few. The usual ways
/// are short: all bytes are copied, from one buffer or from a few iovecs.
#[inline(always)]
pub(crate) fn copy_payload(scratch: *mut Scratch, source: &Source, slot: u32, length: u32) -> Captured {
    let packed = if source.not_captured != not_captured::NONE {
        u64::from(source.not_captured) << 24
    } else if length != limit(length) {
        copy_ends(scratch, source, slot, length)
    } else if !source.vector {
        if copy(scratch, 0, source.address, length) { u64::from(length) } else { FAULT }
    } else if source.count <= u64::from(FEW) && iovecs_into(scratch, source.address, source.count as u32) {
        copy_few(slot, source.count as u32, length)
    } else {
        copy_ends(scratch, source, slot, length)
    };
    // From memory, where the verifier does not know it: what follows is looked at once.
    //
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    let packed = unsafe {
        let captured = &raw mut (*scratch).captured;
        write_volatile(captured, packed as u32);
        read_volatile(captured)
    };
    Captured::unpacked(u64::from(packed))
}

/// The same where not all bytes are copied, or from many iovecs.
#[inline(always)]
fn copy_ends(scratch: *mut Scratch, source: &Source, slot: u32, length: u32) -> u64 {
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*scratch).source, *source) };
    if source.vector { capture_vector(slot, length) } else { capture_buffer(slot, length) }
}

/// Reads the first iovecs, at most `IOVECS`.
#[inline(always)]
fn iovecs_into(scratch: *mut Scratch, address: u64, count: u32) -> bool {
    let size = bounded::<{ (IOVECS * 16) as u32 }>(count * 16);
    // SAFETY: the vector has room for IOVECS entries; the helper checks the source.
    unsafe { bpf_probe_read_user((&raw mut (*scratch).vector).cast(), size, address as *const _) == 0 }
}

/// A global function (`no_mangle`, numbers only): the verifier checks it once, alone, and not again
/// for every path that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_buffer(slot: u32, length: u32) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return FAULT };
    // SAFETY: as above.
    let address = unsafe { read_volatile(&raw const (*scratch).source.address) };
    copy_buffer(scratch, address, length).packed()
}

/// The same for iovecs. It is a function of its own because the stack frames along a chain of
/// functions add up.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_vector(slot: u32, length: u32) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return FAULT };
    // SAFETY: as above.
    let (address, count) = unsafe {
        let source = &raw const (*scratch).source;
        (read_volatile(&raw const (*source).address), read_volatile(&raw const (*source).count))
    };
    copy_vector(scratch, slot, address, count, length).packed()
}

/// Finds the buffer in the system call's arguments.
#[inline(always)]
fn source(syscall: &Syscall, direction: usize, flags: u32) -> Result<Source, Counter> {
    let unreadable = MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE;
    let mut flags = flags;
    let sends = direction == OUT;
    let found = match (sends, syscall.number) {
        (true, WRITE) | (false, READ) => Source::buffer(syscall.second()),
        (true, SENDTO) | (false, RECVFROM) => {
            flags |= syscall.fourth()? as u32;
            Source::buffer(syscall.second())
        }
        (true, WRITEV | PWRITEV2) | (false, READV | PREADV2) => {
            Source::iovecs(syscall.second(), syscall.third())
        }
        (true, SENDMSG) | (false, RECVMSG) => {
            flags |= syscall.third() as u32;
            message(syscall.second())
        }
        // One message: of several, nobody can say which one this is.
        (true, SENDMMSG) | (false, RECVMMSG) if syscall.third() == 1 => {
            flags |= syscall.fourth()? as u32;
            message(syscall.second())
        }
        (_, SENDFILE | SPLICE) => Source::not_captured(not_captured::SPLICE),
        _ => Source::not_captured(not_captured::SYSCALL),
    };
    // On sends, TCP ignores MSG_TRUNC and MSG_PEEK. The design refuses them in both directions, and
    // so does this list.
    if flags & unreadable != 0 {
        return Ok(Source::not_captured(not_captured::FLAGS));
    }
    Ok(found)
}

/// `msg_iov` and `msg_iovlen` of a `struct user_msghdr`.
#[inline(always)]
fn message(address: u64) -> Source {
    let mut vector = MaybeUninit::<[u64; 2]>::uninit();
    // SAFETY: 16 bytes of stack; the helper checks the source.
    let failed = unsafe { bpf_probe_read_user(vector.as_mut_ptr().cast(), 16, (address + 16) as *const _) };
    if failed != 0 {
        return Source::not_captured(not_captured::FAULT);
    }
    // SAFETY: the helper has filled it.
    let vector = unsafe { vector.assume_init() };
    Source::iovecs(vector[0], vector[1])
}

/// Most bytes to copy from the start of a system call.
#[inline(always)]
fn limit(length: u32) -> u32 {
    let limit = tunable!(capture_bytes);
    let limit = if limit > CAPTURE_MAX as u32 { CAPTURE_MAX as u32 } else { limit };
    if length < limit { length } else { limit }
}

/// Copies `size` bytes to `offset` of the payload. Both are bounded here once more, for the
/// verifier.
#[inline(always)]
pub(crate) fn copy(scratch: *mut Scratch, offset: u32, address: u64, size: u32) -> bool {
    let offset = bounded::<{ (CAPTURE_MAX + TAIL_MAX) as u32 }>(offset);
    let size = bounded::<{ CAPTURE_MAX as u32 }>(size);
    // SAFETY: offset + size <= 2 * CAPTURE_MAX + TAIL_MAX, the size of the payload being larger;
    // the helper checks the source.
    unsafe {
        let target = (&raw mut (*scratch).payload).cast::<u8>().add(offset as usize);
        bpf_probe_read_user(target.cast(), size, address as *const _) == 0
    }
}

/// `value` or, when it is larger, `MOST`. In assembly, so that the register that is compared is the
/// one that is used: the compiler may compare one copy and use another, and the verifier then does
/// not know the bound.
#[inline(always)]
pub(crate) fn bounded<const MOST: u32>(value: u32) -> u32 {
    let mut bounded = u64::from(value);
    // SAFETY: changes only its operand.
    unsafe {
        core::arch::asm!("if {v} <= {most} goto +1", "{v} = {most}", v = inout(reg) bounded, most = const MOST);
    }
    bounded as u32
}

#[inline(always)]
fn copy_buffer(scratch: *mut Scratch, address: u64, length: u32) -> Captured {
    let head = limit(length);
    if !copy(scratch, 0, address, head) {
        return Captured::not_captured(not_captured::FAULT);
    }
    let rest = length - head;
    if rest == 0 {
        return Captured { head, tail: 0, not_captured: not_captured::NONE };
    }
    let tail = if rest > TAIL_MAX as u32 { TAIL_MAX as u32 } else { rest };
    let from = address + u64::from(length) - u64::from(tail);
    if !copy(scratch, head, from, bounded::<TAIL>(tail)) {
        return Captured { head, tail: 0, not_captured: not_captured::NONE };
    }
    Captured { head, tail, not_captured: not_captured::NONE }
}

#[inline(always)]
fn copy_vector(scratch: *mut Scratch, slot: u32, address: u64, count: u64, length: u32) -> Captured {
    let used = if count > IOVECS as u64 { IOVECS as u32 } else { count as u32 };
    if !iovecs_into(scratch, address, used) {
        return Captured::not_captured(not_captured::FAULT);
    }
    let want = limit(length);
    // SAFETY: only the address is taken.
    let walk = unsafe { &raw mut (*scratch).walk };
    // SAFETY: the per-CPU scratch of this direction.
    unsafe {
        write_volatile(
            walk,
            Walk {
                length,
                want,
                tail_from: tail_start(want, length),
                used,
                walked: 0,
                head: 0,
                tail: 0,
                fault: 0,
            },
        );
    }
    let mut index = 0usize;
    while index < IOVECS {
        if index as u32 >= used || capture_step(slot, index as u32) == 0 {
            break;
        }
        index += 1;
    }
    // SAFETY: as above.
    let end = unsafe { read_volatile(walk) };
    if end.fault != 0 {
        let not_captured = if end.head == 0 { not_captured::FAULT } else { not_captured::NONE };
        return Captured { head: end.head, tail: 0, not_captured };
    }
    // An incomplete tail (more iovecs than are looked at, or a fault) would lie at the wrong
    // position.
    let tail = if end.tail == end.length - end.tail_from { end.tail } else { 0 };
    Captured { head: end.head, tail, not_captured: not_captured::NONE }
}

/// The usual case of a response: a few iovecs whose bytes are all copied. The walk over more iovecs
/// keeps its state in memory and enters a function for each step. This is a global function with a
/// stack frame of its own, which has no part in that walk.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_few(slot: u32, used: u32, length: u32) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return FAULT };
    let mut head = 0u32;
    let mut index = 0usize;
    while index < FEW as usize && (index as u32) < used && head < length {
        // SAFETY: the per-CPU scratch of this direction; index < FEW.
        let [base, room] =
            unsafe { read_volatile((&raw const (*scratch).vector).cast::<[u64; 2]>().add(index)) };
        let left = length - head;
        let piece = if room > u64::from(left) { left } else { room as u32 };
        if piece != 0 && !copy(scratch, head, base, piece) {
            let not_captured = if head == 0 { not_captured::FAULT } else { not_captured::NONE };
            return u64::from(head) | u64::from(not_captured) << 24;
        }
        head += piece;
        index += 1;
    }
    u64::from(head)
}

/// Takes one iovec; 0 when there is nothing more to do. A global function, for the reason that
/// `capture_buffer` gives.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn capture_step(slot: u32, index: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    let at = bounded::<{ IOVECS as u32 - 1 }>(index) as usize;
    // Word by word: what is copied at once goes through the stack.
    //
    // SAFETY: the per-CPU scratch of this direction; at < IOVECS.
    let (walk, base, room) = unsafe {
        let entry = (&raw const (*scratch).vector).cast::<u64>().add(at * 2);
        (&raw mut (*scratch).walk, read_volatile(entry), read_volatile(entry.add(1)))
    };
    // SAFETY: as above.
    let (length, want, tail_from) = unsafe {
        (
            read_volatile(&raw const (*walk).length),
            read_volatile(&raw const (*walk).want),
            read_volatile(&raw const (*walk).tail_from),
        )
    };
    // SAFETY: as above.
    let (walked, head) =
        unsafe { (read_volatile(&raw const (*walk).walked), read_volatile(&raw const (*walk).head)) };
    let left = length - walked;
    let piece = if room > u64::from(left) { left } else { room as u32 };
    if head < want {
        let missing = want - head;
        let take = if piece > missing { missing } else { piece };
        if take != 0 && !copy(scratch, head, base, take) {
            // SAFETY: as above.
            unsafe { write_volatile(&raw mut (*walk).fault, 1) };
            return 0;
        }
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*walk).head, head + take) };
    }
    let end = walked + piece;
    if end > tail_from && tail_from < length {
        let skip = tail_from.saturating_sub(walked);
        let take = bounded::<TAIL>(piece - skip);
        // SAFETY: as above.
        let tail = unsafe { read_volatile(&raw const (*walk).tail) };
        if copy(scratch, want + bounded::<TAIL>(tail), base + u64::from(skip), take) {
            // SAFETY: as above.
            unsafe { write_volatile(&raw mut (*walk).tail, tail + take) };
        }
    }
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*walk).walked, end) };
    u32::from(end < length)
}

/// Offset, within the system call, of its captured tail; `length` when the head is everything.
#[inline(always)]
fn tail_start(head: u32, length: u32) -> u32 {
    let rest = length - head;
    if rest > TAIL_MAX as u32 { length - TAIL_MAX as u32 } else { length - rest }
}
