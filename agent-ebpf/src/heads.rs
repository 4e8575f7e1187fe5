//! Finds out whether a head goes on behind the bytes that were copied. If so, the system call is
//! put into the ring in pieces, until the head ends.
//!
//! Three sorts of system calls are looked at: those that moved more bytes than are copied of one,
//! those that go on with a head which an earlier one began, and those of 512 bytes or more that do
//! not end as a head does. A mistake here makes a piece too many or too few, and nothing worse: the
//! agent reads the captured bytes by the rules of RFC 9112, and the others as truncated.
//!
//! The state lies in the scratch. The verifier does not know its values, and so does not follow
//! every path through a head. Each step is a global function (`no_mangle`, numbers only), which the
//! verifier checks once.

use core::ptr::{read_volatile, write_volatile};

use agent_common::{CAPTURE_MAX, Connection, conn_flags};

use crate::{
    capture::{Scratch, bounded},
    maps::{CONNECTIONS, SCRATCH, tunable},
};

/// Bytes that one step looks at, and most steps for what is copied at once: 32 for the bytes, and
/// two for each message that begins.
const STEP: usize = 128;
const STEPS: u32 = 64;
/// Bytes of a method that are looked at.
const METHOD: usize = 16;
/// Most digits of a length.
const DIGITS: usize = 10;

/// What a head may contain, as the low bytes of a word in lower case.
const CHUNKED: u64 = u64::from_be_bytes(*b"\0chunked");
const CHUNKED_MASK: u64 = 0x00ff_ffff_ffff_ffff;
const LENGTH: u64 = u64::from_be_bytes(*b"-length:");
/// Turns ASCII letters into lower case; `-` and `:` stay.
const LOWER: u64 = 0x2020_2020_2020_2020;
/// The end of a head, of lines that end in CRLF or LF.
const EMPTY_LINE: u64 = u32::from_be_bytes(*b"\0\n\r\n") as u64;
const EMPTY_LINE_MASK: u64 = 0x00ff_ffff;
const BARE_EMPTY_LINE: u64 = u16::from_be_bytes(*b"\n\n") as u64;
const BARE_EMPTY_LINE_MASK: u64 = 0xffff;

/// The last bytes of a head, as they lie in memory.
const END_OF_HEAD: u32 = u32::from_ne_bytes(*b"\r\n\r\n");
/// Most heads end within so many bytes.
const SOON: usize = 1024;

/// Values of `state`.
mod state {
    /// In a body, or in bytes that are no message: nothing is searched.
    pub(super) const ELSEWHERE: u32 = 0;
    pub(super) const HEAD: u32 = 1;
    /// A message may begin behind `skip` bytes.
    pub(super) const NEXT: u32 = 2;
    /// Behind a head, before its body is looked at.
    pub(super) const END: u32 = 3;
}

/// How far the bytes of a system call have been looked at.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scan {
    /// The last eight bytes, the newest one lowest.
    word: u64,
    /// Next byte to look at, in the payload.
    at: u32,
    state: u32,
    /// The head names the chunked coding.
    chunked: u32,
    /// Where the head names the length of its body, and that length.
    length_at: u32,
    length: u32,
    /// Bytes until the next message, from the end of what was looked at.
    skip: u32,
}

/// How a system call is captured.
pub(crate) mod capture {
    /// Its first bytes and its last few.
    pub(crate) const ENDS: u32 = 0;
    /// In pieces, the sizes of chunks among them.
    pub(crate) const CHUNKS: u32 = 1;
    /// In pieces until the head ends.
    pub(crate) const HEAD: u32 = 2;
}

/// Whether a message may begin here: `HTTP/`, or a method of capital letters, a blank, and the
/// first character of a target. Data hardly ever looks so. If it does, the sizes of its chunks are
/// lost.
#[inline(always)]
pub(crate) fn begins_message(payload: *const u8) -> bool {
    let mut at = 0usize;
    while at < METHOD {
        let letter = byte(payload, at);
        if letter.wrapping_sub(b'A') < 26 || letter == b'-' {
            at += 1;
            continue;
        }
        if letter == b'/' {
            return at == 4 && byte(payload, 0) == b'H' && byte(payload, 3) == b'P';
        }
        let target = byte(payload, at + 1);
        let begins_target = target == b'/'
            || target == b'*'
            || target.wrapping_sub(b'a') < 26
            || target.wrapping_sub(b'0') < 10;
        return letter == b' ' && at >= 3 && begins_target;
    }
    false
}

/// A byte of the payload.
#[inline(always)]
pub(crate) fn byte(payload: *const u8, at: usize) -> u8 {
    // SAFETY: every caller keeps `at` below the payload's size.
    unsafe { read_volatile(payload.add(at)) }
}

