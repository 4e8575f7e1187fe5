//! Per-CPU counters: each entry counts its call, each refusal its reason.

use agent_common::Counter;

use crate::maps::COUNTERS;

/// Adds `n` to a counter of this CPU.
#[inline(always)]
pub(crate) fn add(counter: Counter, n: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU slot, and tracepoint programs do not migrate; an interrupt between load and store may lose one.
        unsafe { *slot += n };
    }
}

/// Counts the call and, if it was refused, why.
#[inline(always)]
pub(crate) fn finish(program: Counter, outcome: Result<(), Counter>) -> i32 {
    add(program, 1);
    if let Err(reason) = outcome {
        add(reason, 1);
    }
    0
}
