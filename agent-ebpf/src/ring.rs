//! Putting records into the ring, and when to wake the reader.

use agent_common::{Header, not_captured, switch};
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_ringbuf_output};

use crate::maps::{EVENTS, SWITCHES};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;

/// While the reader polls every 2 ms, nothing wakes it.
#[inline(always)]
fn wake() -> u64 {
    if SWITCHES.is_on(switch::READER_SLEEPS) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }
}

/// The common start of a record.
#[inline(always)]
pub(crate) fn header(kind: u8, direction: u8, length: u32) -> Header {
    // SAFETY: takes no argument.
    let at = unsafe { bpf_ktime_get_ns() };
    Header { kind, direction, not_captured: not_captured::NONE, flags: 0, length, at }
}

/// Copies a record of fixed size; false when the ring is full.
#[inline(always)]
pub(crate) fn put<T>(record: &T) -> bool {
    put_bytes(core::ptr::from_ref(record).cast(), size_of::<T>() as u64)
}

/// Copies `size` bytes; false when the ring is full.
#[inline(always)]
pub(crate) fn put_bytes(record: *const u8, size: u64) -> bool {
    // SAFETY: the verifier checks that `size` bytes at `record` are readable.
    let result = unsafe {
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), record.cast_mut().cast(), size, wake())
    };
    result == 0
}