/// Whether the last bytes of the system call are those of a head.
#[inline(always)]
pub(crate) fn is_end_of_head(scratch: *const Scratch, length: u32) -> bool {
    let at = bounded::<{ CAPTURE_MAX as u32 }>(length) as usize;
    // SAFETY: within the payload, which is preceded by the record.
    let last = unsafe { (&raw const (*scratch).payload).cast::<u8>().add(at).sub(4).cast::<u32>() };
    // SAFETY: as above; x86 reads words anywhere.
    unsafe { last.read_unaligned() == END_OF_HEAD }
}

/// Whether a head ends among the first 1024 bytes, by eight bytes at once. The last ten bytes are
/// not looked at.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ends_soon(slot: u32, size: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr(slot) else { return 0 };
    // SAFETY: only the address is taken.
    let payload = unsafe { (&raw const (*scratch).payload).cast::<u8>() };
    let mut at = 0usize;
    while at < SOON {
        if at as u32 + 10 > size {
            return 0;
        }
        let here = line_feeds(payload, at);
        // Two in a row, or with a carriage return between them.
        if here != 0 && here & (line_feeds(payload, at + 1) | line_feeds(payload, at + 2)) != 0 {
            return 1;
        }
        at += 8;
    }
    0
}

/// Sets the high bit of each of eight bytes that is a line feed (and now and then of a byte behind
/// one).
#[inline(always)]
fn line_feeds(payload: *const u8, at: usize) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // SAFETY: every caller keeps `at` below SOON + 2, far below the payload's size; x86 reads words
    // anywhere.
    let word = unsafe { read_volatile(payload.add(at).cast::<u64>()) } ^ (ONES * b'\n' as u64);
    word.wrapping_sub(ONES) & !word & ONES << 7
}

/// Begins to look at the bytes of a system call: at the first one of a message, or within a head
/// whose last bytes are known.
#[inline(always)]
pub(crate) fn begin(scratch: *mut Scratch, word: u32) {
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    unsafe {
        let scan = &raw mut (*scratch).scan;
        write_volatile(&raw mut (*scan).skip, 0);
        begin_head(scan, word);
    }
}

/// Nothing is known of a head but its last bytes.
///
/// # Safety
/// `scan` is that of this CPU's scratch.
#[inline(always)]
unsafe fn begin_head(scan: *mut Scan, word: u32) {
    // SAFETY: as above. Word by word, or the compiler emits memset.
    unsafe {
        write_volatile(&raw mut (*scan).word, u64::from(word));
        write_volatile(&raw mut (*scan).state, state::HEAD);
        write_volatile(&raw mut (*scan).chunked, 0);
        write_volatile(&raw mut (*scan).length_at, 0);
        write_volatile(&raw mut (*scan).length, 0);
    }
}

/// Looks at the first `size` bytes of the payload; returns how the other `left` bytes of the system
/// call are captured.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn look(slot: u32, size: u32, left: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return capture::ENDS };
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    let scan = unsafe { &raw mut (*scratch).scan };
    // SAFETY: as above.
    let skip = unsafe { read_volatile(&raw const (*scan).skip) };
    let start = if skip < size { skip } else { size };
    // SAFETY: as above.
    unsafe {
        write_volatile(&raw mut (*scan).skip, skip - start);
        write_volatile(&raw mut (*scan).at, start);
    }
    let mut step = 0;
    while step < STEPS {
        if look_step(slot, size) == 0 {
            break;
        }
        after_step(slot, size);
        step += 1;
    }
    // SAFETY: as above.
    let now = unsafe { read_volatile(scan) };
    if now.state == state::HEAD || now.state == state::NEXT && now.skip < left {
        return capture::HEAD;
    }
    if now.chunked != 0 { capture::CHUNKS } else { capture::ENDS }
}

/// Looks at the next bytes: at most `STEP` of a head, or those where a message may begin. 0: there
/// are no more.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn look_step(slot: u32, size: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    // SAFETY: as in `look`.
    let scan = unsafe { &raw mut (*scratch).scan };
    // SAFETY: as above.
    let (at, state) =
        unsafe { (read_volatile(&raw const (*scan).at), read_volatile(&raw const (*scan).state)) };
    if at >= size || state == state::ELSEWHERE {
        return 0;
    }
    let from = bounded::<{ CAPTURE_MAX as u32 - 1 }>(at);
    // SAFETY: only the address is taken; `from` lies within the payload.
    let payload = unsafe { (&raw const (*scratch).payload).cast::<u8>().add(from as usize) };
    if state == state::HEAD {
        in_head(scan, payload, from, size);
    } else if begins_message(payload) {
        // SAFETY: as above.
        unsafe { begin_head(scan, 0) };
    } else {
        // SAFETY: as above.
        unsafe { write_volatile(&raw mut (*scan).state, state::ELSEWHERE) };
    }
    1
}

