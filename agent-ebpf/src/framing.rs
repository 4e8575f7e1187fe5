//! Decides whether more of a system call is captured than its first and its last bytes. Of a body
//! framed by chunks (RFC 9112, section 7.1) every chunk's size is needed; of a long head all bytes
//! are (`heads`).

use agent_common::conn_flags;

use crate::{
    connection,
    heads::{self, begins_message, byte, capture},
    maps::{CONNECTIONS, SCRATCH},
};

/// Not known before its head is looked at.
const LOOK: u32 = u32::MAX;

/// Buffers of programs have a size that is a multiple of this.
const BUFFER: u32 = 512;

/// Digits of a chunk's size.
const DIGITS: usize = 8;

/// How a system call of `length` bytes is captured (`heads::capture`); its first `size` bytes are
/// in the scratch. `asked`: the directions that, as the agent says, are framed by chunks. Three
/// global functions run one after another, because the stack frames along a chain of functions add
/// up.
#[inline(always)]
pub(crate) fn how(slot: u32, size: u32, length: u32, asked: u64, cookie: u64) -> u32 {
    let left = length - size;
    let known = of_no_head(slot, size, left, asked as u32, cookie);
    if known != LOOK {
        return known;
    }
    let how = heads::look(slot, size, left);
    remember(slot, cookie, length, left, how)
}

/// How a system call is captured that does not begin with bytes of a head; [`LOOK`] where it does.
/// A head that ends within a system call leaves none open. The exception is a system call that
/// fills a buffer: another message may be cut at its end.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn of_no_head(slot: u32, size: u32, left: u32, asked: u32, cookie: u64) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return capture::ENDS };
    let Some(state) = CONNECTIONS.get_ptr_mut(cookie) else { return capture::ENDS };
    let direction = (slot & 1) as usize;
    // SAFETY: only the address is taken.
    let payload = unsafe { (&raw const (*scratch).payload).cast::<u8>() };
    let flags = connection::flags(state);
    let open = flags & conn_flags::HEAD_OUT << direction != 0;
    if open || begins_message(payload) {
        if !open && left == 0 && !size.is_multiple_of(BUFFER) && heads::ends_soon(slot, size) != 0 {
            return capture::ENDS;
        }
        heads::begin(scratch, if open { heads::last_bytes(state, direction) } else { 0 });
        return LOOK;
    }
    if left == 0 {
        return capture::ENDS;
    }
    let bit = conn_flags::WHOLE_OUT << direction;
    if flags & bit != 0 || asked >> direction & 1 != 0 {
        return capture::CHUNKS;
    }
    if !begins_chunk(payload) {
        return capture::ENDS;
    }
    connection::set_flags(state, flags | bit);
    capture::CHUNKS
}

/// The bytes of a head were looked at. Remembers whether a body framed by chunks follows, and
/// whether the head goes on in the next system call.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn remember(slot: u32, cookie: u64, length: u32, left: u32, how: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return capture::ENDS };
    let Some(state) = CONNECTIONS.get_ptr_mut(cookie) else { return capture::ENDS };
    let direction = (slot & 1) as usize;
    let bit = conn_flags::WHOLE_OUT << direction;
    let flags = connection::flags(state);
    let flags = if how == capture::CHUNKS { flags | bit } else { flags & !bit };
    connection::set_flags(state, flags);
    if left != 0 && how == capture::HEAD {
        // The pieces are looked at from the start of the system call.
        let open = flags & conn_flags::HEAD_OUT << direction != 0;
        heads::begin(scratch, if open { heads::last_bytes(state, direction) } else { 0 });
        return how;
    }
    heads::note_open(scratch, state, direction, length);
    if left == 0 { capture::ENDS } else { how }
}

/// Whether a chunk's size stands here: hexadecimal digits, then CR or `;`.
#[inline(always)]
fn begins_chunk(payload: *const u8) -> bool {
    let mut at = 0usize;
    while at < DIGITS {
        let digit = byte(payload, at);
        let is_digit = digit.wrapping_sub(b'0') < 10 || (digit | 0x20).wrapping_sub(b'a') < 6;
        if !is_digit {
            return at > 0 && (digit == b'\r' || digit == b';');
        }
        at += 1;
    }
    let end = byte(payload, DIGITS);
    end == b'\r' || end == b';'
}
