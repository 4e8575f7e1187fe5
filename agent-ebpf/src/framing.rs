//! Is a long call framed by chunks (RFC 9112, section 7.1)? Then what lies between its first and its last bytes is needed too:
//! each chunk's size. Looked at only for calls longer than what is captured of one, so short messages pay nothing.

use agent_common::{Connection, conn_flags};

use crate::{capture::Scratch, maps::SCRATCH};

/// Bytes of a head in which the coding is looked for.
const LOOK: usize = 1024;

/// "chunked" and the end of a head, as the low bytes of a word.
const CHUNKED: u64 = u64::from_be_bytes(*b"\0chunked");
const CHUNKED_MASK: u64 = 0x00ff_ffff_ffff_ffff;
const HEAD_END: u64 = u32::from_be_bytes(*b"\r\n\r\n") as u64;

/// Digits of a chunk's size.
const DIGITS: usize = 8;

/// Whether the call is to be captured whole; remembered for the direction. A head decides by its words, a call that begins
/// with a chunk's size is one, and user space may have said so (`asked`).
#[inline(always)]
pub fn is_chunked(
    scratch: *mut Scratch,
    head: u32,
    state: *mut Connection,
    direction: usize,
    asked: u64,
) -> bool {
    let bit = conn_flags::WHOLE_OUT << direction;
    // SAFETY: the per-CPU scratch of this direction.
    let payload = unsafe { (&raw const (*scratch).payload).cast::<u8>() };
    let first = byte(payload, 0);
    let begins_message = (first == b'H' && byte(payload, 4) == b'/') || first == b'P';
    if begins_message {
        let chunked = says_chunked(direction as u32, head) != 0;
        // SAFETY: an entry of CONNECTIONS; see `connection::Traced`.
        unsafe { (*state).flags = if chunked { (*state).flags | bit } else { (*state).flags & !bit } };
        return chunked;
    }
    // SAFETY: as above.
    let flags = unsafe { (*state).flags };
    if flags & bit != 0 || asked >> direction & 1 != 0 {
        return true;
    }
    if !begins_chunk(payload) {
        return false;
    }
    // SAFETY: as above.
    unsafe { (*state).flags = flags | bit };
    true
}

#[inline(always)]
fn byte(payload: *const u8, at: usize) -> u8 {
    // SAFETY: every caller keeps `at` below LOOK, which is below the payload's size; the call is longer than that.
    unsafe { core::ptr::read_volatile(payload.add(at)) }
}

/// Whether the head that begins the captured bytes names the coding. A global function (`no_mangle`, numbers only): the
/// verifier looks at it once by itself, and not once more for each of the hundred ways that lead here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn says_chunked(slot: u32, head: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr(slot) else { return 0 };
    // SAFETY: only the address is taken.
    let payload = unsafe { (&raw const (*scratch).payload).cast::<u8>() };
    let mut word = 0u64;
    let mut at = 0usize;
    while at < LOOK {
        if at as u32 >= head {
            return 0;
        }
        word = word << 8 | u64::from(byte(payload, at));
        if word & CHUNKED_MASK == CHUNKED {
            return 1;
        }
        if word & 0xffff_ffff == HEAD_END {
            return 0;
        }
        at += 1;
    }
    0
}

/// Whether a chunk's size stands here: hexadecimal digits and CR or `;`.
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