#[inline(always)]
fn in_head(scan: *mut Scan, payload: *const u8, from: u32, size: u32) {
    // SAFETY: as in `look`.
    let mut word = unsafe { read_volatile(&raw const (*scan).word) };
    let mut index = 0usize;
    let mut end = false;
    while index < STEP {
        if from + index as u32 >= size {
            break;
        }
        let letter = byte(payload, index);
        word = word << 8 | u64::from(letter);
        index += 1;
        if letter == b'\n' && is_end(word) {
            end = true;
            break;
        }
        if letter == b':' && word | LOWER == LENGTH {
            // SAFETY: as above.
            unsafe { write_volatile(&raw mut (*scan).length_at, from + index as u32) };
        }
        if letter | 0x20 == b'd' && (word | LOWER) & CHUNKED_MASK == CHUNKED {
            // SAFETY: as above.
            unsafe { write_volatile(&raw mut (*scan).chunked, 1) };
        }
    }
    // SAFETY: as above.
    unsafe {
        write_volatile(&raw mut (*scan).word, word);
        write_volatile(&raw mut (*scan).at, from + index as u32);
        if end {
            write_volatile(&raw mut (*scan).state, state::END);
        }
    }
}

#[inline(always)]
fn is_end(word: u64) -> bool {
    word & EMPTY_LINE_MASK == EMPTY_LINE || word & BARE_EMPTY_LINE_MASK == BARE_EMPTY_LINE
}

/// A head may have named the length of its body, or have ended: then the next message may begin
/// behind that body.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn after_step(slot: u32, size: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    // SAFETY: as in `look`.
    let scan = unsafe { &raw mut (*scratch).scan };
    // SAFETY: as above.
    let mut now = unsafe { read_volatile(scan) };
    if now.length_at != 0 {
        now.length = number(scratch, now.length_at);
        now.length_at = 0;
    }
    if now.state == state::END {
        let next = now.at.saturating_add(now.length);
        now.state = if now.chunked == 0 { state::NEXT } else { state::ELSEWHERE };
        now.skip = next.saturating_sub(size);
        now.at = if next < size { next } else { size };
    }
    // SAFETY: as above.
    unsafe { write_volatile(scan, now) };
    0
}

/// The decimal number at `at`, behind blanks.
#[inline(always)]
fn number(scratch: *mut Scratch, at: u32) -> u32 {
    let from = bounded::<{ CAPTURE_MAX as u32 }>(at) as usize;
    // SAFETY: only the address is taken; `from` lies within the payload.
    let payload = unsafe { (&raw const (*scratch).payload).cast::<u8>().add(from) };
    let mut number = 0u32;
    let mut index = 0usize;
    while index < DIGITS {
        let letter = byte(payload, index);
        let digit = letter.wrapping_sub(b'0');
        if digit < 10 {
            number = number.wrapping_mul(10).wrapping_add(u32::from(digit));
        } else if letter != b' ' {
            break;
        }
        index += 1;
    }
    number
}

/// A system call that was captured for its head is in the ring.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn conclude(slot: u32, cookie: u64, length: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return 0 };
    let Some(state) = CONNECTIONS.get_ptr_mut(cookie) else { return 0 };
    let direction = (slot & 1) as usize;
    note_open(scratch, state, direction, length);
    // SAFETY: as in `look`; the entry of CONNECTIONS as in `note_open`.
    unsafe {
        if read_volatile(&raw const (*scratch).scan.chunked) != 0 {
            (*state).flags |= conn_flags::WHOLE_OUT << direction;
        }
    }
    0
}

/// Remembers whether a system call of `length` bytes has ended inside a head, with which the next
/// one goes on.
#[inline(always)]
pub(crate) fn note_open(scratch: *mut Scratch, state: *mut Connection, direction: usize, length: u32) {
    // SAFETY: as in `look`.
    let now = unsafe { read_volatile(&raw const (*scratch).scan) };
    let open = conn_flags::HEAD_OUT << direction;
    // SAFETY: an entry of CONNECTIONS; see `connection::Traced`.
    let (flags, before) = unsafe { ((*state).flags, (*state).head_bytes[direction]) };
    let bytes = length.saturating_add(if flags & open != 0 { before } else { 0 });
    let goes_on = now.state == state::HEAD && bytes < tunable!(head_bytes);
    // SAFETY: as above.
    unsafe {
        (*state).head_bytes[direction] = bytes;
        (*state).head_end[direction] = now.word as u32;
        (*state).flags = if goes_on { flags | open } else { flags & !open };
    }
}

/// The last bytes of the head inside which the last system call ended.
#[inline(always)]
pub(crate) fn last_bytes(state: *mut Connection, direction: usize) -> u32 {
    // SAFETY: an entry of CONNECTIONS; see `connection::Traced`.
    unsafe { (*state).head_end[direction] }
}
